/** Principal directions of a collection: the coordinates that a prefix of a row keeps. */
import assert from 'node:assert'
import { seededRandom } from '../core/clock.js'
import type { Cells } from './cells.js'
import { padDimension } from './padding.js'
import { cutRanges, Room, runCalls, type TrainingRun, type TrainingSample } from './training.js'
import type { TrainingCall } from './training-call.js'

/** Enough for directions of a 384-dimensional sample to capture what the exact ones do, to a thousandth. */
const rounds = 6
const basisRowsMax = 4096

export interface Basis {
  /** Number of directions, a multiple of 4. */
  readonly count: number
  readonly padded: number
  /** float32[count][padded], in order of variance but for a given first, in the frame of framed rows (centred, not rotated). */
  readonly vectors: Float32Array
  /** At least the spectral norm of B B^T - I (docs/rounding.md, "PCA prefix"). */
  readonly skew: number
  /** float64[count]: share of the sample's squared norm that the first 1, 2, … directions capture; zeros when it has none. */
  readonly captured: Float64Array
  /** How many leading directions rows have 8-bit codes along, a multiple of 16; or 0. */
  readonly prefix: number
  /** What rows have cells of, or null. */
  readonly cells: Cells | null
}

interface Places {
  readonly basis: number
  readonly wide: number
  readonly projections: number
  readonly squares: number
}

function placeTraining(room: Room, rows: number, padded: number, count: number): Places {
  return {
    basis: room.take(count * padded * 4),
    wide: room.take(count * padded * 8),
    projections: room.take(Math.min(rows, basisRowsMax) * count * 4),
    squares: room.take(padded * 8),
  }
}

/** Bytes of room that `trainBasis` needs behind a sample of `rows`. */
export function basisRoomBytes(rows: number, dimension: number, count: number): number {
  const room = new Room(0)
  placeTraining(room, rows, padDimension(dimension), count)
  return room.end
}

/**
 * Subspace iteration over at most 4,096 rows of the sample. The same sample and seed give the same bytes, whatever the
 * number of workers. Rows are to be coded along all directions, without cells.
 * @param sample framed, in random order
 * @param options count: a multiple of 4, at most the padded dimension; first: float32[dimension], a direction to put before the
 * principal ones, or null: for dot the centre, which queries are not framed by and have in common
 */
export async function trainBasis(
  run: TrainingRun,
  sample: TrainingSample,
  options: { readonly count: number; readonly seed: number; readonly first: Float32Array | null },
): Promise<Basis> {
  const { count, seed, first } = options
  const { arena, padded } = sample
  assert(count >= 4 && count % 4 === 0 && count <= padded, 'directions come in fours and fit the rows')
  const room = sample.room()
  const at = placeTraining(room, sample.rows, padded, count)
  assert(room.end <= sample.offset + sample.allocation.bytes, 'the sample came with room for its basis')
  const rows = Math.min(sample.rows, basisRowsMax)
  const bytes = padded * 4
  const stride = Math.floor(sample.rows / rows) * bytes
  const view = <View>(
    make: new (buffer: ArrayBufferLike, offset: number, length: number) => View,
    from: number,
    n: number,
  ) => new make(arena.memory.buffer, from, n)

  const project = cutRanges(rows, count * padded).map(
    ({ from, to }): TrainingCall => ({
      step: 'projectRows',
      arguments: [at.basis, count, bytes, sample.offset, stride, from, to, at.projections],
    }),
  )
  const combine = cutRanges(count, rows * padded).map(
    ({ from, to }): TrainingCall => ({
      step: 'combineRows',
      arguments: [at.basis, count, bytes, sample.offset, stride, rows, from, to, at.projections],
    }),
  )
  const orthonormalize = cutRanges(count, 4 * count * padded).map(
    ({ from, to }): TrainingCall => ({ step: 'orthonormalize', arguments: [at.basis, at.wide, bytes, from, to] }),
  )
  const random = seededRandom(seed)
  const start = view(Float32Array, at.basis, count * padded)
  for (let i = 0; i < start.length; i++) start[i] = random() - 0.5
  await runCalls(run, arena, 'in order', orthonormalize)
  for (let round = 0; round < rounds; round++) {
    await runCalls(run, arena, 'in any order', project)
    await runCalls(run, arena, 'in any order', combine)
    await runCalls(run, arena, 'in order', orthonormalize)
  }
  if (first?.some((value) => value !== 0)) {
    const directions = view(Float32Array, at.basis, count * padded)
    directions
      .copyWithin(padded, 0, (count - 1) * padded)
      .fill(0, 0, padded)
      .set(first)
    await runCalls(run, arena, 'in order', orthonormalize)
  }
  await runCalls(run, arena, 'in any order', project)

  const measure = cutRanges(count, 4 * count * padded).map(
    ({ from, to }): TrainingCall => ({
      step: 'measureBasis',
      arguments: [at.basis, count, bytes, from, to, at.squares],
    }),
  )
  await runCalls(run, arena, 'in any order', measure)
  const excess = sum(view(Float64Array, at.squares, count))
  // Float64 sums of `padded` products of unit vectors, in each of count^2 entries.
  const skew = (Math.sqrt(excess) + count * padded * 2.3e-16) * (1 + 1e-9)
  const vectors = view(Float32Array, at.basis, count * padded).slice()

  await sumSquares(at.projections, count * 4, count)
  const along = view(Float64Array, at.squares, count).slice()
  await sumSquares(sample.offset, stride, padded)
  const total = sum(view(Float64Array, at.squares, padded))
  return {
    count,
    padded,
    vectors,
    skew,
    captured: along.map((_, last) => (total > 0 ? sum(along.subarray(0, last + 1)) / total : 0)),
    prefix: count,
    cells: null,
  }

  function sumSquares(values: number, step: number, columns: number): Promise<void> {
    const call: TrainingCall = { step: 'sumColumnSquares', arguments: [values, step, rows, columns, at.squares] }
    return runCalls(run, arena, 'in order', [call])
  }
}

const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0)
