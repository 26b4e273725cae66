/** The cache as federation sees it. */
import type { BackendAdapter, CollectionInfo } from '../adapters/adapter.js'
import type { Cell, Column } from '../core/column.js'
import type { RecallContract, VersionWanted } from '../core/contract.js'
import type { GatewayError } from '../core/errors.js'
import type { CollectionRef, Generation } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Metric } from '../core/metric.js'
import type { Predicate } from '../core/predicate.js'
import type { CollectionCounts } from './collection-counts.js'
import type { Calibration } from './hnsw/calibration.js'
import type { TuningStatistics } from './tuning.js'

export interface CallOptions {
  readonly signal: AbortSignal
}

/**
 * How rows are laid out for search. `auto`: in clusters where they pay. `flat`: without. `hnsw`: as `auto`, with a graph
 * beside it that answers queries for a target recall.
 */
export const indexKinds = ['auto', 'flat', 'hnsw'] as const
export type IndexKind = (typeof indexKinds)[number]

/** A collection the cache may be asked for. */
export interface CachedCollection {
  readonly ref: CollectionRef
  readonly adapter: BackendAdapter
  readonly info: CollectionInfo
  /** Default: `auto`. */
  readonly index?: IndexKind
}

export interface ShardQuery {
  /** float32[dimension], finite; borrowed. */
  readonly vector: Float32Array
  readonly k: number
  readonly contract: RecallContract
  readonly filter: Predicate | null
  /** Rows farther than this are not wanted (inclusive); Infinity for no limit. */
  readonly distanceMax: number
}

/** One row of a shard's answer. Valid until the pinned version is released. */
export interface ShardHit {
  readonly distance: number
  readonly id: RowId
  /** Part key and source ordinal: the end of the total order. */
  readonly part: string
  readonly row: number
  /** Where the row is in the cache; only the pinned version reads it. */
  readonly location: RowLocation
}

export interface RowLocation {
  readonly segment: number
  readonly position: number
}

export interface ShardAnswer {
  /** At most k hits in total order (compareHits within one collection). */
  readonly hits: readonly ShardHit[]
  /** What was really achieved; never weaker than asked. Small collections answer `exact` whatever was asked. */
  readonly contract: RecallContract
  /** Under a target contract: the share of the true neighbours that the answer is expected to have; else null. */
  readonly recallExpected: number | null
  readonly rowsScanned: number
  readonly bytesScanned: number
  readonly searchMs: number
  readonly waitMs: number
}

/** An answer to be compared with brute force over the originals it was found among. Holds no memory of the cache until run. */
export interface AnswerCheck {
  /**
   * Reads row after row from a random one on, in the background: it waits for every other work, and ends with
   * LG_OVER_BUDGET when a build needs the memory. Null when the rows have left memory since.
   * @param from in [0, 1): where to begin
   * @param isEnough asked between stretches, with the values (rows times dimension) read so far: whether to stop there
   */
  run(options: {
    readonly signal: AbortSignal
    readonly from: number
    readonly isEnough: (valuesRead: number) => boolean
  }): Promise<CheckedAnswer | null>
}

export interface CheckedAnswer {
  /** Whether every row was read. Otherwise `expected` may lack rows, but none of it is wrong. */
  readonly complete: boolean
  readonly rowsRead: number
  /** The k best, in total order, of the rows read and of the hits that are what they say. */
  readonly expected: readonly ShardHit[]
  /** How many of `expected` the answer lacks. */
  readonly missed: number
  /** Hits that are not what they say, or not in their place, whatever was promised of recall. */
  readonly wrong: readonly { readonly hit: number; readonly reason: string }[]
  /** What was searched. */
  readonly segments: readonly CheckedSegment[]
}

interface CheckedSegment {
  readonly key: string
  /** Version of the codebook of its codes; null without codes. */
  readonly codebook: string | null
  readonly rows: number
  readonly clusters: number
}

/** A search that takes no waiting. Finish or abandon it, once, before its version is released. */
export interface BegunSearch {
  /** Null when it turns out to take waiting: search again. */
  finish(): ShardAnswer | null
  abandon(): void
}

