/** Runs the kernel on the calling thread: shared by the inline path and the worker threads. */
import {
  arenaScratchAt,
  blockRankedAt,
  hitBytes,
  maximaCount,
  scratchBytes,
  scratchHitsAt,
  scratchLanesAt,
  scratchQueryAt,
} from './kernel/layout.js'
import { kernelModule } from './kernel-module.js'
import { padDimension } from './padding.js'
import {
  type Hits,
  hitsThreshold,
  joinSurvivors,
  mergeHits,
  noHits,
  type Survivors,
  type UnreadRange,
} from './scan-hits.js'
import type { TrainingCall, TrainingKernel } from './training-call.js'

/** The module's exports (src/cache/kernel/index.ts). Pointers are byte offsets in the arena. */
interface Kernel extends TrainingKernel {
  place(block: number, vectors: number, codebook: number, scratch: number, from: number, to: number): void
  arrange(block: number, codebook: number): void
  encode(block: number, vectors: number, codebook: number, scratch: number, from: number, to: number): void
  prepare(scratch: number, codebook: number, metric: number, padded: number, stage: number): void
  scan(
    block: number,
    vectors: number,
    scratch: number,
    allow: number,
    from: number,
    to: number,
    k: number,
    distanceMax: number,
    stage: number,
    tail: number,
    gap: number,
  ): number
  lostDistance(): number
  rowsLooked(): number
  survivorCount(): number
}

/** The kernel over one arena, and views of all of it. */
interface Instance {
  readonly kernel: Kernel
  u32: Uint32Array
  f32: Float32Array
  f64: Float64Array
}

/** One instance a thread and arena: making one takes longer than a small scan. */
const instances = new WeakMap<WebAssembly.Memory, Instance>()

function instanceOf(memory: WebAssembly.Memory): Instance {
  const { buffer } = memory
  const present = instances.get(memory)
  if (present !== undefined) {
    // An arena that has grown has another buffer.
    if (present.u32.buffer !== buffer) Object.assign(present, viewsOf(buffer))
    return present
  }
  const abort = (): never => {
    throw new Error('the kernel stopped at an assertion')
  }
  const kernel = new WebAssembly.Instance(kernelModule, { env: { memory, abort } }).exports as Kernel
  const made = { kernel, ...viewsOf(buffer) }
  instances.set(memory, made)
  return made
}

const viewsOf = (buffer: ArrayBufferLike): Omit<Instance, 'kernel'> => ({
  u32: new Uint32Array(buffer),
  f32: new Float32Array(buffer),
  f64: new Float64Array(buffer),
})

/**
 * Rows (for `encode`, positions) [from, to) of one block; `from` is a multiple of 32. A block with clusters goes through
 * `place` and then `arrange`, once for all its rows, before `encode`. Each step may be repeated until the next begins.
 * Structured-cloneable, as all of this file's work is.
 */
export interface EncodeWork {
  readonly step: 'place' | 'arrange' | 'encode'
  readonly block: number
  /** Byte offset of the block's originals. */
  readonly vectors: number
  readonly codebook: number
  readonly from: number
  readonly to: number
}

/** Does the step; returns the rows' maxima, float64[maximaCount], for `finishBlock` (of `encode`). `slot`: whose scratch area it may use. */
export function runEncode(memory: WebAssembly.Memory, slot: number, work: EncodeWork): Float64Array {
  const scratch = arenaScratchAt + slot * scratchBytes
  const { kernel } = instanceOf(memory)
  if (work.step === 'arrange') kernel.arrange(work.block, work.codebook)
  else kernel[work.step](work.block, work.vectors, work.codebook, scratch, work.from, work.to)
  return new Float64Array(memory.buffer, scratch + scratchLanesAt, maximaCount).slice()
}

export interface ScanRange {
  /** Index into the job's blocks. */
  readonly index: number
  readonly block: number
  /** Byte offset of its originals, or 0 when they are on disk. */
  readonly vectors: number
  readonly allow: number
  readonly from: number
  readonly to: number
  /** Bytes that the first stage reads of a row. */
  readonly rowBytes: number
}

