import { expect, test } from 'vitest'
import { closeInOrder } from '../../src/cli/shutdown.js'

test('a shutdown has one grace period: what a step takes is not left for the next, and none is left out', async () => {
  let now = 1000
  const given: number[] = []
  const step = (tookMs: number) => async (graceMs: number) => {
    given.push(graceMs)
    now += tookMs
    if (tookMs === 7000) throw new Error('first failure')
  }
  const closed = closeInOrder([step(7000), step(2000), step(9000), step(1)], 10_000, {
    now: () => now,
    monotonicMs: () => now,
  })
  await expect(closed).rejects.toThrow('first failure')
  expect(given).toEqual([10_000, 3000, 1000, 0])
})
