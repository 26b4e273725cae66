/** Vectors in an arena, as the cache would hold them, and the reference answer in plain float64. */
import { expect } from 'vitest'
import type { ArenaPool } from '../../src/cache/arena.js'
import { type Basis, basisRoomBytes, trainBasis } from '../../src/cache/basis.js'
import { type Block, blockBytes, createBlock, originalsBytes } from '../../src/cache/block.js'
import { cutAxis, joinAxes } from '../../src/cache/cells.js'
import { centroidRoomBytes, trainCentroids } from '../../src/cache/centroids.js'
import { type Codebook, refineCodebook, trainCodebook, trainingSeed } from '../../src/cache/codebook.js'
import { CodebookCopies } from '../../src/cache/codebook-copies.js'
import type { EncodeJob, KernelExecutor, ScanBlock, ScanJob, ScanReply } from '../../src/cache/executor.js'
import type { Survivors } from '../../src/cache/scan-hits.js'
import { survivorRangeRows } from '../../src/cache/scan-plan.js'
import { frameSample, sampleBytes, TrainingSample } from '../../src/cache/training.js'
import { seededRandom } from '../../src/core/clock.js'
import { distance, type Metric } from '../../src/core/metric.js'

export interface StoredCollection {
  readonly job: Pick<ScanJob, 'arena' | 'codebook'>
  readonly codebook: Codebook
  readonly blocks: readonly { readonly block: Block; readonly firstRow: number }[]
  free(): void
}

export const never: { readonly signal: AbortSignal } = { signal: new AbortController().signal }

/** Splits `vectors` into blocks of `blockRows` rows and encodes them. */
export async function storeCollection(
  executor: KernelExecutor,
  pool: ArenaPool,
  options: {
    readonly vectors: Float32Array
    readonly dimension: number
    readonly metric: Metric
    readonly quantized: boolean
    readonly blockRows: number
    readonly seed?: number
    /** Centroids to train, a multiple of 4. Default: none. */
    readonly clusters?: number
    /** Principal directions to train beside the centroids, and to code rows along, a multiple of 16. Default: none. */
    readonly directions?: number
    /** Cells a row, a multiple of 16. Default: none. */
    readonly cells?: number
  },
): Promise<StoredCollection> {
  const { vectors, dimension, metric, quantized, blockRows } = options
  const clusters = quantized ? (options.clusters ?? 0) : 0
  const rows = vectors.length / dimension
  const sample = vectors.subarray(0, Math.min(rows, 2000) * dimension)
  const seed = options.seed ?? 11
  const flat = trainCodebook({ dimension, metric, seed: BigInt(seed), sample })
  const directions = clusters === 0 ? 0 : (options.directions ?? 0)
  const cells = clusters === 0 ? 0 : (options.cells ?? 0)
  const refined = clusters === 0 ? flat : await refine(executor, pool, flat, { sample, clusters, directions, cells })
  const copies = new CodebookCopies(pool, refined)
  const blocks: { block: Block; firstRow: number }[] = []
  for (let firstRow = 0; firstRow === 0 || firstRow < rows; firstRow += blockRows) {
    const shape = {
      rows: Math.min(blockRows, rows - firstRow),
      dimension,
      metric,
      quantized,
      clusters,
      directions,
      cells,
    }
    const first = blocks[0]?.block.allocation.arena
    const allocation = pool.allocate(blockBytes(shape), first)
    const originals = allocation === null ? null : pool.allocate(Math.max(1, originalsBytes(shape)), allocation.arena)
    if (originals === null) throw new Error('the test asks for more than its budget')
    const block = createBlock(allocation!, originals, shape)
    block.writeRows(0, vectors.subarray(firstRow * dimension, (firstRow + shape.rows) * dimension))
    blocks.push({ block, firstRow })
  }
  const arena = blocks[0]!.block.allocation.arena
  const codebook = quantized ? copies.place(arena) : 0
  if (codebook === null) throw new Error('the test asks for more than its budget')
  for (const { block } of blocks) await executor.encode(encodeJob(block, codebook), never)
  return {
    job: { arena, codebook },
    codebook: refined,
    blocks,
    free() {
      for (const { block } of blocks) {
        block.detach()
        block.allocation.free()
      }
      copies.release()
    },
  }
}

/** Adds what the sample, in random order, trains. */
async function refine(
  executor: KernelExecutor,
  pool: ArenaPool,
  codebook: Codebook,
  options: {
    readonly sample: Float32Array
    readonly clusters: number
    readonly directions: number
    readonly cells: number
  },
): Promise<Codebook> {
  const { dimension } = codebook
  const seed = trainingSeed(codebook)
  const { sample, clusters, directions, cells } = options
  const count = Math.max(directions, cells)
  const rows = sample.length / dimension
  const random = seededRandom(seed)
  const shape = { rows, dimension }
  const room = Math.max(centroidRoomBytes(rows, dimension, clusters), basisRoomBytes(rows, dimension, count))
  const training = new TrainingSample(pool.allocate(sampleBytes(shape) + room)!, shape)
  const order = Array.from({ length: rows }, (_, row) => ({ row, key: random() })).sort((a, b) => a.key - b.key)
  for (const [at, { row }] of order.entries())
    training.writeRows(at, sample.subarray(row * dimension, (row + 1) * dimension))
  const copies = new CodebookCopies(pool, codebook)
  const placed = copies.place(training.arena)!
  const run = { executor, ...never }
  await frameSample(run, training, placed)
  const centroids = await trainCentroids(run, training, { codebook: placed, count: clusters, seed })
  const first = codebook.metric === 'dot' ? codebook.center : null
  const trained = count === 0 ? null : await trainBasis(run, training, { count, seed, first })
  const basis = trained === null ? null : { ...trained, prefix: directions, cells: cutCells(training, trained, cells) }
  copies.release()
  training.allocation.free()
  return refineCodebook(codebook, centroids, basis)
}

