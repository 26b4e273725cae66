import { expect, test } from 'vitest'
import { regressions } from '../../bench/regression.js'
import { reportWith, rowWith } from './reports.js'

const peer = (qps: number) => rowWith({ engine: 'usearch', mode: 'recall >= 0.99', qps })

test('a slower machine is no regression: only ratios within a run are compared', () => {
  const before = reportWith([rowWith({ qps: 4000 }), peer(1000)])
  expect(regressions(before, reportWith([rowWith({ qps: 1000 }), peer(250)]))).toEqual([])
  expect(regressions(before, reportWith([rowWith({ qps: 3600 }), peer(1000)]))).toEqual([])
})

test('a row that falls behind its peers beyond the noise is named with both shares', () => {
  const before = reportWith([rowWith({ qps: 4000 }), peer(1000)])
  const found = regressions(before, reportWith([rowWith({ qps: 2800 }), peer(1000)]))
  expect(found).toEqual([
    { row: 'lakegate exact', what: '70 % of its earlier speed beside usearch recall >= 0.99 (noise 20 %)' },
  ])
})

test('rows that varied much within a run may differ as much between runs', () => {
  const before = reportWith([rowWith({ qps: 4000, qps_spread: [2400, 4800] }), peer(1000)])
  expect(regressions(before, reportWith([rowWith({ qps: 3160 }), peer(1000)]))).toEqual([])
  expect(regressions(before, reportWith([rowWith({ qps: 2900 }), peer(1000)]))).toEqual([])
  expect(regressions(before, reportWith([rowWith({ qps: 2700 }), peer(1000)]))).toHaveLength(1)
  const wild = reportWith([rowWith({ qps: 4000, qps_spread: [100, 9000] }), peer(1000)])
  expect(regressions(wild, reportWith([rowWith({ qps: 1900 }), peer(1000)]))).toHaveLength(1)
})

test('without other engines the first row is the measure of the others', () => {
  const rows = (filtered: number) => [
    rowWith({ mode: 'no filter', qps: 1000 }),
    rowWith({ mode: '1 %', qps: filtered }),
  ]
  const found = regressions(reportWith(rows(500)), reportWith(rows(300)))
  expect(found.map(({ row }) => row)).toEqual(['lakegate 1 %'])
})

test('lost recall and wrong proofs are regressions at any speed', () => {
  const proven = (violations: number) => ({ kind: 'proven', claimed: 0, violations, queries: 5 })
  const before = reportWith([
    rowWith({ mode: '0.95', recall_at_k: 0.97 }),
    rowWith({ certificate: proven(0) }),
    peer(9),
  ])
  const now = reportWith([rowWith({ mode: '0.95', recall_at_k: 0.96 }), rowWith({ certificate: proven(1) }), peer(9)])
  expect(regressions(before, now)).toEqual([
    { row: 'lakegate 0.95', what: 'recall 0.96, earlier 0.97' },
    { row: 'lakegate exact', what: '1 of 5 proven answers are wrong' },
  ])
})
