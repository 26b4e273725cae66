/** Rows that a collection's centroids and basis are trained on, and the room that training takes beside them. */
import assert from 'node:assert'
import { setImmediate } from 'node:timers/promises'
import type { Allocation } from './arena.js'
import type { ArenaHandle, KernelExecutor } from './executor.js'
import { padDimension } from './padding.js'
import type { TrainingCall } from './training-call.js'

/** A step is cut into calls of about this many multiplications: some milliseconds each. */
const callProducts = 60_000_000

const align = (bytes: number): number => Math.ceil(bytes / 64) * 64

/** Pieces of one allocation, in the order asked for. */
export class Room {
  #end: number

  constructor(start: number) {
    this.#end = start
  }

  /** Byte offset of `bytes` more, a multiple of 64. */
  take(bytes: number): number {
    const start = this.#end
    this.#end += align(bytes)
    return start
  }

  get end(): number {
    return this.#end
  }
}

export interface TrainingShape {
  /** Rows of the sample. */
  readonly rows: number
  readonly dimension: number
}

/** Bytes of arena that a sample takes, without the room for training. */
export const sampleBytes = (shape: TrainingShape): number => align(shape.rows * padDimension(shape.dimension) * 4)

/**
 * The sample, float32[rows][padded] at the start of its allocation. What is left of the allocation is room for one
 * training at a time.
 */
export class TrainingSample {
  readonly allocation: Allocation
  readonly rows: number
  readonly dimension: number
  readonly padded: number

  /** Takes the allocation over, at least `sampleBytes` and what the trainings need; `free` it when done. */
  constructor(allocation: Allocation, shape: TrainingShape) {
    assert(shape.rows >= 1 && allocation.bytes >= sampleBytes(shape), 'the sample fits its allocation')
    this.allocation = allocation
    this.rows = shape.rows
    this.dimension = shape.dimension
    this.padded = padDimension(shape.dimension)
    allocation.f32().fill(0, 0, this.rows * this.padded)
  }

  get arena(): ArenaHandle {
    return this.allocation.arena
  }

  /** Byte offset of the first row. */
  get offset(): number {
    return this.allocation.offset
  }

  /** Where the room for training begins. */
  room(): Room {
    return new Room(this.offset + sampleBytes(this))
  }

  /**
   * Copies rows in, before `frameSample`.
   * @param vectors float32[count * dimension], finite; borrowed
   */
  writeRows(firstRow: number, vectors: Float32Array): void {
    const count = vectors.length / this.dimension
    assert(Number.isInteger(count) && firstRow >= 0 && firstRow + count <= this.rows, 'rows lie inside the sample')
    const target = this.allocation.f32()
    for (let row = 0; row < count; row++)
      target.set(vectors.subarray(row * this.dimension, (row + 1) * this.dimension), (firstRow + row) * this.padded)
  }
}

/** Who computes, and until when. */
export interface TrainingRun {
  readonly executor: KernelExecutor
  readonly signal: AbortSignal
}

/** Runs calls on the arena: one after the other, or in any order. */
export async function runCalls(
  run: TrainingRun,
  arena: ArenaHandle,
  order: 'in order' | 'in any order',
  calls: readonly TrainingCall[],
): Promise<void> {
  const { executor, signal } = run
  if (order === 'in any order') return executor.train({ arena, calls }, { signal })
  for (const call of calls) await executor.train({ arena, calls: [call] }, { signal })
}

/** Cuts [0, count) into ranges of about `callProducts` multiplications, `productsEach` an element. */
export function cutRanges(count: number, productsEach: number, step = 4): { from: number; to: number }[] {
  const size = Math.max(1, Math.round(callProducts / productsEach / step)) * step
  const ranges = []
  for (let from = 0; from < count; from += size) ranges.push({ from, to: Math.min(count, from + size) })
  return ranges
}

/**
 * Brings the sample's rows into the frame of centroids and bases: of unit length for cosine, minus the codebook's centre.
 * Distances in it are those of the codes' frame, which is the same rotated; but rows need no rotation to be assigned.
 * @param codebook byte offset of the codebook's copy in the sample's arena
 */
export async function frameSample(run: TrainingRun, sample: TrainingSample, codebook: number): Promise<void> {
  const calls = cutRanges(sample.rows, 40 * sample.padded).map(({ from, to }): TrainingCall => {
    const rows = sample.offset + from * sample.padded * 4
    return { step: 'frameRows', arguments: [codebook, rows, rows, to - from] }
  })
  await runCalls(run, sample.arena, 'in any order', calls)
}

/** Lets others go first: a piece of work on the calling thread is milliseconds in many dimensions. */
export async function takeTurns(run: TrainingRun): Promise<void> {
  await setImmediate()
  run.signal.throwIfAborted()
}
