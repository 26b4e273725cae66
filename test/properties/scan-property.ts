/** One drawn collection against brute force (law 6): for the property itself, and for kernels that must not have it. */
import { ArenaPool } from '../../src/cache/arena.js'
import type { KernelExecutor, ScanBlock } from '../../src/cache/executor.js'
import { seededRandom } from '../../src/core/clock.js'
import { distance, innerProduct, type Metric, metrics } from '../../src/core/metric.js'
import { bruteForce, type Neighbour, scanBlock, search, storeCollection } from '../cache/collection-fixture.js'
import { addTwinsAndZeros, drawQuery, fills, gaussian, logUniform, pick } from './hostile-vectors.js'

/** An answer that is not what brute force finds. */
interface WrongScan {
  /** What was drawn. */
  readonly setup: string
  readonly found: readonly Neighbour[]
  readonly expected: readonly Neighbour[]
}

/** What is not drawn but given. */
export interface Aim {
  readonly metric?: Metric
  readonly dimension?: number
  readonly rows?: number
  /** A name of `fills`. */
  readonly name?: string
  readonly clusters?: number
  readonly directions?: number
  readonly cells?: number
}

const queriesEach = 12

/** Draws a collection and asks it `exact` queries, with originals in memory and on disk, and certified ones at 1e-12; null when all answers are right to the bit. */
export async function findWrongScan(executor: KernelExecutor, seed: number, aim: Aim = {}): Promise<WrongScan | null> {
  const random = seededRandom(seed)
  const metric = aim.metric ?? pick(random, metrics)
  const dimension = aim.dimension ?? logUniform(random, 1, 2048)
  const rows = aim.rows ?? logUniform(random, 1, Math.min(50_000, 5_000_000 / dimension)) - (random() < 0.05 ? 1 : 0)
  const name = aim.name ?? pick(random, Object.keys(fills))
  const fill = fills[name]!
  const vectors = new Float32Array(rows * dimension)
  fill(vectors, dimension, random)
  addTwinsAndZeros(vectors, dimension, random)
  const quantized = aim.clusters !== undefined || random() < 0.85
  const clusters = aim.clusters ?? (rows > 0 ? pick(random, [0, 4, 4 * logUniform(random, 1, 50)]) : 0)
  const directions =
    aim.directions ?? (dimension > 16 ? pick(random, [0, 16, 32 * Math.min(2, Math.ceil(dimension / 64))]) : 0)
  const cells = aim.cells ?? (dimension > 16 ? pick(random, [0, 16, 16 * Math.min(4, Math.ceil(dimension / 32))]) : 0)
  const blockRows = pick(random, [rows, Math.ceil(rows / 3), 5000]) || 1
  const pool = new ArenaPool({ bytesMax: 200_000_000, scratchSlots: 1 })
  const stored = await storeCollection(executor, pool, {
    vectors,
    dimension,
    metric,
    quantized,
    blockRows,
    seed,
    clusters,
    directions,
    cells,
  })
  for (let i = 0; i < queriesEach; i++) {
    const query = drawQuery(vectors, dimension, random, fill)
    const k = random() < 0.1 ? Math.min(rows + 3, 10_000) : logUniform(random, 1, 100)
    const selectivity = pick(random, [1, 1, 1, 0.5, 0.1, 0.01, 0])
    const allowed = Uint8Array.from({ length: rows }, () => (random() < selectivity ? 1 : 0))
    const all = bruteForce({ vectors, dimension, metric, query, k: rows })
    // Limits close to the query put the bounds of its nearest rows to the test, whatever is read first.
    const within = pick(random, [[], [], all, all.slice(0, 20), all.slice(0, 2)])
    const distanceMax = within.length > 0 ? pick(random, within).distance : Number.POSITIVE_INFINITY
    const blocks: ScanBlock[] = []
    const bitmaps = []
    for (const { block, firstRow } of stored.blocks) {
      const bitmap = pool.allocate(Math.ceil(block.rows / 32) * 4 + 4, stored.job.arena)!
      const words = bitmap.u32().fill(0)
      for (let row = 0; row < block.rows; row++) if (allowed[firstRow + row] === 1) words[row >> 5]! |= 1 << (row & 31)
      block.arrangeBitmap(words.subarray(0, Math.ceil(block.rows / 32)))
      bitmaps.push(bitmap)
      blocks.push(scanBlock(block, selectivity === 1 ? 0 : bitmap.offset))
    }
    const expected = all.filter((hit) => allowed[hit.row] === 1 && hit.distance <= distanceMax).slice(0, k)
    const request = { query, k, contract: { kind: 'exact' }, distanceMax, blocks } as const
    const found = await search(executor, stored, request)
    const setup = JSON.stringify({
      seed,
      i,
      metric,
      dimension,
      rows,
      name,
      quantized,
      blockRows,
      clusters,
      directions,
      cells,
      k,
      selectivity,
    })
    if (differ(found, expected)) return { setup, found, expected }
    const contract = { kind: 'certified', missProbability: 1e-12 } as const
    const certified = await search(executor, stored, { ...request, contract })
    if (differ(certified, expected)) return { setup, found: certified, expected }
    const onDisk = blocks.map((block) => (random() < 0.7 ? { ...block, vectors: 0 } : block))
    const survived = await search(executor, stored, { ...request, blocks: onDisk })
    if (differ(survived, expected)) return { setup, found: survived, expected }
    for (const bitmap of bitmaps) bitmap.free()
  }
  stored.free()
  return null
}

