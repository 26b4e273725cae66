import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/clock.js'
import { ask, bruteForce, fresh, idsAndDistances, never, openCache } from './open-cache.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(7)
const randomVector = (dimension: number): Float32Array =>
  Float32Array.from({ length: dimension }, () => random() * 2 - 1)

test('primes a collection and answers as brute force does', async () => {
  const { cache } = await openCache()
  const source = new ScriptedSource(24)
  source.files.set('a', randomFile('1', 3000, 24, random))
  source.files.set('b', randomFile('1', 500, 24, random, 10_000n))
  const collection = source.collection()
  for (let i = 0; i < 20; i++) {
    const vector = randomVector(24)
    expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
  }
  const pinned = await cache.pin(collection, fresh, { signal: never })
  expect(pinned).toMatchObject({ rows: 3500, parts: 2, dimension: 24, metric: 'l2', generation: source.generation })
  const [location] = await pinned.find(10_003n, { signal: never })
  expect(pinned.id(location!)).toBe(10_003n)
  expect((await pinned.vectors([location!], { signal: never }))[0]).toEqual(
    source.files.get('b')!.vectors.slice(3 * 24, 4 * 24),
  )
  expect(await pinned.find('10003', { signal: never })).toEqual([])
  pinned.release()
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({
    state: 'ready',
    primes: 1,
    partsPulled: 2,
    misses: 1,
    hits: 20,
  })
})
