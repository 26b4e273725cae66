import { afterAll, expect, test } from 'vitest'
import { openPool } from '../../src/federation/pool.js'
import { timesAsOften } from './hostile-vectors.js'
import { findLostRow, findWrongScan } from './scan-property.js'

/** Collections drawn; each is asked several queries. Raise it for a long run. */
const runs = Math.ceil(300 * timesAsOften)
const firstSeed = Number(process.env.LAKEGATE_PROPERTY_SEED ?? 1)

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

test(
  'law 6: exact scans, with originals in memory or on disk, and certified ones at 1e-12, equal brute force in float64, to the bit',
  async () => {
    for (let run = 0; run < runs; run++) {
      const wrong = await findWrongScan(executor, firstSeed + run)
      if (wrong !== null) expect(wrong.found, wrong.setup).toEqual(wrong.expected)
    }
  },
  600_000 * Math.max(1, timesAsOften),
)

test(
  'law 6: a row beside the query is found within just its distance',
  async () => {
    for (let run = 0; run < Math.ceil(100 * timesAsOften); run++)
      expect(await findLostRow(executor, firstSeed + run)).toBeNull()
  },
  600_000 * Math.max(1, timesAsOften),
)