/**
 * Draws a collection and asks for some rows what lies within just their distance of a point beside them, which puts the bounds
 * of each to the test; null when all are found.
 */
export async function findLostRow(executor: KernelExecutor, seed: number, aim: Aim = {}): Promise<string | null> {
  const random = seededRandom(seed)
  const drawn = { metric: pick(random, metrics), dimension: logUniform(random, 1, 512), ...aim }
  const { metric, dimension } = drawn
  const rows = aim.rows ?? logUniform(random, 1024, Math.min(10_000, 2_000_000 / dimension))
  const name = aim.name ?? pick(random, Object.keys(fills))
  const clusters = aim.clusters ?? pick(random, [4, 32])
  const directions = aim.directions ?? (dimension > 16 ? 16 : 0)
  const cells = aim.cells ?? (dimension > 16 ? pick(random, [0, 16]) : 0)
  const vectors = new Float32Array(rows * dimension)
  fills[name]!(vectors, dimension, random)
  const pool = new ArenaPool({ bytesMax: 200_000_000, scratchSlots: 1 })
  const shape = { vectors, dimension, metric, quantized: true, blockRows: rows, seed, clusters, directions, cells }
  const stored = await storeCollection(executor, pool, shape)
  const beside = pick(random, [0, 1e-6, 1e-4, 0.1])
  let lost: string | null = null
  for (let i = 0; i < 200 && lost === null; i++) {
    const row = Math.floor(random() * rows)
    const vector = vectors.subarray(row * dimension, (row + 1) * dimension)
    const query = vector.map((value) => value * (1 + beside * gaussian(random)))
    const distanceMax = distance(metric, query, vector)
    // More than there are: nothing but the limit may leave a row out. Of products, every second row may be within it.
    const k = Math.floor(rows / 5)
    const found = await search(executor, stored, { query, k, contract: { kind: 'exact' }, distanceMax })
    if (found.length < k && !found.some((hit) => hit.row === row))
      lost = JSON.stringify({ seed, metric, dimension, rows, name, clusters, directions, cells, beside, row })
  }
  stored.free()
  return lost
}

/**
 * Asks by product, for some rows, what lies within just their distance of a query along what their prefix code leaves out, which
 * is where its error is as large as its bound says; null when all are found.
 */
export async function findRowLostToItsPrefix(executor: KernelExecutor, seed: number): Promise<string | null> {
  const random = seededRandom(seed)
  const [dimension, directions, rows] = [40, 16, 3000]
  const vectors = Float32Array.from({ length: rows * dimension }, () => gaussian(random))
  const pool = new ArenaPool({ bytesMax: 100_000_000, scratchSlots: 1 })
  const metric = 'dot' as const
  const shape = { vectors, dimension, metric, quantized: true, blockRows: rows, seed, clusters: 4, directions }
  const stored = await storeCollection(executor, pool, shape)
  const { center, basis } = stored.codebook
  const axis = (i: number): Float32Array => basis!.vectors.subarray(i * basis!.padded, i * basis!.padded + dimension)
  let lost: string | null = null
  for (let row = 0; row < 500 && lost === null; row++) {
    const vector = vectors.subarray(row * dimension, (row + 1) * dimension)
    const rest = vector.map((value, j) => value - center[j]!)
    const along = Array.from({ length: directions }, (_, i) => innerProduct(axis(i), rest))
    const scale = Math.max(...along.map(Math.abs)) / 127
    const query = new Float32Array(dimension)
    for (const [i, value] of along.entries())
      for (let j = 0; j < dimension; j++) {
        query[j]! += (value - scale * Math.round(value / scale)) * axis(i)[j]!
        rest[j]! -= value * axis(i)[j]!
      }
    // As far as the error of the rests is concerned, the query must have some, along the row's.
    const share = 0.2 * Math.sqrt(innerProduct(query, query) / innerProduct(rest, rest))
    for (let j = 0; j < dimension; j++) query[j]! += share * rest[j]!
    const k = Math.floor(rows / 5)
    const distanceMax = distance('dot', query, vector)
    const found = await search(executor, stored, { query, k, contract: { kind: 'exact' }, distanceMax })
    if (found.length < k && !found.some((hit) => hit.row === row)) lost = JSON.stringify({ seed, row })
  }
  stored.free()
  return lost
}

/** toEqual on each of thousands of hits is slow. */
const differ = (a: readonly Neighbour[], b: readonly Neighbour[]): boolean => JSON.stringify(a) !== JSON.stringify(b)