/** Cells along the leading directions and of the rest, for the rows of a framed sample. */
function cutCells(sample: TrainingSample, basis: Basis, count: number): Basis['cells'] {
  if (count === 0) return null
  const { padded, rows } = sample
  const vectors = sample.allocation.f32()
  const axes = Array.from({ length: count }, () => new Float64Array(rows))
  for (let row = 0; row < rows; row++) {
    const vector = vectors.subarray(row * padded, (row + 1) * padded)
    let left = vector.reduce((sum, value) => sum + value * value, 0)
    for (let axis = 0; axis < count - 1; axis++) {
      let along = 0
      for (let i = 0; i < padded; i++) along += vector[i]! * basis.vectors[axis * padded + i]!
      axes[axis]![row] = along
      left -= along * along
    }
    axes[count - 1]![row] = Math.sqrt(Math.max(0, left))
  }
  return joinAxes(axes.map((axis) => cutAxis(axis.sort())))
}

export const allRows = (stored: StoredCollection): ScanBlock[] => stored.blocks.map(({ block }) => scanBlock(block, 0))

/** @param allow offset of a bitmap, or 0 for all rows */
export const scanBlock = (block: Block, allow: number): ScanBlock => ({
  block: block.allocation.offset,
  vectors: block.originals!.offset,
  allow,
})

export const encodeJob = (block: Block, codebook: number): EncodeJob => ({
  arena: block.allocation.arena,
  codebook,
  block: block.allocation.offset,
  vectors: block.originals!.offset,
})

export interface Neighbour {
  readonly row: number
  readonly distance: number
}

/** The k nearest allowed rows by (distance, row), by computing every distance. */
export function bruteForce(options: {
  readonly vectors: Float32Array
  readonly dimension: number
  readonly metric: Metric
  readonly query: Float32Array
  readonly k: number
  readonly allowed?: (row: number) => boolean
  readonly distanceMax?: number
}): Neighbour[] {
  const { vectors, dimension, metric, query, k, allowed = () => true } = options
  const distanceMax = options.distanceMax ?? Number.POSITIVE_INFINITY
  const all: Neighbour[] = []
  for (let row = 0; row < vectors.length / dimension; row++) {
    if (!allowed(row)) continue
    const d = distance(metric, query, vectors.subarray(row * dimension, (row + 1) * dimension))
    if (d <= distanceMax) all.push({ row, distance: d })
  }
  return all.sort((a, b) => a.distance - b.distance || a.row - b.row).slice(0, k)
}

/** A scan's reply as the cache would rank it: rows of the whole collection by (distance, row), at most k. */
export async function search(
  executor: KernelExecutor,
  stored: StoredCollection,
  request: Omit<ScanJob, 'arena' | 'codebook' | 'blocks'> & { readonly blocks?: readonly ScanBlock[] },
): Promise<Neighbour[]> {
  const job = { ...stored.job, blocks: allRows(stored), ...request }
  const reply = await executor.scan(job, never)
  const found: Neighbour[] = []
  for (const [i, d] of reply.distances.entries()) {
    const { block, firstRow } = stored.blocks[reply.blocks[i]!]!
    const hit = { row: firstRow + reply.rows[i]!, distance: d }
    if (job.blocks[reply.blocks[i]!]!.vectors !== 0) found.push(hit)
    else expect(exactDistance(block, reply.rows[i]!, request.query)).toBeLessThanOrEqual(d)
  }
  const limit = reply.distances[request.k - 1] ?? request.distanceMax
  return [...found, ...(await readSurvivors(executor, stored, job, reply, limit))]
    .sort((a, b) => a.distance - b.distance || a.row - b.row)
    .slice(0, request.k)
}

const exactDistance = (block: Block, row: number, query: Float32Array): number =>
  distance(block.metric, query, block.vector(row))

/** Distances of what a scan left to be read, as the cache reads it from disk. */
async function readSurvivors(
  executor: KernelExecutor,
  stored: StoredCollection,
  job: ScanJob,
  { survivors, unread }: ScanReply,
  limit: number,
): Promise<Neighbour[]> {
  const found: Neighbour[] = []
  const read = (of: Survivors, index: (i: number) => number): void => {
    for (const [i, row] of of.rows.entries()) {
      const { block, firstRow } = stored.blocks[index(i)]!
      const d = exactDistance(block, row, job.query)
      expect(of.lowers[i]).toBeLessThanOrEqual(d)
      expect(block.order()(of.positions[i]!)).toBe(row)
      if (d <= limit) found.push({ row: firstRow + row, distance: d })
    }
  }
  read(survivors, (i) => survivors.blocks[i]!)
  for (const { index, from, to } of unread)
    for (let start = from; start < to; start += survivorRangeRows(job.k)) {
      const range = { from: start, to: Math.min(to, start + survivorRangeRows(job.k)) }
      const piece = { ...job, blocks: [{ ...job.blocks[index]!, range }], distanceMax: limit }
      const reply = await executor.scan(piece, never)
      expect(reply.unread).toEqual([])
      read(reply.survivors, () => index)
    }
  return found
}
