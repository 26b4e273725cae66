/** Samples in an arena, ready to train on, and rows assigned to what was trained. */
import { ArenaPool } from '../../src/cache/arena.js'
import { basisRoomBytes } from '../../src/cache/basis.js'
import { type Centroids, centroidRoomBytes, writeTable } from '../../src/cache/centroids.js'
import { trainCodebook } from '../../src/cache/codebook.js'
import { CodebookCopies } from '../../src/cache/codebook-copies.js'
import type { KernelExecutor } from '../../src/cache/executor.js'
import { padDimension } from '../../src/cache/padding.js'
import { frameSample, sampleBytes, type TrainingRun, TrainingSample } from '../../src/cache/training.js'
import type { Random } from '../../src/core/clock.js'
import type { Metric } from '../../src/core/metric.js'

export interface Data {
  /** float32[rows][dimension] */
  readonly vectors: Float32Array
  readonly dimension: number
  readonly metric?: Metric
}

export interface Prepared {
  readonly pool: ArenaPool
  readonly run: TrainingRun
  readonly sample: TrainingSample
  readonly codebook: number
  /** float64[rows][padded]: what the rows are in the frame, read back from the arena. */
  framed(): Float64Array
}

/** Copies all rows into a sample with room for `centroids` centroids and `directions` directions, and frames them. */
export async function prepareSample(
  executor: KernelExecutor,
  data: Data,
  room: { readonly centroids?: number; readonly directions?: number },
): Promise<Prepared> {
  const { vectors, dimension, metric = 'l2' } = data
  const shape = { rows: vectors.length / dimension, dimension }
  const roomBytes = Math.max(
    room.centroids === undefined ? 0 : centroidRoomBytes(shape.rows, dimension, room.centroids),
    room.directions === undefined ? 0 : basisRoomBytes(shape.rows, dimension, room.directions),
  )
  const pool = new ArenaPool({ bytesMax: 100_000_000, scratchSlots: executor.scratchSlots })
  const sample = new TrainingSample(pool.allocate(sampleBytes(shape) + roomBytes)!, shape)
  sample.writeRows(0, vectors)
  const copies = new CodebookCopies(pool, trainCodebook({ dimension, metric, seed: 5n, sample: vectors }))
  const codebook = copies.place(sample.arena)!
  const run = { executor, signal: new AbortController().signal }
  await frameSample(run, sample, codebook)
  const framed = () => Float64Array.from(sample.allocation.f32().subarray(0, sample.rows * sample.padded))
  return { pool, run, sample, codebook, framed }
}

export interface Assigned {
  readonly found: Uint32Array
  readonly squares: Float32Array
}

/** Assigns unframed rows; with `ignoreGroups`, by comparing every row with every centroid. */
export async function assignRows(
  prepared: Prepared,
  centroids: Centroids,
  data: Data,
  options: { readonly ignoreGroups?: boolean } = {},
): Promise<Assigned> {
  const { pool, run, sample, codebook } = prepared
  const rows = data.vectors.length / data.dimension
  const padded = padDimension(data.dimension)
  const source = pool.allocate(rows * padded * 4, sample.arena)!
  const target = source.f32().fill(0)
  for (let row = 0; row < rows; row++)
    target.set(data.vectors.subarray(row * data.dimension, (row + 1) * data.dimension), row * padded)
  const table = pool.allocate(centroids.table.byteLength, sample.arena)!
  writeTable(centroids, table)
  if (options.ignoreGroups === true) table.u32()[2] = 0
  const found = pool.allocate(rows * 4, sample.arena)!
  const squares = pool.allocate(rows * 4, sample.arena)!
  const values = [table.offset, codebook, source.offset, rows, found.offset, squares.offset] as const
  await run.executor.train({ arena: sample.arena, calls: [{ step: 'assign', arguments: values }] }, run)
  const assigned = { found: found.u32().slice(), squares: squares.f32().slice() }
  for (const allocation of [source, table, found, squares]) allocation.free()
  return assigned
}

export const gaussian = (random: Random): number =>
  Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

/** Rows around `clusters` points of a cube of side 4. */
export function clustered(random: Random, rows: number, dimension: number, clusters: number): Float32Array {
  const centers = Float32Array.from({ length: clusters * dimension }, () => random() * 4 - 2)
  const vectors = new Float32Array(rows * dimension)
  for (let at = 0; at < vectors.length; at += dimension) {
    const center = Math.floor(random() * clusters) * dimension
    for (let j = 0; j < dimension; j++) vectors[at + j] = centers[center + j]! + 0.3 * gaussian(random)
  }
  return vectors
}

/** Data that leaves k-means or a basis with too little to go by. */
export function degenerateData(dimension: number, random: Random): Readonly<Record<string, Float32Array>> {
  const fill = (rows: number, value: () => number) => Float32Array.from({ length: rows * dimension }, value)
  const few = fill(3, () => gaussian(random))
  return {
    'one row': fill(1, () => gaussian(random)),
    'fewer rows than centroids': fill(7, () => gaussian(random)),
    'all rows equal': fill(300, () => 0.7),
    'all rows zero': fill(300, () => 0),
    'three different rows': Float32Array.from({ length: 300 * dimension }, (_, i) => few[i % few.length]!),
    'denormal numbers': fill(300, () => 1e-42 * gaussian(random)),
    'huge numbers': fill(300, () => 5e37 * gaussian(random)),
    'a far outlier': Float32Array.from(
      { length: 300 * dimension },
      (_, i) => gaussian(random) * (i < dimension ? 1e9 : 1),
    ),
  }
}
