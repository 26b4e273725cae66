import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/clock.js'
import { GatewayError } from '../../src/core/errors.js'
import { ask, bruteForce, fresh, frozen, idsAndDistances, ManualClock, never, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(17)
const dimension = 12
const vector = Float32Array.from({ length: dimension }, () => random())

function twoFiles(): ScriptedSource {
  const source = new ScriptedSource(dimension)
  source.files.set('a', randomFile('1', 2000, dimension, random))
  const ids = Array.from({ length: 300 }, (_, i) => (i % 3 === 0 ? BigInt(i) : `naïve-${i}`))
  source.files.set('b', { ...randomFile('1', 300, dimension, random), ids })
  return source
}

/** Primes, waits until everything is on disk, closes. */
async function leaveBehind(directory: string, source: ScriptedSource, clock = new ManualClock()): Promise<void> {
  const { cache } = await openCache({ directory, clock })
  await ask(cache, source.collection(), vector)
  await cache.settled()
  await cache.close()
}

test('law 10: a restart answers without reading the source, after checking its generation', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  const { cache } = await openCache({ directory })
  source.counts.generation = source.counts.pull = 0
  const collection = source.collection()
  expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
  expect(source.counts).toMatchObject({ generation: 1, pull: 0 })
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({
    rows: 2300,
    partsPulled: 0,
    segmentsRestored: 2,
    segmentsDiscarded: 0,
    misses: 1,
    primes: 0,
  })
})

test('frozen answers after a restart without asking the source anything', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  const expected = bruteForce(source, vector)
  source.files.clear()
  const { cache } = await openCache({ directory })
  source.counts.generation = source.counts.manifest = source.counts.pull = 0
  expect(idsAndDistances(await ask(cache, source.collection(), vector, frozen))).toEqual(expected)
  expect(source.counts).toEqual({ generation: 0, manifest: 0, pull: 0 })
})

test('a restart after the source changed pulls only what is new', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  source.files.set('c', randomFile('1', 100, dimension, random, 9000n))
  source.pulled.length = 0
  const { cache } = await openCache({ directory })
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  expect(source.pulled).toEqual(['c'])
})

test('law 7: masks survive a restart', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  const deleted = { identity: 'm', ordinals: Uint32Array.from({ length: 1990 }, (_, i) => i) }
  source.files.set('a', { ...source.files.get('a')!, deleted })
  await leaveBehind(directory, source)
  const { cache } = await openCache({ directory })
  expect(idsAndDistances(await ask(cache, source.collection(), vector, frozen))).toEqual(bruteForce(source, vector))
  expect(cache.collectionStatistics(source.collection().ref).rows).toBe(310)
})

test('as_of still answers after a restart, and history remembers', async () => {
  const directory = await scratchDirectory()
  const clock = new ManualClock()
  const source = twoFiles()
  const first = { generation: source.generation, expected: bruteForce(source, vector), atMs: clock.ms }
  await leaveBehind(directory, source, clock)
  source.files.set('a', randomFile('2', 2000, dimension, random))
  clock.ms += 1000
  await leaveBehind(directory, source, clock)
  const { cache } = await openCache({ directory, clock })
  const collection = source.collection()
  const answer = await ask(cache, collection, vector, { kind: 'generation', generation: first.generation })
  expect(idsAndDistances(answer)).toEqual(first.expected)
  expect(cache.history(collection.ref)).toMatchObject([
    { generation: source.generation, held: true },
    { generation: first.generation, firstSeenMs: first.atMs, held: true },
  ])
})

test('another read identity under the same generation is pulled anew', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  source.readIdentity = 'scripted 2'
  source.pulled.length = 0
  const { cache } = await openCache({ directory })
  await ask(cache, source.collection(), vector, fresh)
  expect(source.pulled).toEqual(['a', 'b'])
})

test('a metric configured anew is built anew', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  const cosine = new ScriptedSource(dimension, 'cosine')
  for (const [name, file] of source.files) cosine.files.set(name, file)
  const { cache } = await openCache({ directory })
  expect(idsAndDistances(await ask(cache, cosine.collection(), vector))).toEqual(bruteForce(cosine, vector))
  expect(cosine.counts.pull).toBe(2)
})

test('segments that no version has any more leave the disk', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  const { cache } = await openCache({ directory })
  for (let i = 0; i < 12; i++) {
    source.files.set('a', randomFile(`next ${i}`, 2000, dimension, random))
    await ask(cache, source.collection(), vector)
    await cache.settled()
  }
  const [collection] = await readdir(join(directory, 'collections'))
  const files = await readdir(join(directory, 'collections', collection!))
  expect(files.filter((name) => name.endsWith('.segment'))).toHaveLength(9 + 1)
  await cache.invalidate(source.collection().ref)
  expect(await readdir(join(directory, 'collections'))).toEqual([])
  expect(cache.statistics().diskBytes).toBe(0)
})

test('losing the directory loses nothing', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  await rm(directory, { recursive: true })
  const { cache } = await openCache({ directory })
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
})

test('an adapter that states its configuration is not even asked for the manifest, unless it states another', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  source.configuration = 'one'
  await leaveBehind(directory, source)
  source.counts.manifest = source.counts.pull = 0
  const { cache } = await openCache({ directory })
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  expect(source.counts).toMatchObject({ manifest: 0, pull: 0 })
  await cache.close()
  source.configuration = 'two'
  const again = await openCache({ directory })
  await ask(again.cache, source.collection(), vector, frozen)
  expect(source.counts, 'what is read the same way is not pulled again').toMatchObject({ manifest: 1, pull: 0 })
})

test('a version that is read under another identity while its source moves on takes the place of the one from before', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  await leaveBehind(directory, source)
  const expected = bruteForce(source, vector)
  source.readIdentity = 'scripted 2'
  const { cache } = await openCache({ directory })
  const collection = source.collection()
  let moved: Promise<unknown> | null = null
  source.onBatch = async (name) => {
    if (name === 'c') throw new GatewayError('LG_SOURCE_UNAVAILABLE', 'c cannot be read')
    if (moved !== null) return
    source.files.set('c', randomFile('1', 10, dimension, random, 10_000n))
    moved = cache.refresh(collection, { signal: never }).catch((error: unknown) => error)
    await expect.poll(() => source.counts.generation).toBe(3)
    await new Promise(setImmediate)
  }
  expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(expected)
  expect(await moved).toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
  await cache.settled()
  expect(idsAndDistances(await ask(cache, collection, vector, frozen))).toEqual(expected)
})
