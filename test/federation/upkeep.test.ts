/** What a source's `prime` and `refresh_ms` make the gateway do without being asked. */
import { expect, test } from 'vitest'
import type { Timer } from '../../src/core/clock.js'
import { GatewayError } from '../../src/core/errors.js'
import { backendId } from '../../src/core/generation.js'
import {
  idle,
  parseName,
  query,
  type ScriptedCollection,
  scriptedGateway,
  settled,
  sourceConfig,
  untilAborted,
} from './scripted-cache.js'

const options = { signal: idle }

/** Time passes when a test says so. */
function scriptedTimer() {
  const waiting: { readonly delayMs: number; readonly task: () => void }[] = []
  const timer: Timer = (delayMs, task) => {
    const entry = { delayMs, task }
    waiting.push(entry)
    return () => void (waiting.includes(entry) && waiting.splice(waiting.indexOf(entry), 1))
  }
  return {
    timer,
    delays: (): number[] => waiting.map(({ delayMs }) => delayMs),
    async fire(): Promise<void> {
      for (const { task } of waiting.splice(0)) task()
      await settled()
    },
  }
}

const collection = (name: string, more: Partial<ScriptedCollection> = {}): ScriptedCollection => ({
  name,
  rows: [{ id: 1n, vector: [1, 0] }],
  ...more,
})

/** A gateway with no source but local, and a source `a` of these collections and options added to it. */
async function keptGateway(collections: readonly ScriptedCollection[], sourceOptions: Record<string, unknown>) {
  const time = scriptedTimer()
  const logged: unknown[] = []
  const log = {
    info() {},
    warn: (fields: object) => void logged.push(fields),
    error: (fields: object) => void logged.push(fields),
  }
  const { gateway, cache } = await scriptedGateway([], { timer: time.timer, log })
  for (const one of collections) cache.collections.set(one.name, one)
  const added = await gateway.addSource(sourceConfig('a', sourceOptions), options)
  return { gateway, cache, time, logged, added }
}

test('by default nothing happens without a query', async () => {
  const { time, cache, added } = await keptGateway([collection('a/x')], {})
  expect(added).toMatchObject({ prime: 'first_query', refreshMs: null })
  expect(time.delays()).toEqual([])
  expect(cache.pins).toBe(0)
})

test('an eager source is primed after it was added, one collection after the other, and keeps nothing pinned', async () => {
  const order: string[] = []
  const pinning = (name: string) => async () => {
    order.push(`begin ${name}`)
    await Promise.resolve()
    order.push(`end ${name}`)
  }
  const { time, cache, added } = await keptGateway(
    [collection('a/x', { pinning: pinning('x') }), collection('a/y', { pinning: pinning('y') })],
    { prime: 'eager' },
  )
  expect(added).toMatchObject({ prime: 'eager' })
  expect(order).toEqual([])
  await time.fire()
  expect(order).toEqual(['begin x', 'end x', 'begin y', 'end y'])
  expect([cache.pins, cache.releases]).toEqual([2, 2])
  expect(time.delays()).toEqual([])
})

test('a collection that cannot be primed is logged and does not keep the others from it', async () => {
  const failing = () => Promise.reject(new GatewayError('LG_BAD_ROW', 'row 7'))
  const { time, cache, logged, gateway } = await keptGateway(
    [collection('a/x', { pinning: failing }), collection('a/y')],
    {
      prime: 'eager',
    },
  )
  await time.fire()
  expect(cache.pins).toBe(1)
  expect(logged).toMatchObject([{ collection: 'a/x', err: { code: 'LG_BAD_ROW' } }])
  expect((await gateway.search(query({ collections: [parseName('a/y')] }), options)).results).toHaveLength(1)
})

test('refresh_ms checks what was asked for, again and again, and lists the source each time', async () => {
  const { time, cache, gateway } = await keptGateway([collection('a/x'), collection('a/y')], { refresh_ms: 5000 })
  expect(gateway.sources()[1]).toMatchObject({ backend: 'a', refreshMs: 5000 })
  expect(time.delays()).toEqual([5000])
  await time.fire()
  expect(cache.refreshed).toEqual([]) // nobody asked for a row of it
  await gateway.search(query({ collections: [parseName('a/y')] }), options)
  await time.fire()
  await time.fire()
  expect(cache.refreshed).toEqual(['a/y', 'a/y'])
  expect(cache.adapters.get('a')!.listed).toBe(4)
  expect(time.delays()).toEqual([5000])
})

test('a check counts from the end of the last one, and an eager source checks everything', async () => {
  let finish = (): void => undefined
  const refreshing = () => new Promise<void>((resolve) => (finish = resolve))
  const { time, cache } = await keptGateway([collection('a/x', { refreshing })], { prime: 'eager', refresh_ms: 100 })
  await time.fire() // primes
  await time.fire() // checks
  expect(cache.refreshed).toEqual(['a/x'])
  expect(time.delays()).toEqual([])
  finish()
  await settled()
  expect(time.delays()).toEqual([100])
})

test('a failed check is logged, named by the source, and tried again', async () => {
  const { time, cache, logged, gateway } = await keptGateway([collection('a/x', { state: 'ready' })], {
    refresh_ms: 100,
  })
  cache.listings.set('a', () => Promise.reject(new GatewayError('LG_SOURCE_UNAVAILABLE', 'away')))
  await time.fire()
  expect(logged).toMatchObject([{ backend: 'a', err: { code: 'LG_SOURCE_UNAVAILABLE' } }])
  expect(gateway.sources()[1]).toMatchObject({ error: { code: 'LG_SOURCE_UNAVAILABLE' } })
  cache.listings.delete('a')
  await time.fire()
  expect(cache.refreshed).toEqual(['a/x'])
  expect(gateway.sources()[1]).toMatchObject({ error: null })
})

test.each(['removed', 'closed'])('upkeep ends when its source is %s, also in the middle of a pull', async (how) => {
  const { time, gateway, logged } = await keptGateway([collection('a/x', { pinning: untilAborted })], {
    prime: 'eager',
    refresh_ms: 100,
  })
  await time.fire()
  await (how === 'removed' ? gateway.removeSource(backendId('a'), options) : gateway.close())
  expect(time.delays()).toEqual([])
  expect(logged).toEqual([])
})

test('a source removed between two checks is not checked again', async () => {
  const { time, gateway } = await keptGateway([collection('a/x')], { refresh_ms: 100 })
  await gateway.removeSource(backendId('a'), options)
  expect(time.delays()).toEqual([])
})

test.each([
  [{ refresh_ms: 99 }, 'LG_INVALID_REQUEST', 'refresh_ms'],
  [{ refresh_ms: '5s' }, 'LG_INVALID_REQUEST', 'refresh_ms'],
  [{ prime: 'lazy' }, 'LG_INVALID_REQUEST', 'prime'],
  [{ pii_policy: 7 }, 'LG_INVALID_REQUEST', 'pii_policy'],
  [{ pii_policy: 'drop' }, 'LG_UNSUPPORTED', 'pii_policy'], // no directory to publish it in
])('%j is refused with %s, naming the option', async (sourceOptions, code, field) => {
  await expect(keptGateway([], sourceOptions)).rejects.toMatchObject({ code, field })
})
