import { afterAll, expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { tunedScan, tuneScans } from '../../src/cache/tuning.js'
import { seededRandom } from '../../src/core/clock.js'
import { openPool } from '../../src/federation/pool.js'
import { never, search, storeCollection } from './collection-fixture.js'
import { gaussian } from './training-fixture.js'

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

const dimension = 24
const k = 10
const distanceMax = Number.POSITIVE_INFINITY

test.each(['l2', 'cosine'] as const)(
  'law 6: tuned target answers reach their recall, and are not exact (%s)',
  async (metric) => {
    const random = seededRandom(8)
    // No natural clusters: neighbours are spread over many of them.
    const all = Float32Array.from({ length: 6200 * dimension }, () => gaussian(random))
    const vectors = all.slice(0, 6000 * dimension)
    const pool = new ArenaPool({ bytesMax: 30_000_000, scratchSlots: 1 })
    const parts = { vectors, dimension, metric, quantized: true, blockRows: 6000, clusters: 24 }
    const stored = await storeCollection(executor, pool, parts)
    const codebook = { codebook: stored.codebook, offset: stored.job.codebook }
    const tuning = await tuneScans(executor, stored.blocks[0]!.block, codebook, never)
    for (const proven of [true, false])
      for (const recall of [0.5, 0.8]) {
        const contract = { kind: 'target', recall } as const
        let found = 0
        let read = 0
        for (let i = 6000; i < 6200; i++) {
          const query = all.slice(i * dimension, (i + 1) * dimension)
          const tuned = tunedScan({ ...tuning, proven }, contract)
          const wanted = await search(executor, stored, { query, k, distanceMax, contract: { kind: 'exact' } })
          const rows = new Set(
            (await search(executor, stored, { query, k, distanceMax, contract, ...tuned })).map((hit) => hit.row),
          )
          found += wanted.filter((hit) => rows.has(hit.row)).length
          read += tuned.probing
        }
        expect(found / (200 * k)).toBeGreaterThanOrEqual(recall)
        expect(found).toBeLessThan(200 * k)
        expect(read / 200).toBeLessThan(1)
      }
  },
)

test('only a target is answered with less than all clusters that matter', () => {
  const tuning = { shares: Float64Array.from({ length: 100 }, (_, i) => i / 100), proven: true }
  expect(tunedScan(tuning, { kind: 'target', recall: 0.5 }).probing).toBeCloseTo(0.51)
  expect(tunedScan({ ...tuning, proven: false }, { kind: 'target', recall: 0.5 }).probing).toBeCloseTo(0.76)
  expect(tunedScan(tuning, { kind: 'target', recall: 0.999 }).probing).toBe(1)
  expect(tunedScan(tuning, { kind: 'certified', missProbability: 0.1 }).probing).toBe(1)
  expect(tunedScan({ shares: new Float64Array(0), proven: true }, { kind: 'target', recall: 0.5 }).probing).toBe(1)
})
