import { expect, test } from 'vitest'
import { timeWays } from '../../src/cache/time-ways.js'

test('what disturbs a run now and then does not change which way is the fastest', async () => {
  let runs = 0
  const cost = { slow: 11, fast: 10 }
  const times = await timeWays(
    ['slow', 'fast'] as const,
    [1, 2, 3],
    async (way, subject) => {
      // The fast way is disturbed in every round but the fourth, and was not compiled in the first.
      const round = Math.floor(runs++ / 6)
      return cost[way] * subject + (way === 'fast' && round !== 3 ? 50 : 0)
    },
    1000,
  )
  expect(times).toEqual([22, 20])
})

test('every way does all subjects before the next begins, as when it alone were used', async () => {
  const order: string[] = []
  await timeWays(
    ['a', 'b'],
    [1, 2],
    async (way, subject) => {
      order.push(`${way}${subject}`)
      return 1
    },
    1000,
  )
  expect(order.slice(0, 5)).toEqual(['a1', 'a2', 'b1', 'b2', 'a1'])
})
