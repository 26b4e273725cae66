import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Hits, hitsThreshold, joinSurvivors, mergeHits, noHits } from '../../src/cache/scan-hits.js'

/** Few values, so that many are equal. */
const distances = fc.array(fc.nat(9), { maxLength: 8 }).map((values) => Float64Array.from(values).sort())

test('the threshold is the k-th distance of both lists together, and never above the limit', () => {
  fc.assert(
    fc.property(distances, distances, fc.integer({ min: 1, max: 10 }), fc.nat(12), (found, others, k, distanceMax) => {
      const all = Float64Array.from([...found, ...others]).sort()
      const expected = Math.min(distanceMax, all[k - 1] ?? distanceMax)
      expect(hitsThreshold({ ...noHits, distances: found }, others, { k, distanceMax })).toBe(expected)
    }),
    { numRuns: 2000 },
  )
})

test('merging keeps the k nearest and every further row as near as the k-th', () => {
  const hitsOf = (distances: Float64Array, block: number): Hits => ({
    ...noHits,
    distances,
    blocks: Uint32Array.from(distances, () => block),
    rows: Uint32Array.from(distances, (_, row) => row),
  })
  const listed = ({ distances, blocks, rows }: Hits) =>
    Array.from(distances, (distance, i) => ({ distance, block: blocks[i]!, row: rows[i]! }))
  fc.assert(
    fc.property(distances, distances, fc.integer({ min: 1, max: 6 }), (one, other, k) => {
      const [a, b] = [hitsOf(one, 0), hitsOf(other, 1)]
      const all = [...listed(a), ...listed(b)].sort((a, b) => a.distance - b.distance)
      const last = all[k - 1]?.distance ?? Number.POSITIVE_INFINITY
      expect(listed(mergeHits(a, b, k))).toEqual(all.filter(({ distance }) => distance <= last))
    }),
    { numRuns: 2000 },
  )
})

test('survivors of all scans are joined, less those that a later threshold rules out', () => {
  const survivors = (block: number, lowers: number[]) => ({
    lowers: Float64Array.from(lowers),
    blocks: Uint32Array.from(lowers, () => block),
    rows: Uint32Array.from(lowers, (_, i) => i),
    positions: Uint32Array.from(lowers, (_, i) => 10 + i),
  })
  expect(joinSurvivors([survivors(0, [5, 1, 4]), survivors(1, []), survivors(2, [4, 4.5])], 4)).toEqual({
    lowers: Float64Array.of(1, 4, 4),
    blocks: Uint32Array.of(0, 0, 2),
    rows: Uint32Array.of(1, 2, 0),
    positions: Uint32Array.of(11, 12, 10),
  })
})
