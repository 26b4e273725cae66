import { afterAll, expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { codebookCenterAt, codebookRoundsAt } from '../../src/cache/kernel/layout.js'
import { type Random, seededRandom } from '../../src/core/clock.js'
import type { RecallContract } from '../../src/core/contract.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import { openPool } from '../../src/federation/pool.js'
import { allRows, bruteForce, never, type StoredCollection, search, storeCollection } from './collection-fixture.js'

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

const gaussian = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
const distanceMax = Number.POSITIVE_INFINITY
const exact: RecallContract = { kind: 'exact' }

/** Of `queries` queries over each of `draws` rotations: how many lost a neighbour, and how many neighbours were lost. */
async function countMisses(options: {
  readonly metric: Metric
  readonly dimension: number
  readonly k: number
  readonly contract: RecallContract
  readonly draws: number
  readonly queries: number
  readonly clusters?: number
}): Promise<{ readonly queriesHurt: number; readonly rowsLost: number }> {
  const { metric, dimension, k, contract, draws, queries, clusters = 0 } = options
  const random = seededRandom(21)
  let queriesHurt = 0
  let rowsLost = 0
  for (let draw = 0; draw < draws; draw++) {
    const vectors = Float32Array.from({ length: 3000 * dimension }, () => gaussian(random))
    const pool = new ArenaPool({ bytesMax: 30_000_000, scratchSlots: 1 })
    const parts = { vectors, dimension, metric, quantized: true, blockRows: 3000, seed: 1000 + draw, clusters }
    const stored = await storeCollection(executor, pool, parts)
    for (let i = 0; i < queries; i++) {
      const query = Float32Array.from({ length: dimension }, () => gaussian(random))
      const wanted = await search(executor, stored, { query, k, distanceMax, contract: exact })
      const found = await search(executor, stored, { query, k, distanceMax, contract })
      const rows = new Set(found.map((hit) => hit.row))
      const lost = wanted.filter((hit) => !rows.has(hit.row)).length
      rowsLost += lost
      if (lost > 0) queriesHurt++
    }
  }
  return { queriesHurt, rowsLost }
}

test.each(
  metrics.flatMap((metric) => [
    { metric, clusters: 0 },
    { metric, clusters: 12 },
  ]),
)('law 6: certified answers miss no more often than they say, and do miss ($metric, $clusters)', async (parts) => {
  for (const [k, missProbability] of [
    [1, 0.4],
    [10, 0.9],
    [10, 0.5],
  ] as const) {
    const contract = { kind: 'certified', missProbability } as const
    const { queriesHurt } = await countMisses({ ...parts, dimension: 64, k, contract, draws: 15, queries: 20 })
    expect(queriesHurt / 300).toBeLessThanOrEqual(missProbability)
    // If nothing were ever missed, the bound would be claiming nothing.
    expect(queriesHurt).toBeGreaterThan(0)
  }
})

test.each(metrics)('law 6: target answers reach their expected recall, and are not exact (%s)', async (metric) => {
  const contract = { kind: 'target', recall: 0.6 } as const
  const { rowsLost } = await countMisses({ metric, dimension: 64, k: 10, contract, draws: 10, queries: 10 })
  expect(rowsLost / 1000).toBeLessThanOrEqual(0.4)
  expect(rowsLost).toBeGreaterThan(0)
})

test('law 6: rows of 32 dimensions and fewer, whose rotation is not random enough, are answered by proof', async () => {
  const contract = { kind: 'certified', missProbability: 0.9 } as const
  for (const metric of metrics)
    for (const dimension of [8, 32])
      expect((await countMisses({ metric, dimension, k: 10, contract, draws: 5, queries: 20 })).rowsLost).toBe(0)
})

test('a certified answer at a millionth equals the exact one', async () => {
  for (const metric of metrics)
    for (const dimension of [5, 8, 100, 384]) {
      const contract = { kind: 'certified', missProbability: 1e-6 } as const
      for (const clusters of [0, 12]) {
        const parts = { metric, dimension, k: 10, contract, draws: 2, queries: 10, clusters }
        expect((await countMisses(parts)).queriesHurt).toBe(0)
      }
    }
})

/** The vector whose rotation has 1 in every coordinate; `padded`: a power of two. */
function evenOnceRotated({ job }: StoredCollection, padded: number): Float64Array {
  const { buffer } = job.arena.memory
  const rounds = new Uint32Array(buffer, job.codebook + codebookRoundsAt, 1)[0]!
  const signs = new Uint32Array(buffer, job.codebook + codebookCenterAt + 4 * padded, rounds * padded)
  const vector = new Float64Array(padded).fill(1)
  for (let round = rounds - 1; round >= 0; round--) {
    for (let half = 1; half < padded; half *= 2)
      for (let i = 0; i < padded; i++)
        if ((i & half) === 0) {
          const [a, b] = [vector[i]!, vector[i + half]!]
          vector[i] = (a + b) * Math.SQRT1_2
          vector[i + half] = (a - b) * Math.SQRT1_2
        }
    for (let i = 0; i < padded; i++) if (signs[round * padded + i] !== 0) vector[i] = -vector[i]!
  }
  return vector
}

test('table sums of 1-bit codes fit their 16 bits, however even the query once rotated', async () => {
  const dimension = 4096
  const rows = 400
  const random = seededRandom(8)
  const vectors = Float32Array.from({ length: rows * dimension }, () => gaussian(random))
  const store = async () => {
    const pool = new ArenaPool({ bytesMax: 60_000_000, scratchSlots: 1 })
    return storeCollection(executor, pool, { vectors, dimension, metric: 'l2', quantized: true, blockRows: rows })
  }
  // The rotation is of the seed: the same with other vectors.
  const even = evenOnceRotated(await store(), dimension)
  for (let row = 0; row < 10; row++)
    for (let i = 0; i < dimension; i++)
      vectors[row * 31 * dimension + i] = even[i]! + (0.1 + 0.01 * row) * gaussian(random)
  const stored = await store()
  const query = Float32Array.from(even, (value, i) => value + stored.codebook.center[i]!)
  const contract = { kind: 'certified', missProbability: 1e-6 } as const
  const found = await search(executor, stored, { query, k: 10, distanceMax, contract })
  expect(found).toEqual(bruteForce({ vectors, dimension, metric: 'l2', query, k: 10 }))
})

/** 40 rows at distance 1 from the query, spread over two blocks. */
async function storeTies(quantized: boolean) {
  const dimension = 40
  const rows = 3000
  const vectors = new Float32Array(rows * dimension).fill(9)
  for (let i = 0; i < 40; i++) {
    vectors.fill(0, i * 70 * dimension, (i * 70 + 1) * dimension)
    vectors[i * 70 * dimension + i] = 1
  }
  const pool = new ArenaPool({ bytesMax: 30_000_000, scratchSlots: 1 })
  const stored = await storeCollection(executor, pool, { vectors, dimension, metric: 'l2', quantized, blockRows: 1500 })
  return { dimension, vectors, stored }
}

test.each([true, false])(
  'law 3: ties lost at the k-th distance are told, then decided by rank (codes: %s)',
  async (quantized) => {
    const { dimension, stored } = await storeTies(quantized)
    const query = new Float32Array(dimension)
    const scan = (k: number) =>
      executor.scan({ ...stored.job, blocks: allRows(stored), query, k, contract: exact, distanceMax }, never)
    expect((await scan(5)).tiesLost).toBe(true)
    expect((await scan(40)).tiesLost).toBe(false)
    // 22 of them are in the first block.
    expect((await scan(25)).tiesLost).toBe(false)
    for (const { block } of stored.blocks)
      block.setTieRanks(Uint32Array.from({ length: block.rows }, (_, row) => block.rows - 1 - row))
    const ranked = await scan(5)
    expect(ranked.tiesLost).toBe(false)
    // Of each block, the five of lowest rank: the cache merges them by id.
    const found = Array.from(ranked.rows, (row, i) => ranked.blocks[i]! * 1500 + row).sort((a, b) => a - b)
    expect(found).toEqual([17, 18, 19, 20, 21, 35, 36, 37, 38, 39].map((i) => i * 70))
  },
)

test('every dimension from 1 to 70 has the distances of core/metric.ts, to the bit', async () => {
  const random = seededRandom(4)
  for (let dimension = 1; dimension <= 70; dimension++)
    for (const metric of metrics) {
      const scale = 10 ** (random() * 60 - 30)
      const vectors = Float32Array.from({ length: 50 * dimension }, () => gaussian(random) * scale)
      const query = Float32Array.from({ length: dimension }, () => gaussian(random) * scale)
      const pool = new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 })
      const parts = { vectors, dimension, metric, quantized: false, blockRows: 50 }
      const stored = await storeCollection(executor, pool, parts)
      const found = await search(executor, stored, { query, k: 50, contract: exact, distanceMax })
      expect(found).toEqual(bruteForce({ vectors, dimension, metric, query, k: 50 }))
    }
})
