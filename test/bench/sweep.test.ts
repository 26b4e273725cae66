import { expect, test } from 'vitest'
import type { Dataset } from '../../bench/dataset.js'
import { nothingToClose, type Peer } from '../../bench/engines/peer.js'
import { sweep, tuningSet } from '../../bench/engines/sweep.js'

const count = 1000
const line = Float32Array.from({ length: count }, (_, i) => i)
const dataset: Dataset = {
  name: 'line',
  metric: 'l2',
  dimension: 1,
  count,
  base: line,
  queries: line.subarray(0, 1),
  queryCount: 1,
  tuning: Float32Array.from({ length: 50 }, (_, i) => 20 * i),
}

/** Finds the nearest of those queries whose number is below effort / 10, so that recall grows with effort; counts its uses. */
function peerOf(max: number): Peer & { readonly efforts: number[] } {
  const efforts: number[] = []
  return {
    efforts,
    engine: 'test',
    kind: 'test',
    version: '0',
    settings: '',
    buildMs: 0,
    bytesPerVector: null,
    effort: { name: 'effort', min: 1, max },
    at(effort) {
      efforts.push(effort)
      return { search: ([x]) => (x! / 20 < effort / 10 ? [x!] : [(x! + 500) % count]), close: nothingToClose }
    },
    close: nothingToClose,
  }
}

test('the effort found is the least that reaches the recall on the tuning queries, within 5 %', async () => {
  const tuning = tuningSet(dataset, 1)
  for (const recall of [0.02, 0.5, 0.9, 1]) {
    const least = Math.floor((recall * 50 - 1) * 10) + 1
    const swept = await sweep(peerOf(4096), tuning, recall)
    expect(swept.recall).toBeGreaterThanOrEqual(recall)
    expect(swept.effort).toBeGreaterThanOrEqual(least)
    expect(swept.effort).toBeLessThanOrEqual(Math.max(least * 1.06, least + 1))
  }
})

test('a peer that never reaches the recall is measured at its largest effort, and says what it reached', async () => {
  const swept = await sweep(peerOf(200), tuningSet(dataset, 1), 0.9)
  expect(swept).toMatchObject({ effort: 200, recall: 0.4 })
})
