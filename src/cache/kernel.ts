/** Runs the kernel on the calling thread: shared by the inline path and the worker threads. */
import { readFileSync } from 'node:fs'
import {
  arenaScratchAt,
  hitBytes,
  maximaCount,
  scratchBytes,
  scratchHitsAt,
  scratchLanesAt,
  scratchQueryAt,
} from './kernel/layout.js'
import { padDimension } from './padding.js'
import type { TrainingCall, TrainingKernel } from './training-call.js'

/** The module's exports (src/cache/kernel/index.ts). Pointers are byte offsets in the arena. */
interface Kernel extends TrainingKernel {
  place(block: number, codebook: number, scratch: number, from: number, to: number): void
  arrange(block: number, codebook: number): void
  encode(block: number, codebook: number, scratch: number, from: number, to: number): void
  prepare(scratch: number, codebook: number, metric: number, padded: number, stage: number): void
  scan(
    block: number,
    scratch: number,
    allow: number,
    from: number,
    to: number,
    k: number,
    distanceMax: number,
    stage: number,
    tail: number,
    probing: number,
  ): number
  lostDistance(): number
  rowsLooked(): number
}

const module = new WebAssembly.Module(readFileSync(new URL('./kernel.wasm', import.meta.url)))

/** One instance a thread and arena: making one takes longer than a small scan. */
const instances = new WeakMap<WebAssembly.Memory, Kernel>()

function kernelOf(memory: WebAssembly.Memory): Kernel {
  const present = instances.get(memory)
  if (present !== undefined) return present
  const abort = (): never => {
    throw new Error('the kernel stopped at an assertion')
  }
  const kernel = new WebAssembly.Instance(module, { env: { memory, abort } }).exports as Kernel
  instances.set(memory, kernel)
  return kernel
}

/**
 * Rows (for `encode`, positions) [from, to) of one block; `from` is a multiple of 32. A block with clusters goes through
 * `place` and then `arrange`, once for all its rows, before `encode`. Each step may be repeated until the next begins.
 * Structured-cloneable, as all of this file's work is.
 */
export interface EncodeWork {
  readonly step: 'place' | 'arrange' | 'encode'
  readonly block: number
  readonly codebook: number
  readonly from: number
  readonly to: number
}

/** Does the step; returns the rows' maxima, float64[maximaCount], for `finishBlock` (of `encode`). `slot`: whose scratch area it may use. */
export function runEncode(memory: WebAssembly.Memory, slot: number, work: EncodeWork): Float64Array {
  const scratch = arenaScratchAt + slot * scratchBytes
  const kernel = kernelOf(memory)
  if (work.step === 'arrange') kernel.arrange(work.block, work.codebook)
  else kernel[work.step](work.block, work.codebook, scratch, work.from, work.to)
  return new Float64Array(memory.buffer, scratch + scratchLanesAt, maximaCount).slice()
}

export interface ScanRange {
  /** Index into the job's blocks. */
  readonly index: number
  readonly block: number
  readonly allow: number
  readonly from: number
  readonly to: number
  /** Whether the block has tie ranks. */
  readonly ranked: boolean
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
  /** Share of the threshold's distance within which clusters are looked at; 1 misses nothing. */
  readonly probing: number
}

/** The k best rows, ascending by distance, and every further row as near as the k-th. Parallel arrays. */
export interface Hits {
  readonly distances: Float64Array
  /** Index into the job's blocks. */
  readonly blocks: Uint32Array
  readonly rows: Uint32Array
  /** Smallest distance at which position in an unranked block decided which rows were left out; Infinity for none. */
  readonly lost: number
  /** Bytes that the first stage read. */
  readonly bytesRead: number
}

export const noHits: Hits = {
  distances: new Float64Array(0),
  blocks: new Uint32Array(0),
  rows: new Uint32Array(0),
  lost: Number.POSITIVE_INFINITY,
  bytesRead: 0,
}

/** Distance that a row must not exceed to matter, given hits so far. */
export const hitsThreshold = (hits: Hits, k: number, distanceMax: number): number =>
  hits.distances.length >= k ? Math.min(distanceMax, hits.distances[k - 1]!) : distanceMax

/** Scans the ranges one after the other, each under the threshold that the ones before it have left. */
export function runScan(memory: WebAssembly.Memory, slot: number, work: ScanWork): Hits {
  const kernel = kernelOf(memory)
  const scratch = arenaScratchAt + slot * scratchBytes
  const padded = padDimension(work.query.length)
  const query = new Float32Array(memory.buffer, scratch + scratchQueryAt, padded)
  query.set(work.query)
  query.fill(0, work.query.length)
  kernel.prepare(scratch, work.codebook, work.metric, padded, work.stage)
  let hits = noHits
  let bytesRead = 0
  for (const range of work.ranges) {
    const distanceMax = hitsThreshold(hits, work.k, work.distanceMax)
    const count = kernel.scan(
      range.block,
      scratch,
      range.allow,
      range.from,
      range.to,
      work.k,
      distanceMax,
      work.stage,
      work.tail,
      work.probing,
    )
    bytesRead += kernel.rowsLooked() * range.rowBytes
    const lost = range.ranked ? Number.POSITIVE_INFINITY : kernel.lostDistance()
    if (count > 0) hits = mergeHits(hits, readHits(memory, scratch, range.index, count, lost), work.k)
  }
  return { ...hits, bytesRead }
}

function readHits(memory: WebAssembly.Memory, scratch: number, index: number, count: number, lost: number): Hits {
  const f64 = new Float64Array(memory.buffer, scratch + scratchHitsAt, (count * hitBytes) / 8)
  const u32 = new Uint32Array(memory.buffer, scratch + scratchHitsAt, (count * hitBytes) / 4)
  const distances = new Float64Array(count)
  const rows = new Uint32Array(count)
  for (let i = 0; i < count; i++) {
    distances[i] = f64[2 * i]!
    rows[i] = u32[4 * i + 3]!
  }
  return { distances, blocks: new Uint32Array(count).fill(index), rows, lost, bytesRead: 0 }
}

/** Merges two results of the same query, keeping all rows as near as the k-th. */
export function mergeHits(a: Hits, b: Hits, k: number): Hits {
  if (a === noHits) return b
  const total = a.distances.length + b.distances.length
  const distances = new Float64Array(total)
  const blocks = new Uint32Array(total)
  const rows = new Uint32Array(total)
  let count = 0
  let i = 0
  let j = 0
  while (count < total) {
    const fromA = j === b.distances.length || (i < a.distances.length && a.distances[i]! <= b.distances[j]!)
    const source = fromA ? a : b
    const at = fromA ? i++ : j++
    const distance = source.distances[at]!
    if (count >= k && distance > distances[k - 1]!) break
    distances[count] = distance
    blocks[count] = source.blocks[at]!
    rows[count] = source.rows[at]!
    count++
  }
  return {
    distances: distances.subarray(0, count),
    blocks: blocks.subarray(0, count),
    rows: rows.subarray(0, count),
    lost: Math.min(a.lost, b.lost),
    bytesRead: a.bytesRead + b.bytesRead,
  }
}

/** Runs one step of training. What it reads and writes lies in the arena. */
export function runTraining(memory: WebAssembly.Memory, slot: number, call: TrainingCall): void {
  const step: (...values: number[]) => void = kernelOf(memory)[call.step]
  step(arenaScratchAt + slot * scratchBytes, ...call.arguments)
}