export interface ScanWork {
  readonly codebook: number
  /** A metric's number, see layout.ts. */
  readonly metric: number
  readonly query: Float32Array
  readonly ranges: readonly ScanRange[]
  readonly k: number
  readonly distanceMax: number
  readonly stage: number
  /** Tail point for stageBits. */
  readonly tail: number
  /** See ScanChoice; Infinity misses nothing. */
  readonly gap: number
  /** Distances, ascending, of the k best rows of ranges scanned before these: no row farther than the k-th of all matters. The result is without them. */
  readonly before: Float64Array
}

/** Scans the ranges one after the other, each under the threshold that all before it have left. */
export function runScan(memory: WebAssembly.Memory, slot: number, work: ScanWork): Hits {
  const instance = instanceOf(memory)
  const { kernel, f32, u32 } = instance
  const scratch = arenaScratchAt + slot * scratchBytes
  const padded = padDimension(work.query.length)
  const queryAt = (scratch + scratchQueryAt) / 4
  f32.set(work.query, queryAt)
  f32.fill(0, queryAt + work.query.length, queryAt + padded)
  kernel.prepare(scratch, work.codebook, work.metric, padded, work.stage)
  let hits = noHits
  let bytesRead = 0
  const survivors: Survivors[] = []
  const unread: UnreadRange[] = []
  let distanceMax = hitsThreshold(hits, work.before, work)
  for (const range of work.ranges) {
    // Ranks that come while the kernel runs may have come too late for it.
    const ranked = Atomics.load(u32, (range.block + blockRankedAt) / 4) === 1
    const count = kernel.scan(
      range.block,
      range.vectors,
      scratch,
      range.allow,
      range.from,
      range.to,
      work.k,
      distanceMax,
      work.stage,
      work.tail,
      work.gap,
    )
    bytesRead += kernel.rowsLooked() * range.rowBytes
    if (range.vectors === 0) {
      const left = kernel.survivorCount()
      if (left < 0) unread.push({ index: range.index, from: range.from, to: range.to })
      else if (left > 0) survivors.push(readSurvivors(instance, scratch, range.index, work.k, left))
    }
    if (count === 0) continue
    const lost = ranked || range.vectors === 0 ? Number.POSITIVE_INFINITY : kernel.lostDistance()
    hits = mergeHits(hits, readHits(instance, scratch, range.index, count, lost), work.k)
    distanceMax = hitsThreshold(hits, work.before, work)
  }
  const { distances, blocks, rows, lost } = hits
  const joined = survivors.length === 0 ? survivors : [joinSurvivors(survivors, distanceMax)]
  return { distances, blocks, rows, lost, bytesRead, survivors: joined, unread }
}

function readHits({ f64, u32 }: Instance, scratch: number, index: number, count: number, lost: number): Hits {
  const start = scratch + scratchHitsAt
  const distances = new Float64Array(count)
  const rows = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    distances[i] = f64[(start + i * hitBytes) / 8]!
    rows[i] = u32[(start + i * hitBytes) / 4 + 3]!
  }
  const blocks = new Uint32Array(count).fill(index)
  return { distances, blocks, rows, lost, bytesRead: 0, survivors: [], unread: [] }
}

/** They are behind room for k hits. */
function readSurvivors({ f64, u32 }: Instance, scratch: number, index: number, k: number, count: number): Survivors {
  const start = scratch + scratchHitsAt + k * hitBytes
  const lowers = new Float64Array(count)
  const positions = new Uint32Array(count)
  const rows = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    const at = start + i * hitBytes
    lowers[i] = f64[at / 8]!
    positions[i] = u32[at / 4 + 2]!
    rows[i] = u32[at / 4 + 3]!
  }
  return { lowers, blocks: new Uint32Array(count).fill(index), rows, positions }
}

/** Runs one step of training. What it reads and writes lies in the arena. */
export function runTraining(memory: WebAssembly.Memory, slot: number, call: TrainingCall): void {
  const step: (...values: number[]) => void = instanceOf(memory).kernel[call.step]
  step(arenaScratchAt + slot * scratchBytes, ...call.arguments)
}
