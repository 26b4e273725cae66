import type { BackendAdapter, CollectionInfo, Manifest, Part, PullRequest } from '../../src/adapters/adapter.js'
import type { CachedCollection } from '../../src/cache/vector-cache.js'
import type { Cell, Column } from '../../src/core/column.js'
import { GatewayError } from '../../src/core/errors.js'
import { backendId, type DeleteMask, type Generation, generation, partKey } from '../../src/core/generation.js'
import type { Metric } from '../../src/core/metric.js'
import type { IdValues, VectorBatch } from '../../src/core/vector-batch.js'
import { arrowBatch } from './arrow-batch.js'

export interface ScriptedFile {
  /** Its content never changes under this key. */
  readonly key: string
  readonly ids: IdValues
  /** float32[ids.length * dimension] */
  readonly vectors: Float32Array
  readonly deleted?: DeleteMask
  /** Values of every column of the source, by column, then row. */
  readonly cells?: readonly (readonly Cell[])[]
}

/** A source whose files, failures and races a test decides. Counts what is asked of it. */
export class ScriptedSource {
  readonly dimension: number
  readonly metric: Metric
  readonly files = new Map<string, ScriptedFile>()
  readonly counts = { generation: 0, manifest: 0, pull: 0 }
  readonly pulled: string[] = []
  columns: readonly Column[] = []
  configuration: string | undefined = undefined
  readIdentity = 'scripted 1'
  batchRows = 1000
  /** Whether the manifest tells how many rows a file has. */
  rowsKnown = true
  /** What the source says at a glance; unset: it has no such call. */
  isStill: ((generation: Generation) => boolean) | undefined
  /** Run before the step; may wait, throw, or change the files. */
  onGeneration: (signal: AbortSignal) => Promise<void> = async () => {}
  onManifest: (signal: AbortSignal) => Promise<void> = async () => {}
  onBatch: (name: string, batch: number, signal: AbortSignal) => Promise<void> = async () => {}

  constructor(dimension: number, metric: Metric = 'l2') {
    this.dimension = dimension
    this.metric = metric
  }

  /** Everything a generation consists of, as one text. */
  get generation(): Generation {
    const names = [...this.files].map(([name, { key, deleted }]) => [name, key, deleted?.identity ?? null])
    return generation(JSON.stringify(names))
  }

  collection(name = 'rows', backend = 'scripted'): CachedCollection {
    const info: CollectionInfo = { name, metric: this.metric, model: null, writable: false, freshness: 'cheap' }
    return { ref: { backend: backendId(backend), collection: name }, adapter: this.adapter(backend, info), info }
  }

  private adapter(backend: string, info: CollectionInfo): BackendAdapter {
    const expireIfMoved = (wanted: Generation): void => {
      if (this.generation !== wanted) throw new GatewayError('LG_GENERATION_EXPIRED', 'the files have changed')
    }
    const pull = (request: PullRequest, signal: AbortSignal) => this.pull(request, signal)
    return {
      id: backendId(backend),
      ...(this.configuration === undefined ? {} : { configuration: this.configuration }),
      listCollections: async () => [info],
      generation: async (_, { signal }) => {
        this.counts.generation++
        await this.onGeneration(signal)
        return this.generation
      },
      isStill: (_, wanted) => this.isStill?.(wanted) ?? false,
      manifest: async (_, wanted, { signal }): Promise<Manifest> => {
        this.counts.manifest++
        await this.onManifest(signal)
        expireIfMoved(wanted)
        const parts = [...this.files].map(([name, file]): Part => {
          const rows = this.rowsKnown ? file.ids.length : null
          return { key: partKey(`${name} ${file.key}`), name, rows, bytes: null, deleted: file.deleted ?? null }
        })
        return {
          generation: wanted,
          parts,
          dimension: this.dimension,
          columns: this.columns,
          vectorColumn: 'v',
          idColumn: 'id',
          readIdentity: this.readIdentity,
        }
      },
      pullVectors: (request, { signal }) => pull(request, signal),
      supportsPushdown: () => ({ kind: 'unsupported', reason: 'scripted' }),
      close: async () => {},
    }
  }

  private async *pull({ part }: PullRequest, signal: AbortSignal): AsyncGenerator<VectorBatch> {
    this.counts.pull++
    this.pulled.push(part.name)
    const stillThere = (): ScriptedFile => {
      const file = this.files.get(part.name)
      if (file === undefined || part.key !== `${part.name} ${file.key}`)
        throw new GatewayError('LG_GENERATION_EXPIRED', `${part.name} has changed`)
      return file
    }
    const { ids, vectors, cells } = stillThere()
    for (let from = 0, batch = 0; from < ids.length; from += this.batchRows, batch++) {
      await this.onBatch(part.name, batch, signal)
      signal.throwIfAborted()
      stillThere()
      const end = Math.min(ids.length, from + this.batchRows)
      yield {
        count: end - from,
        dimension: this.dimension,
        vectors: vectors.slice(from * this.dimension, end * this.dimension),
        ordinals: Uint32Array.from({ length: end - from }, (_, i) => from + i),
        ids: ids.slice(from, end),
        metadata:
          cells === undefined
            ? null
            : arrowBatch(
                this.columns,
                cells.map((column) => column.slice(from, end)),
              ),
        skipped: { nullVector: 0, nullId: 0, badVector: 0 },
      }
    }
    await this.onBatch(part.name, -1, signal)
    stillThere()
  }
}

/** A file of random vectors with ids counting from `firstId`. */
export function randomFile(
  key: string,
  rows: number,
  dimension: number,
  random: () => number,
  firstId = 0n,
): ScriptedFile {
  return {
    key,
    ids: BigInt64Array.from({ length: rows }, (_, i) => firstId + BigInt(i)),
    vectors: Float32Array.from({ length: rows * dimension }, () => random() * 2 - 1),
  }
}
