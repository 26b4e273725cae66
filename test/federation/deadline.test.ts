import { expect, test } from 'vitest'
import { openDeadline } from '../../src/federation/deadline.js'
import { idle } from './scripted-cache.js'

const forever = new Promise<never>(() => undefined)

test('law 4: time runs from the opening, not from when somebody first waits', async () => {
  const deadline = openDeadline(idle, 300)
  const until = performance.now() + 310
  while (performance.now() < until); // busy, so that no timer could have fired
  const asked = performance.now()
  await expect(deadline.race(forever)).rejects.toMatchObject({ code: 'LG_DEADLINE_EXCEEDED' })
  expect(performance.now() - asked).toBeLessThan(300)
  expect(deadline.state).toBe('expired')
  deadline.close(false)
})

test('law 4: a caller who has gone is noticed whether or not somebody waits', async () => {
  const caller = new AbortController()
  const unwatched = openDeadline(caller.signal, 1000)
  const watched = openDeadline(caller.signal, 1000)
  const waiting = watched.race(forever)
  expect(unwatched.state).toBe('running')
  caller.abort()
  await expect(waiting).rejects.toMatchObject({ code: 'LG_CANCELLED' })
  expect(unwatched.state).toBe('cancelled')
  expect(unwatched.signal.reason).toMatchObject({ code: 'LG_CANCELLED' })
  unwatched.close(false)
  watched.close(false)
})

test('work that outlives its request is told that nobody waits', () => {
  const deadline = openDeadline(idle, 1000)
  const { signal } = deadline
  deadline.close(true)
  expect(signal.reason).toMatchObject({ code: 'LG_CANCELLED' })
})