/** One generation, held resident until released. Release exactly once. */
export interface PinnedVersion {
  readonly ref: CollectionRef
  readonly generation: Generation
  readonly metric: Metric
  readonly model: string | null
  /** Null while no row tells. */
  readonly dimension: number | null
  readonly columns: readonly Column[]
  /** Live rows (after skips and deletes). */
  readonly rows: number
  readonly parts: number
  /** ruLake witness of this generation, hex. */
  readonly witness: string
  /** When the source last said that this was its generation, milliseconds since the epoch. */
  readonly checkedAtMs: number
  search(query: ShardQuery, options: CallOptions): Promise<ShardAnswer>
  /**
   * What `search` would answer when it takes no waiting; else null.
   * @param ahead whether there is time until `finish` in which another thread may scan
   */
  beginSearch(query: ShardQuery, ahead: boolean): BegunSearch | null
  /** A check of what `search` answered, to be run now or after the release. Copies what it needs of `query`. */
  check(query: ShardQuery, answer: ShardAnswer): AnswerCheck
  /** Live rows with this id, in (part, row) order. */
  find(id: RowId, options: CallOptions): Promise<readonly RowLocation[]>
  id(location: RowLocation): RowId
  /** float32[dimension] each, copies; read from disk where they are not in memory: together, for each time looks through a segment. */
  vectors(locations: readonly RowLocation[], options: CallOptions): Promise<readonly Float32Array[]>
  /** @param column its place in `columns` */
  cell(location: RowLocation, column: number): Cell
  release(): void
}

export type CollectionState = 'cold' | 'priming' | 'ready' | 'refreshing' | 'failed'

/** How a collection's rows are laid out for search. It decides the speed of answers, never the answers. */
export type IndexStatistics = {
  /** Segments in memory, and how many of them are sorted by cluster or too small for codes. */
  readonly segments: { readonly clustered: number; readonly flat: number; readonly plain: number }
  /** How contracts are answered with the least work; null until that was measured. */
  readonly tuning: TuningStatistics | null
  /** Why the last attempt of the background to improve it failed; null when it did not. It is tried again by itself. */
  readonly lastError: ErrorSeen | null
} & (
  | {
      readonly kind: 'flat'
      /** When clusters were trained and found to rule out too little, and rows of the collection then; null when they were not. */
      readonly tried: { readonly atMs: number; readonly rows: number } | null
    }
  | { readonly kind: 'training'; readonly startedAtMs: number }
  | {
      readonly kind: 'clustered'
      readonly centroids: number
      readonly trainedAtMs: number
      /** Rows of the collection when they were trained. */
      readonly trainedRows: number
      /** Mean distance of a row from its centroid then; null until all rows are in clusters. */
      readonly meanRadius: number | null
      readonly retraining: boolean
    }
)

/** The graph of a collection that asked for one. */
export interface GraphStatistics {
  /** `none`: there are too few rows, or it is not in memory (yet). While `building` (or being written to disk), what was there before may answer. */
  readonly state: 'none' | 'building' | 'ready'
  /** Rows in the graph that answers. */
  readonly rows: number
  /** Rows added of those being added. */
  readonly building: { readonly rows: number; readonly rowsTotal: number } | null
  /** Native memory that counts against the budget. */
  readonly bytes: number
  readonly builtAtMs: number | null
  readonly buildMs: number | null
  readonly calibration: Calibration | null
  /** Queries for a target recall: answered by it, and left to the scan. */
  readonly answered: number
  readonly left: number
  readonly lastError: ErrorSeen | null
}

export interface ErrorSeen {
  readonly code: string
  readonly message: string
  readonly atMs: number
}

export interface CollectionStatistics extends Readonly<CollectionCounts> {
  readonly state: CollectionState
  readonly index: IndexStatistics
  /** Null where no graph was asked for. */
  readonly graph: GraphStatistics | null
  readonly generation: Generation | null
  readonly witness: string | null
  readonly checkedAtMs: number | null
  readonly dimension: number | null
  readonly columns: readonly Column[]
  readonly idColumn: string | null
  readonly vectorColumn: string | null
  readonly rows: number | null
  readonly parts: number | null
  readonly segmentsResident: number
  /** Arena, id, metadata and graph bytes in memory; bytes of segment and graph files on disk. */
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly skipped: { readonly nullVector: number; readonly nullId: number; readonly badVector: number }
  readonly lastError: ErrorSeen | null
}

