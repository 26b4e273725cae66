import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/clock.js'
import { MissEvidence } from '../../src/federation/miss-evidence.js'

const random = seededRandom(12)
const newVector = (): Float32Array => Float32Array.of(random(), random())

/** Answers judged until the alarm; null when there is none in `answers`. */
function alarmAfter(claimed: number, rate: number, answers: number): number | null {
  const evidence = new MissEvidence()
  for (let i = 1; i <= answers; i++) if (evidence.judge(newVector(), claimed, random() < rate)) return i
  return null
}

test.each([0.3, 0.01, 1e-5])('misses as often as claimed raise no alarm (%d)', (claimed) => {
  let alarms = 0
  for (let stream = 0; stream < 100; stream++) if (alarmAfter(claimed, claimed, 1000) !== null) alarms++
  expect(alarms).toBeLessThanOrEqual(1) // expected: 0.01
})

test.each([
  [0.3, 0.5, 500],
  [0.01, 0.03, 3000],
  [1e-5, 0.01, 1000],
  [1e-12, 0.001, 10_000],
])('misses more often than claimed do (claimed %d, real %d)', (claimed, rate, answers) => {
  for (let stream = 0; stream < 20; stream++) expect(alarmAfter(claimed, rate, answers)).not.toBeNull()
})

test('one miss is a reason only where none was to be expected', () => {
  const judgeOnce = (claimed: number) => new MissEvidence().judge(newVector(), claimed, true)
  expect([0.3, 1e-2, 1e-4].map(judgeOnce)).toEqual([false, false, false])
  expect(judgeOnce(1e-9)).toBe(true)
})

test('answers to one vector are judged once: they share what decides a miss', () => {
  const evidence = new MissEvidence()
  const vector = newVector()
  for (let i = 0; i < 1000; i++) expect(evidence.judge(vector, 0.1, true)).toBe(false)
})

test('after an alarm the account begins anew', () => {
  const evidence = new MissEvidence()
  const alarms = Array.from({ length: 100 }, () => evidence.judge(newVector(), 0.1, true))
  const first = alarms.indexOf(true)
  expect(first).toBeGreaterThan(3)
  expect(alarms.slice(first + 1).indexOf(true)).toBe(first)
})
