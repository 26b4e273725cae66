import { afterAll, expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { seededRandom } from '../../src/core/clock.js'
import type { RecallContract } from '../../src/core/contract.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import { openPool } from '../../src/federation/pool.js'
import { allRows, bruteForce, never, scanBlock, search, storeCollection } from './collection-fixture.js'

const inline = openPool({ workers: 0 })
const threads = openPool({ workers: 2 })
afterAll(() => Promise.all([inline.close(), threads.close()]))

const distanceMax = Number.POSITIVE_INFINITY
const exact: RecallContract = { kind: 'exact' }
const random = seededRandom(33)
const uniform = (count: number, scale = 1): Float32Array =>
  Float32Array.from({ length: count }, () => (random() * 2 - 1) * scale)

/** Asks `queries` and expects what brute force finds. */
async function expectExact(options: {
  readonly vectors: Float32Array
  readonly dimension: number
  readonly metric: Metric
  readonly clusters: number
  readonly directions: number
  readonly cells?: number
  readonly queries: readonly Float32Array[]
  readonly k: number
}): Promise<void> {
  const { vectors, dimension, metric, k } = options
  const pool = new ArenaPool({ bytesMax: 60_000_000, scratchSlots: 1 })
  const blockRows = vectors.length / dimension / 2
  const stored = await storeCollection(inline, pool, { ...options, quantized: true, blockRows })
  for (const query of options.queries)
    expect(await search(inline, stored, { query, k, contract: exact, distanceMax })).toEqual(
      bruteForce({ vectors, dimension, metric, query, k }),
    )
}

test.each(metrics)('law 6: neighbours at the edges of clusters and windows are found (%s)', async (metric) => {
  for (const dimension of [1, 2, 3, 5]) {
    // In so few dimensions the nearest row is often the one of its cluster that is farthest from the centroid.
    const vectors = uniform(6000 * dimension)
    const queries = Array.from({ length: 150 }, () => uniform(dimension, 1.3))
    await expectExact({ vectors, dimension, metric, clusters: 64, directions: 0, queries, k: 2 })
  }
})

test.each(['l2', 'cosine'] as const)('law 6: neighbours nearer than a code resolves are found (%s)', async (metric) => {
  const dimension = 48
  // Sixty places far apart, mostly along a few directions, with rows closer to each other than a step of their codes.
  const directions = Array.from({ length: 12 }, () => uniform(dimension))
  const places = Array.from({ length: 60 }, () => {
    const shares = uniform(directions.length, 10)
    const spread = uniform(dimension, 4)
    return spread.map((value, i) => directions.reduce((sum, direction, j) => sum + shares[j]! * direction[i]!, value))
  })
  const draw = (place: Float32Array): Float32Array => {
    const jitter = uniform(dimension, 1e-3)
    return place.map((value, i) => value + jitter[i]!)
  }
  const vectors = new Float32Array(4000 * dimension)
  for (let row = 0; row < 4000; row++) vectors.set(draw(places[row % 60]!), row * dimension)
  const queries = Array.from({ length: 100 }, (_, i) => draw(places[i % 60]!))
  for (const [directions, cells] of [
    [16, 0],
    [16, 32],
    [0, 16],
  ] as const)
    await expectExact({ vectors, dimension, metric, clusters: 8, directions, cells, queries, k: 5 })
})

test.each(['l2', 'cosine'] as const)('law 6: cells rule out no neighbour of a far query (%s)', async (metric) => {
  const dimension = 32
  // From afar, edges of cells are hardly nearer than the rows behind them.
  const axis = uniform(dimension)
  const vectors = new Float32Array(4000 * dimension)
  for (let row = 0; row < 4000; row++) {
    const along = random() * 4 - 2
    vectors.set(
      uniform(dimension, 0.3).map((value, i) => value + along * axis[i]! + 1),
      row * dimension,
    )
  }
  const queries = Array.from({ length: 120 }, () => uniform(dimension, random() < 0.5 ? 2 : 30))
  for (const [directions, cells] of [
    [0, 16],
    [16, 32],
  ] as const)
    await expectExact({ vectors, dimension, metric, clusters: 8, directions, cells, queries, k: 40 })
})

test('law 3: where blocks, ranges and threads divide clusters never shows', async () => {
  const dimension = 20
  const rows = 40_000
  const vectors = uniform(rows * dimension).map((value) => Math.round(value * 2))
  const query = uniform(dimension)
  const ranks = Uint32Array.from({ length: rows / 2 }, (_, row) => row)
  const found = []
  for (const executor of [inline, threads]) {
    const pool = new ArenaPool({ bytesMax: 60_000_000, scratchSlots: 3 })
    const options = { vectors, dimension, metric: 'l2', quantized: true, blockRows: rows / 2, clusters: 32 } as const
    const stored = await storeCollection(executor, pool, options)
    for (const { block } of stored.blocks) block.setTieRanks(ranks)
    found.push(await search(executor, stored, { query, k: 100, contract: exact, distanceMax }))
    const reply = await executor.scan(
      { ...stored.job, blocks: allRows(stored), query, k: 1, contract: exact, distanceMax },
      never,
    )
    // Windows leave rows out before anything of them is read.
    expect(reply.bytesScanned).toBeLessThan(rows * (32 + 16))
  }
  expect(found[0]).toEqual(bruteForce({ vectors, dimension, metric: 'l2', query, k: 100 }))
  expect(found[1]).toEqual(found[0])
})

test('a bitmap of rows becomes one of positions', async () => {
  const dimension = 8
  const rows = 2100
  const vectors = uniform(rows * dimension)
  const pool = new ArenaPool({ bytesMax: 20_000_000, scratchSlots: 1 })
  const options = { vectors, dimension, metric: 'l2', quantized: true, blockRows: rows } as const
  const allowed = Uint32Array.from({ length: Math.ceil(rows / 32) }, () => 0)
  for (const row of [3, 700, 2099]) allowed[row >>> 5]! |= 1 << (row & 31)
  for (const clusters of [0, 12]) {
    const stored = await storeCollection(inline, pool, { ...options, clusters })
    const { block } = stored.blocks[0]!
    const bitmap = pool.allocate(allowed.byteLength, stored.job.arena)!
    const words = bitmap.u32()
    words.set(allowed)
    block.arrangeBitmap(words)
    expect([...words].join() === [...allowed].join()).toBe(clusters === 0)
    const query = uniform(dimension)
    const blocks = [scanBlock(block, bitmap.offset)]
    const found = await search(inline, stored, { query, k: 5, contract: exact, distanceMax, blocks })
    expect(found.map((hit) => hit.row).sort((a, b) => a - b)).toEqual([3, 700, 2099])
  }
})
