import { expect, test } from 'vitest'
import { type Calibration, chooseSearch, isLike, lowerOf, recallPoint } from '../../src/cache/hnsw/calibration.js'
import { GraphRows, gapRun } from '../../src/cache/hnsw/graph-rows.js'
import { depthFor } from '../../src/cache/hnsw/graph-search.js'
import { partKey } from '../../src/core/generation.js'

const calibration = (
  points: readonly (readonly [candidates: number, depth: number, atLeast: number])[],
): Calibration => ({
  queries: 100,
  rows: 5000,
  points: points.map(([candidates, depth, recallAtLeast]) => ({ candidates, depth, recall: 1, recallAtLeast })),
  farthest: [
    { depth: 1, distance: 2 },
    { depth: 10, distance: 5 },
  ],
})

test('a measured recall is a mean, and at least that less what chance may have given', () => {
  // Nine queries found all of 10, one found 5: mean .95, standard deviation .158, standard error .05.
  const point = recallPoint(64, 10, [...new Array(9).fill(10), 5])
  expect(point.recall).toBeCloseTo(0.95, 12)
  expect(point.recallAtLeast).toBeCloseTo(0.95 - 1.645 * 0.05, 3)
})

test('where nothing was missed, a miss in as many trials as there were is not ruled out', () => {
  expect(recallPoint(64, 10, new Array(100).fill(10))).toMatchObject({ recall: 1, recallAtLeast: 1 - 3 / 1000 })
  expect(recallPoint(64, 1, [1, 1])).toMatchObject({ recall: 1, recallAtLeast: 0 })
})

test('the fewest candidates that reach the recall, at the next depth that was measured', () => {
  const measured = calibration([
    [16, 1, 0.95],
    [16, 10, 0.8],
    [32, 10, 0.93],
    [32, 20, 0.9],
    [64, 10, 0.99],
    [64, 20, 0.96],
  ])
  expect(chooseSearch(measured, 1, 0.95)).toMatchObject({ candidates: 16, depth: 1 })
  expect(chooseSearch(measured, 10, 0.9)).toMatchObject({ candidates: 32, depth: 10 })
  expect(chooseSearch(measured, 11, 0.95)).toMatchObject({ candidates: 64, depth: 20 })
  expect(chooseSearch(measured, 10, 0.995)).toBeNull()
  expect(chooseSearch(measured, 50, 0.5)).toBeNull()
  expect(chooseSearch(measured, 101, 0.5)).toBeNull()
})

test('of two measurements the lower counts, and what only one tried counts as it is', () => {
  const a = calibration([
    [16, 10, 0.9],
    [32, 10, 0.99],
  ])
  const b = { ...calibration([[16, 10, 0.95]]), rows: 9000 }
  expect(lowerOf(a, b)).toMatchObject({
    rows: 9000,
    points: [
      { candidates: 16, recallAtLeast: 0.9 },
      { candidates: 32, recallAtLeast: 0.99 },
    ],
  })
})

test('a query farther from its neighbours than all that were tried is not like them', () => {
  const measured = calibration([])
  expect(isLike(measured, 1, 2)).toBe(true)
  expect(isLike(measured, 1, 2.1)).toBe(false)
  expect(isLike(measured, 7, 5)).toBe(true)
  expect(isLike(measured, 11, 1)).toBe(false)
})

test('the fewer rows pass, the deeper; below a fifth not at all', () => {
  expect(depthFor(10, 1)).toBe(10)
  expect(depthFor(11, 1)).toBe(20)
  expect(depthFor(10, 0.9)).toBe(20) // (10 + 3 * 1) / .9 = 14.4
  expect(depthFor(10, 0.5)).toBe(50) // (10 + 3 * 2.2) / .5 = 33.4
  expect(depthFor(10, 0.19)).toBeNull()
  expect(depthFor(100, 0.5)).toBeNull()
})

test('numbers of rows that are gone, or still being added, have no place', () => {
  const run = { part: partKey('a'), readIdentity: 'r', ordinal: 0, rows: 3 }
  const rows = new GraphRows([gapRun(4), run])
  expect(rows.rows).toBe(7)
  const version = {
    readIdentity: 'r',
    segments: [
      {
        segment: {
          rows: 3,
          runs: [{ part: partKey('a'), start: 0, rows: 3 }],
          resident: { ordinals: Uint32Array.of(0, 1, 2) },
          runOf: () => 0,
        },
        masks: [{ identity: 'm', ordinals: Uint32Array.of(1) }],
      },
    ],
  } as unknown as Parameters<GraphRows['coverage']>[0]
  const coverage = rows.coverage(version)
  expect(coverage).toMatchObject({ rows: 3, held: 3, missing: [], uncovered: [] })
  const places = Array.from({ length: 9 }, (_, row) => coverage.place(row)?.position ?? null)
  expect(places).toEqual([null, null, null, null, 0, null, 2, null, null])
})
