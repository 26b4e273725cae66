import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sideBySide } from '../../src/core/side-by-side.js'

/** Tasks that end in an order of their own, and what ran at a time. */
function tasks(delays: readonly number[]) {
  const seen = { running: new Set<number>(), started: [] as number[], countMax: 0, weightMax: 0 }
  const run = (weights: readonly number[]) => async (index: number) => {
    seen.running.add(index)
    seen.started.push(index)
    seen.countMax = Math.max(seen.countMax, seen.running.size)
    if (seen.running.size > 1)
      seen.weightMax = Math.max(
        seen.weightMax,
        [...seen.running].reduce((sum, i) => sum + weights[i]!, 0),
      )
    for (let turn = 0; turn < delays[index]!; turn++) await Promise.resolve()
    seen.running.delete(index)
    return `result ${index}`
  }
  return { seen, run }
}

test('results keep the order of the items, and never more runs than there is room for', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(30), fc.nat(12)), { maxLength: 30 }),
      fc.integer({ min: 1, max: 5 }),
      async (items, count) => {
        const weights = items.map(([, weight]) => weight)
        const { seen, run } = tasks(items.map(([delay]) => delay))
        const indices = [...items.keys()]
        const results = await sideBySide(indices, { count, weight: 10 }, (i) => weights[i]!, run(weights))
        expect(results).toEqual(indices.map((i) => `result ${i}`))
        expect(seen.started).toEqual(indices)
        expect(seen.countMax).toBeLessThanOrEqual(count)
        expect(seen.weightMax).toBeLessThanOrEqual(10)
      },
    ),
  )
})

test('as many run as there is room for', async () => {
  const { seen, run } = tasks(new Array(20).fill(5))
  await sideBySide([...new Array(20).keys()], { count: 4, weight: 10 }, () => 2, run(new Array(20).fill(2)))
  expect(seen.countMax).toBe(4)
})

test('a failure starts nothing more, and is thrown when the others have ended', async () => {
  const { seen, run } = tasks([1, 1, 50, 1, 1, 1])
  const failing = async (i: number) => {
    const result = await run([])(i)
    if (i === 1) throw new Error('second')
    return result
  }
  await expect(sideBySide([0, 1, 2, 3, 4, 5], { count: 3, weight: 9 }, () => 1, failing)).rejects.toThrow('second')
  expect(seen.running.size).toBe(0)
  expect(seen.started).not.toContain(5)
})
