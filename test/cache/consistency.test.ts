import { expect, onTestFinished, test, vi } from 'vitest'
import { seededRandom } from '../../src/core/clock.js'
import { GatewayError } from '../../src/core/errors.js'
import { limits } from '../../src/core/limits.js'
import { ask, bruteForce, fresh, frozen, idsAndDistances, never, openCache, ttl } from './open-cache.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(11)
const vector = Float32Array.of(0.1, -0.2, 0.3, 0.4)

function oneFile(): ScriptedSource {
  const source = new ScriptedSource(4)
  source.files.set('a', randomFile('1', 50, 4, random))
  return source
}

/** A promise and the function that resolves it. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

const unavailable = (): GatewayError => new GatewayError('LG_SOURCE_UNAVAILABLE', 'the source is down')

test('32 concurrent cold queries cause one pull', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  const answers = await Promise.all(Array.from({ length: 32 }, () => ask(cache, collection, vector)))
  for (const answer of answers) expect(idsAndDistances(answer)).toEqual(bruteForce(source, vector))
  expect(source.counts).toEqual({ generation: 1, manifest: 1, pull: 1 })
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({ misses: 32, hits: 0, primes: 1, partsPulled: 1 })
})

test('law 5: a caller that leaves does not stop the pull, and the others get its result', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  const pulling = gate()
  const release = gate()
  source.onBatch = async () => {
    pulling.open()
    await release.opened
  }
  const leaving = new AbortController()
  const left = cache.pin(collection, fresh, { signal: leaving.signal })
  await pulling.opened
  expect(cache.primingRetryMs(collection.ref)).toBeGreaterThan(0)
  expect(cache.collectionStatistics(collection.ref).state).toBe('priming')
  leaving.abort(new Error('gone'))
  await expect(left).rejects.toThrow('gone')
  const stays = ask(cache, collection, vector)
  release.open()
  expect(idsAndDistances(await stays)).toEqual(bruteForce(source, vector))
  expect(source.counts.pull).toBe(1)
  expect(cache.primingRetryMs(collection.ref)).toBe(null)
})

test('fresh: a check that began before a query arrived does not answer it', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  await ask(cache, collection, vector)
  const asked = gate()
  const release = gate()
  let answered = false
  // The source answers the first check with what it was when asked.
  const before = source.generation
  source.onGeneration = async () => {
    if (answered) return
    answered = true
    asked.open()
    await release.opened
  }
  const adapter = collection.adapter
  const slow = { ...collection, adapter: { ...adapter, generation: slowly } }
  async function slowly(...args: Parameters<typeof adapter.generation>): Promise<typeof before> {
    const seen = source.generation
    await adapter.generation(...args)
    return seen
  }
  const early = cache.pin(slow, fresh, { signal: never })
  await asked.opened
  source.files.set('b', randomFile('1', 10, 4, random, 1000n))
  const late = cache.pin(slow, fresh, { signal: never })
  release.open()
  const [first, second] = await Promise.all([early, late])
  expect(first.generation).toBe(before)
  expect(second.generation).toBe(source.generation)
  first.release()
  second.release()
})

test('ttl: asks the source again only when the last check is older', async () => {
  const { cache, clock } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  await ask(cache, collection, vector, ttl(1000))
  clock.ms += 1000
  await ask(cache, collection, vector, ttl(1000))
  expect(source.counts.generation).toBe(1)
  source.files.set('b', randomFile('1', 10, 4, random, 1000n))
  expect((await ask(cache, collection, vector, ttl(1000))).generation).not.toBe(source.generation)
  clock.ms += 1
  const answer = await ask(cache, collection, vector, ttl(1000))
  expect(answer.generation).toBe(source.generation)
  expect(source.counts.generation).toBe(2)
})

test('ttl: a clock that was set back makes no check younger', async () => {
  const { cache, clock } = await openCache()
  const source = oneFile()
  await ask(cache, source.collection(), vector, ttl(1000))
  clock.ms -= 3_600_000
  source.files.delete('a')
  expect((await ask(cache, source.collection(), vector, ttl(1000))).hits).toEqual([])
})

test('law 4: a check that hangs, deaf to its signal, fails when its time is up; the next one asks again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { cache } = await openCache()
  const source = oneFile()
  const asked = gate()
  source.onGeneration = () => {
    asked.open()
    return new Promise(() => {})
  }
  const hanging = ask(cache, source.collection(), vector)
  await asked.opened
  source.onGeneration = async () => {}
  const next = ask(cache, source.collection(), vector)
  vi.advanceTimersByTime(limits.sourceCheckMsMax)
  await expect(hanging).rejects.toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
  expect(idsAndDistances(await next)).toEqual(bruteForce(source, vector))
})

test('law 4: a pull that hangs, deaf to its signal, ends with its time, and with an invalidation', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { cache, pool } = await openCache()
  const source = oneFile()
  source.batchRows = 20
  await ask(cache, source.collection(), vector)
  await cache.invalidate(source.collection().ref)
  await pool.giveBackEmpty()
  const bytesFree = pool.bytesFree
  for (const end of ['time', 'invalidation']) {
    const pulling = gate()
    source.onBatch = (_, batch) => {
      if (batch === 0) return Promise.resolve()
      pulling.open()
      return new Promise(() => {})
    }
    const hanging = ask(cache, source.collection(), vector)
    await pulling.opened
    source.onBatch = async () => {}
    if (end === 'time') {
      vi.advanceTimersByTime(limits.sourceSilenceMsMax)
      await expect(hanging).rejects.toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
    } else {
      await cache.invalidate(source.collection().ref)
      expect(idsAndDistances(await hanging), 'pulled anew').toEqual(bruteForce(source, vector))
    }
  }
  await cache.invalidate(source.collection().ref)
  await pool.giveBackEmpty()
  expect(pool.bytesFree).toBe(bytesFree)
})

test('a generation with a row that is refused is pulled once, and again when it has changed or was invalidated', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  source.onBatch = async () => {
    throw new GatewayError('LG_BAD_ROW', 'row 3 has NaN')
  }
  const refused = { code: 'LG_BAD_ROW' }
  for (let i = 0; i < 3; i++) await expect(ask(cache, source.collection(), vector)).rejects.toMatchObject(refused)
  expect(source.counts.pull).toBe(1)
  await cache.invalidate(source.collection().ref)
  await expect(ask(cache, source.collection(), vector)).rejects.toMatchObject(refused)
  expect(source.counts.pull).toBe(2)
  source.onBatch = async () => {}
  source.files.set('a', randomFile('2', 20, 4, random))
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
})

test('a caller who leaves at once does not hide from the next one that the source was configured anew', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  source.configuration = 'before'
  await ask(cache, source.collection(), vector)
  source.configuration = 'after'
  source.readIdentity = 'scripted 2'
  const changed = source.collection()
  await expect(cache.pin(changed, fresh, { signal: AbortSignal.abort(unavailable()) })).rejects.toThrow()
  await ask(cache, changed, vector)
  expect(source.counts.pull).toBe(2)
})

test('law 7: once a newer generation was observed, ttl does not answer from the older one', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  await ask(cache, collection, vector)
  source.files.set('b', randomFile('1', 10, 4, random, 1000n))
  source.onBatch = async () => {
    throw unavailable()
  }
  await expect(ask(cache, collection, vector, fresh)).rejects.toThrow('the source is down')
  await expect(ask(cache, collection, vector, ttl(60_000))).rejects.toThrow('the source is down')
})

test('a failing check fails fresh and expired ttl queries; frozen answers from what is held', async () => {
  const { cache, clock } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  const events: string[] = []
  cache.subscribe((event) => events.push(event.kind))
  await ask(cache, collection, vector)
  const held = source.generation
  source.files.set('b', randomFile('1', 10, 4, random, 1000n))
  source.onGeneration = async () => {
    throw unavailable()
  }
  clock.ms += 10
  await expect(ask(cache, collection, vector, fresh)).rejects.toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
  await expect(ask(cache, collection, vector, ttl(5))).rejects.toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
  expect((await ask(cache, collection, vector, ttl(10))).generation).toBe(held)
  expect((await ask(cache, collection, vector, frozen)).generation).toBe(held)
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({
    state: 'failed',
    lastError: { code: 'LG_SOURCE_UNAVAILABLE', atMs: clock.ms },
  })
  expect(events).toEqual(['primed', 'failed', 'failed'])
  source.onGeneration = async () => {}
  expect((await ask(cache, collection, vector, fresh)).generation).toBe(source.generation)
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({ state: 'ready', lastError: null })
})

test('as_of a held generation answers from it; an unknown one is refused naming what is held', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  await ask(cache, collection, vector)
  const first = source.generation
  const expected = bruteForce(source, vector)
  source.files.set('a', randomFile('2', 50, 4, random))
  await ask(cache, collection, vector)
  const asOf = await ask(cache, collection, vector, { kind: 'generation', generation: first })
  expect(asOf.generation).toBe(first)
  expect(idsAndDistances(asOf)).toEqual(expected)
  const refused = ask(cache, collection, vector, { kind: 'generation', generation: 'never' })
  await expect(refused).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED', field: 'as_of' })
  await expect(refused).rejects.toThrow(JSON.stringify(first))
})

test('as_of a time answers only between two checks that saw the same generation', async () => {
  const { cache, clock } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  const start = clock.ms
  await ask(cache, collection, vector)
  clock.ms = start + 100
  await ask(cache, collection, vector)
  const first = source.generation
  source.files.set('a', randomFile('2', 50, 4, random))
  clock.ms = start + 200
  await ask(cache, collection, vector)
  clock.ms = start + 300
  const at = (atMs: number) => ask(cache, collection, vector, { kind: 'time', atMs })
  expect((await at(start + 50)).generation).toBe(first)
  expect((await at(start + 100)).generation).toBe(first)
  await expect(at(start + 150)).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
  await expect(at(start - 1)).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
  await expect(at(start + 301)).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
  expect((await at(start + 250)).generation, 'asks the source whether it is still there').toBe(source.generation)
  expect(cache.history(collection.ref)).toMatchObject([
    { generation: source.generation, firstSeenMs: start + 200, lastSeenMs: start + 300, held: true },
    { generation: first, firstSeenMs: start, lastSeenMs: start + 100, rows: 50, parts: 1, held: true },
  ])
})

test('a generation that comes back is not taken to have been there in between', async () => {
  const { cache, clock } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  const start = clock.ms
  const one = source.files.get('a')!
  const two = randomFile('2', 50, 4, random)
  for (const file of [one, two, one]) {
    source.files.set('a', file)
    await ask(cache, collection, vector)
    clock.ms += 100
  }
  expect(source.counts.pull, 'both are held').toBe(2)
  await expect(ask(cache, collection, vector, { kind: 'time', atMs: start + 50 })).rejects.toMatchObject({
    code: 'LG_GENERATION_EXPIRED',
  })
})

test('close fails what waits and stops the pull', async () => {
  const { cache } = await openCache()
  const source = oneFile()
  const pulling = gate()
  source.onBatch = (_name, _batch, signal) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
      pulling.open()
    })
  const waiting = ask(cache, source.collection(), vector)
  const refused = expect(waiting).rejects.toMatchObject({ code: 'LG_OVERLOADED' })
  await pulling.opened
  await cache.close()
  await refused
})

test('law 2: a glance that finds the source unchanged is a check; one that does not leads to a real one', async () => {
  const { cache, clock } = await openCache()
  const source = oneFile()
  const collection = source.collection()
  await ask(cache, collection, vector)
  const asked = source.counts.generation
  source.isStill = (generation) => generation === source.generation
  clock.ms += 1000
  const version = await cache.pin(collection, fresh, { signal: never })
  expect(version.checkedAtMs).toBe(clock.now())
  version.release()
  expect(source.counts.generation).toBe(asked)
  source.files.set('b', randomFile('2', 20, 4, random, 100n))
  expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
  expect(source.counts.generation).toBe(asked + 1)
})
