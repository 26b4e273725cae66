/** The one collection that RVF messages write to. */
import type { CollectionWriter, WriteRequest } from '../adapters/adapter.js'
import { GatewayError } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Catalog } from './catalog.js'
import type { Gateway, WritableStatus } from './gateway.js'

interface CallOptions {
  readonly signal: AbortSignal
}

type Writable = Pick<Gateway, 'ingest' | 'delete' | 'writableStatus'>

/** @param onWrite told of every write that the source took */
export function openWritable(
  catalog: Catalog,
  ref: CollectionRef,
  onWrite: (kind: 'written' | 'deleted', rows: number, epoch: number) => void,
): Writable {
  const { backend, collection } = ref
  let currentEpoch = 0

  const writer = (): CollectionWriter => {
    const found = catalog.adapter(backend)?.writer
    if (found === undefined)
      throw new GatewayError('LG_READ_ONLY', `${formatCollection(ref)} cannot be written: its source is read-only`)
    return found
  }
  const wrote = (kind: 'written' | 'deleted', rows: number, epoch: number): void => {
    currentEpoch = epoch
    onWrite(kind, rows, epoch)
  }

  return {
    async ingest(request: Omit<WriteRequest, 'collection'>, options: CallOptions) {
      const { dimension } = request
      const created = !catalog.has(ref) && dimension > 0
      if (created) await writer().create(collection, { dimension, metric: 'l2', model: null })
      const result = await writer().upsert({ ...request, collection }, options)
      if (created) await catalog.relist(backend)
      wrote('written', result.accepted, result.epoch)
      return result
    },

    async delete(ids: readonly RowId[], options: CallOptions) {
      const result = await writer().delete(collection, ids, options)
      wrote('deleted', result.deleted, result.epoch)
      return result
    },

    async writableStatus(options: CallOptions): Promise<WritableStatus> {
      const adapter = catalog.adapter(backend)
      const readOnly = adapter?.writer === undefined
      if (adapter === null || !catalog.has(ref))
        return {
          dimension: null,
          totalVectors: 0,
          totalSegments: 0,
          fileSize: 0,
          currentEpoch,
          deadSpaceRatio: 0,
          readOnly,
        }
      const { parts, dimension } = await adapter.manifest(
        collection,
        await adapter.generation(collection, options),
        options,
      )
      const rows = parts.reduce((sum, part) => sum + (part.rows ?? 0), 0)
      const dead = parts.reduce((sum, part) => sum + (part.deleted?.ordinals.length ?? 0), 0)
      return {
        dimension,
        totalVectors: rows - dead,
        totalSegments: parts.length,
        fileSize: parts.reduce((sum, part) => sum + (part.bytes ?? 0), 0),
        currentEpoch,
        deadSpaceRatio: rows === 0 ? 0 : dead / rows,
        readOnly,
      }
    },
  }
}