export interface CacheStatistics {
  readonly memoryBytes: number
  readonly memoryBytesMax: number
  readonly diskBytes: number
  readonly diskBytesMax: number
  readonly arenas: number
  /** Of all collections that asked for one: in memory, their part of `memoryBytes`, and what became of queries for a target. */
  readonly graphs: { readonly ready: number; readonly bytes: number; readonly answered: number; readonly left: number }
}

/** A generation the cache still holds or remembers, newest first. */
export interface HeldGeneration {
  readonly generation: Generation
  readonly witness: string
  /** First and last time the source was seen at this generation, milliseconds since the epoch. */
  readonly firstSeenMs: number
  readonly lastSeenMs: number
  readonly rows: number
  readonly parts: number
  /** Whether `as_of` can still answer from it. */
  readonly held: boolean
}

export type BundleVerdict = 'up-to-date' | 'invalidated' | 'bundle-missing'

export type CacheEvent =
  | {
      readonly kind: 'primed' | 'refreshed'
      readonly ref: CollectionRef
      readonly generation: Generation
      readonly partsPulled: number
    }
  | { readonly kind: 'evicted' | 'invalidated'; readonly ref: CollectionRef }
  | { readonly kind: 'failed'; readonly ref: CollectionRef; readonly code: string; readonly message: string }
  /** The background could not improve the index; answers are as before. Users are told code and message alone. */
  | { readonly kind: 'index-failed'; readonly ref: CollectionRef; readonly error: GatewayError }
  | { readonly kind: 'graph-built'; readonly ref: CollectionRef; readonly rows: number }
  | { readonly kind: 'trained'; readonly ref: CollectionRef; readonly centroids: number; readonly rows: number }

export interface VectorCache {
  /**
   * Holds a version resident, priming or refreshing first when the wanted version needs it. Concurrent calls share one
   * check and one pull. When `signal` aborts, only this caller stops waiting; the pull goes on.
   * Throws LG_GENERATION_EXPIRED, LG_OVER_BUDGET, LG_SOURCE_UNAVAILABLE, LG_BAD_ROW, LG_UNSUPPORTED.
   */
  pin(collection: CachedCollection, wanted: VersionWanted, options: CallOptions): Promise<PinnedVersion>
  /** What `pin` would answer when it takes no waiting; else null. */
  pinAtOnce(collection: CachedCollection, wanted: VersionWanted): PinnedVersion | null
  /** Milliseconds a caller should wait before asking again for a collection that is being primed; null when it is not. */
  primingRetryMs(ref: CollectionRef): number | null
  /** Checks the source now and pulls what is new. */
  refresh(
    collection: CachedCollection,
    options: CallOptions,
  ): Promise<{ readonly generation: Generation; readonly changed: boolean; readonly partsPulled: number }>
  /** Drops every version of the collection from memory and disk; the next query primes again. */
  invalidate(ref: CollectionRef): Promise<void>
  /** Compares a published table.rulake.json with what is cached. `path`: of the bundle file or its directory. */
  checkBundle(collection: CachedCollection, path: string, options: CallOptions): Promise<BundleVerdict>
  /** Writes table.rulake.json (temp, fsync, rename) for the current version into a directory; returns what it names. */
  publishBundle(
    collection: CachedCollection,
    directory: string,
    options: CallOptions & { readonly piiPolicy: string | null },
  ): Promise<{ readonly generation: Generation; readonly witness: string }>
  history(ref: CollectionRef): readonly HeldGeneration[]
  statistics(): CacheStatistics
  collectionStatistics(ref: CollectionRef): CollectionStatistics
  subscribe(listener: (event: CacheEvent) => void): () => void
  /** Finishes or abandons background work, flushes nothing that is not durable already, frees arenas, releases the directory lock. */
  close(): Promise<void>
}
