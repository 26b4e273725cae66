import type { Clock } from '../core/clock.js'
import type { Column } from '../core/column.js'
import type { BackendId, DeleteMask, Generation, PartKey } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Metric } from '../core/metric.js'
import type { Predicate } from '../core/predicate.js'
import type { IdValues, VectorBatch } from '../core/vector-batch.js'

/** Every call may be cancelled; a cancelled call rejects with the signal's reason and never looks like "no more". */
export interface CallOptions {
  readonly signal: AbortSignal
}

/** What is known of a collection before anything but a listing was read. */
export interface CollectionInfo {
  readonly name: string
  readonly metric: Metric
  /** Declared embedding model, or null. */
  readonly model: string | null
  readonly writable: boolean
  /** Whether `generation` is local and cheap enough to be asked before every query. */
  readonly freshness: 'cheap' | 'remote'
}

/** An immutable piece of a generation. */
export interface Part {
  readonly key: PartKey
  /** For people: e.g. the path below the source's root. */
  readonly name: string
  /** Rows before deletes and skips, when the source knows without reading them. */
  readonly rows: number | null
  /** Size at the source, bytes, when known. */
  readonly bytes: number | null
  readonly deleted: DeleteMask | null
}

/** One generation, whole: a failed or partial listing is an error, never a shorter manifest. */
export interface Manifest {
  readonly generation: Generation
  /** In a stable order (by name). */
  readonly parts: readonly Part[]
  /** Null when no row tells (no files, no rows, only null vectors). */
  readonly dimension: number | null
  /** Metadata columns that every pull of this generation delivers, in this order. */
  readonly columns: readonly Column[]
  readonly vectorColumn: string
  /** Null: no id column; ids are "part:row". */
  readonly idColumn: string | null
  /**
   * Everything besides the part key that decides what a pull of a part yields (columns, vector column, bad-row policy,
   * dimension, reader version), as one stable text. Part of the segment key.
   */
  readonly readIdentity: string
}

export interface PullRequest {
  readonly collection: string
  readonly manifest: Manifest
  readonly part: Part
}

/** What a source says of answering a query itself. */
export type Pushdown =
  | { readonly kind: 'exact' }
  | { readonly kind: 'inexact'; readonly reason: string }
  | { readonly kind: 'unsupported'; readonly reason: string }

export interface PushdownQuery {
  readonly collection: string
  readonly vector: Float32Array
  readonly metric: Metric
  readonly k: number
  readonly filter: Predicate | null
}

/** What a source reads, and may charge for. */
export interface Cost {
  readonly bytes: number
}

/**
 * A source of vectors. Generic parts are done around it (single flight, retries after GenerationExpired, budgets), so an
 * adapter only lists, pins and reads. Vendor drivers load on first use.
 */
export interface BackendAdapter {
  readonly id: BackendId
  /**
   * Everything besides the source's bytes that decides manifests and pulls (options, reader version), as one stable
   * text: where it and the generation are as they were, a restart trusts its segments without asking for the manifest.
   */
  readonly configuration?: string
  /** Names every collection or fails; reads no vectors. */
  listCollections(options: CallOptions): Promise<readonly CollectionInfo[]>
  /**
   * Loads what pulls need, so that no query waits for it: called after a listing of a collection that the cache holds
   * nothing of. Without it, or before it, pulls load it themselves. Throws LG_SOURCE_UNAVAILABLE.
   */
  prepare?(options: CallOptions): Promise<void>
  /** The current generation: one cheap metadata call, idempotent; never reads vectors. Throws LG_COLLECTION_NOT_FOUND, LG_SOURCE_UNAVAILABLE. */
  generation(collection: string, options: CallOptions): Promise<Generation>
  /**
   * True when the source certainly is still at `generation`, which takes microseconds and cannot block; false says nothing.
   * A check that it answers needs no call of `generation`.
   */
  isStill?(collection: string, generation: Generation): boolean
  /** Parts, masks and schema of a generation; LG_GENERATION_EXPIRED when the source has moved on. */
  manifest(collection: string, generation: Generation, options: CallOptions): Promise<Manifest>
  /**
   * One part in source order, in bounded memory. If the part's bytes change before the last batch, throws
   * LG_GENERATION_EXPIRED, so a consumer that saw the end saw one version. Bad rows: LG_BAD_ROW naming part and row.
   */
  pullVectors(request: PullRequest, options: CallOptions): AsyncIterable<VectorBatch>
  /**
   * What pulling the current generation of a collection would cost, without reading vectors: a dry run, where a source has
   * one. Without it, the parts of the manifest say how many bytes they have.
   */
  estimate?(collection: string, options: CallOptions): Promise<Cost>
  /** A verdict without I/O. */
  supportsPushdown(query: PushdownQuery): Pushdown
  /** The local directory beside the source's data, where its table.rulake.json belongs; absent for sources without one. */
  bundleDirectory?(options: CallOptions): Promise<string>
  /** Present only on writable sources. */
  readonly writer?: CollectionWriter
  /** Releases files, connections and timers; the adapter is not used afterwards. */
  close(): Promise<void>
}

/** Rows to write. `metadata` rows are plain column-to-JSON-value objects, one a vector. */
export interface WriteRequest {
  readonly collection: string
  readonly ids: IdValues
  /** float32[count * dimension] */
  readonly vectors: Float32Array
  readonly dimension: number
  readonly metadata: readonly Readonly<Record<string, unknown>>[] | null
}

interface WriteResult {
  readonly accepted: number
  readonly rejected: number
  /** Writes so far: rises by one with every write or delete call. */
  readonly epoch: number
}

/** A write is one atomic step: a reader sees all of it or nothing. An id that exists is replaced. */
export interface CollectionWriter {
  /** Creates the collection when it is not there. Throws LG_CONFLICT when it exists with another dimension or metric. */
  create(
    collection: string,
    options: { readonly dimension: number; readonly metric: Metric; readonly model: string | null },
  ): Promise<void>
  upsert(request: WriteRequest, options: CallOptions): Promise<WriteResult>
  delete(
    collection: string,
    ids: readonly RowId[],
    options: CallOptions,
  ): Promise<{ readonly deleted: number; readonly epoch: number }>
}

/** A source as configuration names it. `options` are the kind's own, checked by the adapter that opens it. */
export interface AdapterConfig {
  readonly name: string
  readonly uri: string | null
  readonly options: Readonly<Record<string, unknown>>
}

/** Opens a source without I/O. Throws LG_UNKNOWN_FIELD or LG_INVALID_REQUEST naming the option at fault. */
export type OpenAdapter = (config: AdapterConfig, environment: { readonly clock: Clock }) => BackendAdapter
