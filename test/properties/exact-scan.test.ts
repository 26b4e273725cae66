import { afterAll, expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import type { ScanBlock } from '../../src/cache/executor.js'
import { type Random, seededRandom } from '../../src/core/clock.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import { openPool } from '../../src/federation/pool.js'
import { bruteForce, scanBlock, search, storeCollection } from '../cache/collection-fixture.js'

/** Collections drawn; each is asked several queries. Raise it for a long run. */
const runs = Number(process.env.LAKEGATE_PROPERTY_RUNS ?? 300)
const queriesEach = 12
const firstSeed = Number(process.env.LAKEGATE_PROPERTY_SEED ?? 1)

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

const gaussian = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
const logUniform = (random: Random, low: number, high: number): number =>
  Math.floor(Math.exp(Math.log(low) + random() * (Math.log(high + 1) - Math.log(low))))
const pick = <T>(random: Random, values: readonly T[]): T => values[Math.floor(random() * values.length)]!

/** One way of filling float32[rows][dimension]. */
type Fill = (vectors: Float32Array, dimension: number, random: Random) => void

const fills: Readonly<Record<string, Fill>> = {
  gaussian: (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random)
  },
  clustered: (vectors, dimension, random) => {
    const centers = Float32Array.from({ length: 10 * dimension }, () => random() * 4 - 2)
    for (let i = 0; i < vectors.length; i += dimension) {
      const center = Math.floor(random() * 10) * dimension
      for (let j = 0; j < dimension; j++) vectors[i + j] = centers[center + j]! + 0.3 * gaussian(random)
    }
  },
  'few values, so many ties': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = Math.floor(random() * 3) - 1
  },
  'tiny spread on a huge offset': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = 1000 + 0.01 * gaussian(random)
  },
  'one coordinate': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i += dimension)
      vectors[i + Math.floor(random() * dimension)] = gaussian(random) * 5
  },
  'norms over many magnitudes': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i += dimension) {
      const scale = 10 ** (random() * 36 - 18)
      for (let j = 0; j < dimension; j++) vectors[i + j] = gaussian(random) * scale
    }
  },
  'huge numbers': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random) * 5e37
  },
  'denormal numbers': (vectors, _, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random) * 1e-42
  },
  constant: (vectors) => vectors.fill(0.7),
  'a far outlier': (vectors, dimension, random) => {
    for (let i = 0; i < vectors.length; i++) vectors[i] = gaussian(random)
    for (let j = 0; j < dimension; j++) vectors[j] = 1e8 * gaussian(random)
  },
}

/** Copies some rows over others and sets some to zero (of either sign). */
function addTwinsAndZeros(vectors: Float32Array, dimension: number, random: Random): void {
  const rows = vectors.length / dimension
  if (rows === 0) return
  const copies = Math.floor(rows * pick(random, [0, 0.1, 0.5]))
  for (let i = 0; i < copies; i++) {
    const from = Math.floor(random() * Math.min(rows, 20)) * dimension
    vectors.copyWithin(Math.floor(random() * rows) * dimension, from, from + dimension)
  }
  const zeros = Math.floor(rows * pick(random, [0, 0, 0.02]))
  for (let i = 0; i < zeros; i++) {
    const at = Math.floor(random() * rows) * dimension
    vectors.fill(random() < 0.5 ? 0 : -0, at, at + dimension)
  }
}

function drawQuery(vectors: Float32Array, dimension: number, random: Random, fill: Fill): Float32Array {
  const rows = vectors.length / dimension
  const query = new Float32Array(dimension)
  const kind = rows === 0 ? 'fresh' : pick(random, ['fresh', 'row', 'near a row', 'near a row', 'scaled', 'zero'])
  const row = Math.floor(random() * rows) * dimension
  if (kind === 'fresh') fill(query, dimension, random)
  else if (kind !== 'zero') query.set(vectors.subarray(row, row + dimension))
  if (kind === 'near a row') for (let j = 0; j < dimension; j++) query[j]! *= 1 + 0.05 * gaussian(random)
  if (kind === 'scaled') for (let j = 0; j < dimension; j++) query[j]! *= 30
  return query.map((value) => (Number.isFinite(value) ? value : 0))
}

test('law 6: exact scans, with originals in memory or on disk, and certified ones at 1e-12, equal brute force in float64, to the bit', async () => {
  for (let run = 0; run < runs; run++) {
    const seed = firstSeed + run
    const random = seededRandom(seed)
    const metric: Metric = pick(random, metrics)
    const dimension = logUniform(random, 1, 2048)
    const rows = logUniform(random, 1, Math.min(50_000, 5_000_000 / dimension)) - (random() < 0.05 ? 1 : 0)
    const name = pick(random, Object.keys(fills))
    const fill = fills[name]!
    const vectors = new Float32Array(rows * dimension)
    fill(vectors, dimension, random)
    addTwinsAndZeros(vectors, dimension, random)
    const quantized = random() < 0.85
    const clusters = rows > 0 ? pick(random, [0, 4, 4 * logUniform(random, 1, 50)]) : 0
    const directions = dimension > 16 ? pick(random, [0, 16, 32 * Math.min(2, Math.ceil(dimension / 64))]) : 0
    const cells = dimension > 16 ? pick(random, [0, 16, 16 * Math.min(4, Math.ceil(dimension / 32))]) : 0
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
      const distanceMax = all.length > 0 && random() < 0.2 ? pick(random, all).distance : Number.POSITIVE_INFINITY
      const blocks: ScanBlock[] = []
      const bitmaps = []
      for (const { block, firstRow } of stored.blocks) {
        const bitmap = pool.allocate(Math.ceil(block.rows / 32) * 4 + 4, stored.job.arena)!
        const words = bitmap.u32().fill(0)
        for (let row = 0; row < block.rows; row++)
          if (allowed[firstRow + row] === 1) words[row >> 5]! |= 1 << (row & 31)
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
      // toEqual on each of thousands of hits is slow; it only words the failure.
      if (JSON.stringify(found) !== JSON.stringify(expected)) expect(found, setup).toEqual(expected)
      const contract = { kind: 'certified', missProbability: 1e-12 } as const
      const certified = await search(executor, stored, { ...request, contract })
      if (JSON.stringify(certified) !== JSON.stringify(expected)) expect(certified, setup).toEqual(expected)
      const onDisk = blocks.map((block) => (random() < 0.7 ? { ...block, vectors: 0 } : block))
      const survived = await search(executor, stored, { ...request, blocks: onDisk })
      if (JSON.stringify(survived) !== JSON.stringify(expected)) expect(survived, setup).toEqual(expected)
      for (const bitmap of bitmaps) bitmap.free()
    }
    stored.free()
  }
}, 600_000)
