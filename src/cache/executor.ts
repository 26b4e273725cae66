/**
 * The seam between the cache and the threads that run the kernel. src/federation/pool.ts implements it over piscina and
 * inline; the cache sees only this.
 */
import type { RecallContract } from '../core/contract.js'
import type { Compared, CompareWork } from './compare-rows.js'
import type { Survivors, UnreadRange } from './scan-hits.js'
import type { TrainingCall } from './training-call.js'

/** One pooled shared WebAssembly memory. Structured-cloneable. */
export interface ArenaHandle {
  readonly id: number
  readonly memory: WebAssembly.Memory
}

/** Encodes a block whose float32 originals are in place: rotation, codes, factors, bounds. */
export interface EncodeJob {
  readonly arena: ArenaHandle
  /** Byte offset of the block's header in the arena. */
  readonly block: number
  /** Byte offset of its originals. */
  readonly vectors: number
  /** Byte offset of the codebook's copy in this arena; 0 for a block without codes. */
  readonly codebook: number
}

export interface ScanBlock {
  readonly block: number
  /** Byte offset of its originals, or 0 when they are on disk. */
  readonly vectors: number
  /** Byte offset of a bitmap with one bit a row (1 = may be returned), as `Block.arrangeBitmap` leaves it, or 0 for all rows. */
  readonly allow: number
  /** Positions to be scanned, `from` a multiple of 32. Default: all. */
  readonly range?: { readonly from: number; readonly to: number }
}

/** What a scan of coded rows reads first. What that does not rule out, 8-bit codes, float32 and float64 decide, in this order. */
export type FirstStage = 'bits' | 'cells' | 'prefix' | 'bytes'

/** How a scan is done: it decides how long it takes, and under a target contract which rows it may miss. */
export interface ScanChoice {
  /** `bits` is for contracts that allow a miss. */
  readonly first: FirstStage
  /**
   * Under a target contract, clusters are left whose centroid's squared distance from the query (cosine: of unit vectors) is
   * more than this above that of the nearest centroid; Infinity misses nothing. For dot it is between what is usually the least
   * distance of a cluster's rows, and rows are left as clusters are.
   */
  readonly gap: number
}

/** One query over blocks that live in one arena and share a codebook. */
export interface ScanJob {
  readonly arena: ArenaHandle
  /** Byte offset of the codebook's copy in this arena; 0 when no block has codes. */
  readonly codebook: number
  /** Their headers are read once a list: whoever encodes them anew makes another. */
  readonly blocks: readonly ScanBlock[]
  /** float32[dimension]; copied by the executor. */
  readonly query: Float32Array
  readonly k: number
  readonly contract: RecallContract
  /** Rows farther than this are not wanted (inclusive); Infinity for no limit. Also a threshold already proven elsewhere. */
  readonly distanceMax: number
  /** Of a tuning; null or left out: the first stage that suits most collections, and all clusters. */
  readonly choice?: ScanChoice | null
}

/**
 * The k best rows of the job's blocks, ascending by distance, and further rows at exactly the k-th distance: of every
 * block, at least the k best by tie order. Rows of equal distance come in no particular order; the caller decides by id.
 */
export interface ScanReply {
  /** float64[count]. Of a block whose originals are on disk, an upper bound: its rows are among the survivors as well. */
  readonly distances: Float64Array
  /** uint32[count]: index into job.blocks */
  readonly blocks: Uint32Array
  /** uint32[count]: row position inside the block */
  readonly rows: Uint32Array
  /**
   * True when a row at exactly the k-th distance was left out and its block had no tie ranks, so that which of the equal
   * rows were kept was decided by position: rank the blocks' rows by id and scan again.
   */
  readonly tiesLost: boolean
  /** Rows on disk that may be among the k best, or as near as the k-th. */
  readonly survivors: Survivors
  /** Ranges with more survivors than fit: at most `survivorRangeRows` rows of one at a time have room. */
  readonly unread: readonly UnreadRange[]
  /** Rows of the job's blocks, and bytes of the codes or vectors that the first stage read of them. */
  readonly rowsScanned: number
  readonly bytesScanned: number
  /** Time in the kernel and time queued before it, milliseconds. */
  readonly scanMs: number
  readonly waitMs: number
}

/** A scan that another thread may do meanwhile. Finish or abandon it, once. */
export interface BegunScan {
  finish(): ScanReply
  abandon(): void
  /** After either: resolves when nothing reads the job's blocks for it any more; null: nothing does. */
  over(): Promise<void> | null
}

/** Steps of training that may run in any order and at the same time. */
export interface TrainJob {
  readonly arena: ArenaHandle
  readonly calls: readonly TrainingCall[]
}

export interface KernelExecutor {
  /** Worker threads besides the calling one. */
  readonly workers: number
  /** Scratch areas that its tasks need in every arena. */
  readonly scratchSlots: number
  encode(job: EncodeJob, options: { readonly signal: AbortSignal }): Promise<void>
  /** Leaves a scan that `scanAtOnce` would run inline to a thread that has time before `finish`; null when there is none, or it is not worth it. */
  beginScan(job: ScanJob): BegunScan | null
  /** Runs inline when that is cheaper than handing over; null, and nothing is done, when it is not. */
  scanAtOnce(job: ScanJob): ScanReply | null
  /** Runs inline when that is cheaper than handing over, else on a worker. A worker's death rejects with LG_INTERNAL after one retry. */
  scan(job: ScanJob, options: { readonly signal: AbortSignal }): Promise<ScanReply>
  /** Rejects with LG_INTERNAL when a worker dies: a step that ran in part cannot be repeated, so training starts over. */
  train(job: TrainJob, options: { readonly signal: AbortSignal }): Promise<void>
  /**
   * Compares rows with a query by the definition of the distance, after everything else that waits for a thread. One
   * stretch is one unit of work: others wait for as long as it takes, so keep it short.
   */
  compare(work: CompareWork, options: { readonly signal: AbortSignal }): Promise<Compared>
  /**
   * Resolves when no thread but the calling one refers to the arena, for which no job may be under way; until closed, when
   * that no longer matters. A job that names it later makes it known again. Rejects with
   * LG_INTERNAL when threads that live cannot collect their garbage.
   */
  forget(arenaId: number): Promise<void>
  close(): Promise<void>
}
