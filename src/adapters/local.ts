/** Vectors in this process's memory: writable, the reference implementation of the contract, empty when the process starts. */
import { GatewayError } from '../core/errors.js'
import { backendId } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import { limits } from '../core/limits.js'
import type { VectorBatch } from '../core/vector-batch.js'
import type { AdapterConfig, BackendAdapter, CollectionWriter, WriteRequest } from './adapter.js'
import { createCollection, type LocalCollection } from './local-collection.js'
import { refuseUnknown } from './source-options.js'

/** Collections are made by writing. Throws LG_UNKNOWN_FIELD for any option of its own: it has none. */
export function openLocal({ name: source, options }: AdapterConfig): BackendAdapter {
  refuseUnknown(source, options, [])
  const collections = new Map<string, LocalCollection>()
  /** Writes so far, counted even while the collection does not exist. */
  const epochs = new Map<string, number>()

  function find(collection: string): LocalCollection {
    const found = collections.get(collection)
    if (found !== undefined) return found
    throw new GatewayError(
      'LG_COLLECTION_NOT_FOUND',
      `source "${source}" has no collection ${JSON.stringify(collection)}; it has ${[...collections.keys()].join(', ') || 'none'}`,
    )
  }

  function nextEpoch(collection: string): number {
    const epoch = (epochs.get(collection) ?? 0) + 1
    epochs.set(collection, epoch)
    return epoch
  }

  const writer: CollectionWriter = {
    async create(collection, wanted) {
      const existing = collections.get(collection)
      if (existing !== undefined) {
        if (existing.dimension !== wanted.dimension || existing.metric !== wanted.metric)
          throw new GatewayError(
            'LG_CONFLICT',
            `collection "${collection}" has dimension ${existing.dimension} and metric ${existing.metric}; ` +
              `asked for ${wanted.dimension} and ${wanted.metric}. Delete it first or choose another name`,
          )
        return
      }
      if (!Number.isInteger(wanted.dimension) || wanted.dimension < 1 || wanted.dimension > limits.dimensionMax)
        throw new GatewayError(
          'LG_INVALID_REQUEST',
          `dimension: expected 1 to ${limits.dimensionMax}, got ${wanted.dimension}`,
          { field: 'dimension' },
        )
      collections.set(collection, createCollection(collection, wanted))
    },

    async upsert(request, { signal }) {
      signal.throwIfAborted()
      checkWrite(request)
      // A write of nothing counts as a write, even before there is anything to write to.
      const written = request.ids.length === 0 ? { accepted: 0, rejected: 0 } : find(request.collection).upsert(request)
      return { ...written, epoch: nextEpoch(request.collection) }
    },

    async delete(collection, ids, { signal }) {
      signal.throwIfAborted()
      const deleted = collections.get(collection)?.delete(ids) ?? 0
      return { deleted, epoch: nextEpoch(collection) }
    },
  }

  return {
    id: backendId(source),
    writer,

    async listCollections({ signal }) {
      signal.throwIfAborted()
      return [...collections.values()].map(({ name, metric, model }) => ({
        name,
        metric,
        model,
        writable: true,
        freshness: 'cheap',
      }))
    },

    async generation(collection, { signal }) {
      signal.throwIfAborted()
      return find(collection).currentGeneration()
    },

    async manifest(collection, generation, { signal }) {
      signal.throwIfAborted()
      return find(collection).manifest(generation)
    },

    async *pullVectors({ collection, manifest, part }, { signal }): AsyncGenerator<VectorBatch, void> {
      signal.throwIfAborted()
      const { buildBatch } = await import('./arrow-columns.js')
      for (const batch of find(collection).read(manifest.generation, part.key, buildBatch)) {
        yield batch
        signal.throwIfAborted()
      }
    },

    supportsPushdown: () => ({
      kind: 'unsupported',
      reason: 'local vectors are searched by the cache, which is the engine of this process',
    }),

    async close() {
      collections.clear()
    },
  }
}

function checkWrite({ ids, vectors, dimension, metadata }: WriteRequest): void {
  const refuse = (field: string, message: string) => new GatewayError('LG_INVALID_REQUEST', message, { field })
  if (vectors.length !== ids.length * dimension)
    throw refuse('vectors', `vectors: expected ${ids.length} of ${dimension} numbers, got ${vectors.length} numbers`)
  if (metadata !== null && metadata.length !== ids.length)
    throw refuse('metadata', `metadata: expected ${ids.length} rows, one a vector, got ${metadata.length}`)
  for (const id of ids) {
    if (!isValidId(id))
      throw refuse(
        'ids',
        `ids: expected 64-bit integers, or text of at most ${limits.idBytesMax} bytes, got ${String(id).slice(0, 40)}`,
      )
  }
}

const isValidId = (id: RowId): boolean =>
  typeof id === 'string' ? Buffer.byteLength(id) <= limits.idBytesMax : id >= -(2n ** 63n) && id < 2n ** 64n
