import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { VectorCacheHandle } from '../../src/cache/create-vector-cache.js'
import type { KernelExecutor, TrainJob } from '../../src/cache/executor.js'
import { padDimension } from '../../src/cache/padding.js'
import type { CachedCollection, CacheEvent } from '../../src/cache/vector-cache.js'
import { seededRandom } from '../../src/core/clock.js'
import { GatewayError } from '../../src/core/errors.js'
import { openPool } from '../../src/federation/pool.js'
import { deferred } from '../server/deferred.js'
import { ask, bruteForce, fresh, frozen, idsAndDistances, never, openCache, searchExactly } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, type ScriptedFile, ScriptedSource } from './scripted-source.js'

const dimension = 12
const random = seededRandom(23)
const queries = Array.from({ length: 8 }, () => Float32Array.from({ length: dimension }, () => random() * 2 - 1))
/** Small enough for quick tests: a part of 2,000 rows has codes and is a collection worth clusters. */
const clusteredRowsMin = 2000

function sourceOf(files: readonly number[]): ScriptedSource {
  const source = new ScriptedSource(dimension)
  let first = 0n
  for (const [index, rows] of files.entries()) {
    source.files.set(`file ${index}`, randomFile('1', rows, dimension, random, first))
    first += BigInt(rows)
  }
  return source
}

const indexOf = (cache: VectorCacheHandle, { ref }: CachedCollection) => cache.collectionStatistics(ref).index

async function expectExact(cache: VectorCacheHandle, source: ScriptedSource, wanted = fresh): Promise<void> {
  const collection = source.collection()
  for (const query of queries)
    expect(idsAndDistances(await ask(cache, collection, query, wanted))).toEqual(bruteForce(source, query))
}

/** An executor whose training waits at its first job until told, and can be made to fail. */
function scriptedExecutor() {
  const pool = openPool({ workers: 0 })
  const opened = deferred<void>()
  const arrived = deferred<void>()
  const state = { trainings: 0, failure: null as Error | null, encodes: 0, onEncode: async () => {} }
  const executor: KernelExecutor = {
    workers: 0,
    scratchSlots: pool.scratchSlots,
    beginScan: () => null,
    scanAtOnce: (job) => pool.scanAtOnce(job),
    scan: (job, options) => pool.scan(job, options),
    async encode(job, options) {
      state.encodes++
      await state.onEncode()
      return pool.encode(job, options)
    },
    async train(job: TrainJob, options) {
      state.trainings++
      arrived.resolve()
      await opened.promise
      if (state.failure !== null) throw state.failure
      return pool.train(job, options)
    },
    compare: (work, options) => pool.compare(work, options),
    forget: (arenaId) => pool.forget(arenaId),
    close: () => pool.close(),
  }
  return { executor, state, arrived: arrived.promise, open: () => opened.resolve() }
}

function eventsOf(cache: VectorCacheHandle): CacheEvent[] {
  const events: CacheEvent[] = []
  cache.subscribe((event) => events.push(event))
  return events
}

test('answers are the same before, during and after training', async () => {
  const { executor, arrived, open } = scriptedExecutor()
  const { cache } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000, 2000])
  const collection = source.collection()
  const events = eventsOf(cache)
  await ask(cache, collection, queries[0]!)
  await arrived
  expect(indexOf(cache, collection)).toMatchObject({ kind: 'training', segments: { clustered: 0, flat: 2 } })
  await expectExact(cache, source)
  open()
  await cache.settled()
  expect(indexOf(cache, collection)).toMatchObject({
    kind: 'clustered',
    trainedRows: 5000,
    retraining: false,
    segments: { clustered: 1, flat: 0, plain: 0 },
    lastError: null,
  })
  expect(events.map(({ kind }) => kind)).toEqual(['primed', 'trained'])
  await expectExact(cache, source)
})

test('small collections stay flat', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([1999])
  await expectExact(cache, source)
  await cache.settled()
  expect(indexOf(cache, source.collection())).toMatchObject({ kind: 'flat', lastError: null })
})

test('the same seed and rows give the same centroids', async () => {
  const keys: (readonly string[])[] = []
  const source = sourceOf([3000])
  for (const workers of [0, 1]) {
    const directory = await scratchDirectory()
    const executor = openPool({ workers })
    const { cache } = await openCache({ clusteredRowsMin, directory, executor })
    await ask(cache, source.collection(), queries[0]!)
    await cache.settled()
    await cache.close()
    await executor.close()
    keys.push((await filesOf(directory)).filter((name) => name !== 'record'))
  }
  expect(keys[0]).toHaveLength(2)
  expect(keys[0]).toEqual(keys[1])
})

const filesOf = async (directory: string): Promise<readonly string[]> => {
  const [collection] = await readdir(join(directory, 'collections'))
  return (await readdir(join(directory, 'collections', collection!))).sort()
}

test('a pinned version keeps its segments while they are replaced', async () => {
  const { executor, arrived, open } = scriptedExecutor()
  const { cache, pool } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000, 2000])
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  await arrived
  open()
  await cache.settled()
  const free = pool.bytesFree
  for (const query of queries)
    expect(idsAndDistances(await searchExactly(pinned, query))).toEqual(bruteForce(source, query))
  pinned.release()
  expect(pool.bytesFree).toBeGreaterThan(free)
  expect(indexOf(cache, source.collection()).segments).toEqual({ clustered: 1, flat: 0, plain: 0 })
})

test('law 11: what segments were replaced in is given back once nobody uses it', async () => {
  const { cache, pool } = await openCache({ clusteredRowsMin })
  const source = sourceOf([20_000, 20_000, 20_000, 20_000])
  const collection = source.collection()
  const committed = await askPinnedBefore(cache, source, async () => {
    await cache.settled()
    return pool.bytesCommitted
  })
  await cache.settled()
  const held = cache.collectionStatistics(collection.ref).memoryBytes
  expect(committed, 'the query had the segments of before').toBeGreaterThan(1.8 * held)
  expect(pool.bytesCommitted).toBeLessThan(1.1 * held)
  await expectExact(cache, source)
})

test('law 11: collections that were pulled into one arena leave it together', async () => {
  const { cache, pool } = await openCache({ clusteredRowsMin })
  const collections = [20_000, 30_000, 20_000].map((rows, i) => sourceOf([rows]).collection('rows', `source ${i}`))
  for (const collection of collections) (await cache.pin(collection, fresh, { signal: never })).release()
  await cache.settled()
  const held = collections.reduce((sum, { ref }) => sum + cache.collectionStatistics(ref).memoryBytes, 0)
  expect(pool.bytesCommitted).toBeLessThan(1.1 * held)
})

test('law 11: segments that stay behind in an emptied arena are moved out of it, with their files', async () => {
  const directory = await scratchDirectory()
  const { cache, pool } = await openCache({ clusteredRowsMin, directory })
  // The small one has no codes, and gets none.
  const source = sourceOf([30_000, 30_000, 300])
  const collection = source.collection()
  await expectExact(cache, source)
  await cache.settled()
  const { memoryBytes, segmentsResident } = cache.collectionStatistics(collection.ref)
  expect(segmentsResident).toBe(2)
  expect(pool.bytesCommitted).toBeLessThan(1.15 * memoryBytes)
  await expectExact(cache, source)
  const files = await filesOf(directory)
  await cache.close()
  const { cache: again, warnings } = await openCache({ clusteredRowsMin, directory })
  source.counts.pull = 0
  await expectExact(again, source)
  expect([source.counts.pull, warnings]).toEqual([0, []])
  expect(await filesOf(directory)).toEqual(files)
})

/** Asks a version that was pinned before `run`; in a function of its own, whose variables go with it. */
async function askPinnedBefore<T>(cache: VectorCacheHandle, source: ScriptedSource, run: () => Promise<T>): Promise<T> {
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  const value = await run()
  for (const query of queries)
    expect(idsAndDistances(await searchExactly(pinned, query))).toEqual(bruteForce(source, query))
  pinned.release()
  return value
}

test('32 queries at a time while segments are replaced are all exact', async () => {
  const { executor, state, open } = scriptedExecutor()
  open()
  const { cache } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000, 1500, 2000, 1100, 1200])
  const collection = source.collection()
  const expected = queries.map((query) => bruteForce(source, query))
  const burst = () =>
    Promise.all(
      Array.from({ length: 32 }, async (_, i) => {
        const at = i % queries.length
        expect(idsAndDistances(await ask(cache, collection, queries[at]!))).toEqual(expected[at])
      }),
    )
  await burst()
  let bursts = 0
  state.onEncode = async () => {
    bursts++
    await burst()
  }
  await cache.settled()
  expect(bursts, 'one segment of all').toBe(1)
  await burst()
})

test('a refresh during training, and parts after it, end up in clusters', async () => {
  const { executor, arrived, open } = scriptedExecutor()
  const { cache } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000])
  const collection = source.collection()
  await ask(cache, collection, queries[0]!)
  await arrived
  source.files.set('during', randomFile('1', 1500, dimension, random, 10_000n))
  await expectExact(cache, source)
  expect(indexOf(cache, collection)).toMatchObject({ kind: 'training', segments: { flat: 2 } })
  open()
  await cache.settled()
  await expectExact(cache, source)
  source.files.set('after', randomFile('1', 1600, dimension, random, 20_000n))
  source.files.set('small', randomFile('1', 50, dimension, random, 30_000n))
  await ask(cache, collection, queries[0]!)
  expect(indexOf(cache, collection).segments, 'no detour over flat codes').toEqual({ clustered: 2, flat: 0, plain: 1 })
  await expectExact(cache, source)
})

test('law 7: rows deleted before, during and after training stay out', async () => {
  const { executor, arrived, open } = scriptedExecutor()
  const { cache } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000])
  const mask = (count: number) => ({
    identity: `first ${count}`,
    ordinals: Uint32Array.from({ length: count }, (_, i) => i * 2),
  })
  const deleteRows = (count: number) =>
    source.files.set('file 0', { ...source.files.get('file 0')!, deleted: mask(count) })
  deleteRows(300)
  await expectExact(cache, source)
  await arrived
  deleteRows(800)
  await expectExact(cache, source)
  open()
  await cache.settled()
  await expectExact(cache, source)
  deleteRows(1400)
  await expectExact(cache, source)
  expect(indexOf(cache, source.collection()).kind).toBe('clustered')
  expect(cache.collectionStatistics(source.collection().ref)).toMatchObject({ rows: 1600, partsPulled: 1 })
})

test('invalidation abandons a training, and the next priming starts another', async () => {
  const { executor, state, arrived, open } = scriptedExecutor()
  const { cache, pool } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000])
  const collection = source.collection()
  await ask(cache, collection, queries[0]!)
  await arrived
  const invalidated = cache.invalidate(collection.ref)
  open()
  await invalidated
  await cache.settled()
  expect(indexOf(cache, collection)).toMatchObject({ kind: 'flat', lastError: null })
  await expectExact(cache, source)
  await cache.settled()
  expect(indexOf(cache, collection).kind).toBe('clustered')
  await expectExact(cache, source)
  await cache.invalidate(collection.ref)
  await pool.giveBackEmpty()
  expect(pool.bytesCommitted, 'nothing of an index stays in memory').toBe(0)
  expect(state.trainings).toBeGreaterThan(1)
})

test('closing abandons a training', async () => {
  const { executor, arrived, open } = scriptedExecutor()
  const { cache, warnings } = await openCache({ executor, clusteredRowsMin })
  await ask(cache, sourceOf([3000]).collection(), queries[0]!)
  await arrived
  const closed = cache.close()
  open()
  await closed
  expect(warnings).toEqual([])
})

test('a restart reads clustered segments back and trains nothing', async () => {
  const directory = await scratchDirectory()
  const source = sourceOf([3000, 2000])
  const collection = source.collection()
  const first = await openCache({ directory, clusteredRowsMin })
  await ask(first.cache, collection, queries[0]!)
  await first.cache.settled()
  const before = indexOf(first.cache, collection)
  await first.cache.close()
  const { executor, state, open } = scriptedExecutor()
  open()
  const { cache } = await openCache({ directory, executor, clusteredRowsMin })
  source.counts.pull = 0
  await expectExact(cache, source)
  await cache.settled()
  expect(source.counts.pull).toBe(0)
  expect(state).toMatchObject({ trainings: 0, encodes: 0 })
  expect(indexOf(cache, collection)).toEqual(before)
  expect(await filesOf(directory)).toHaveLength(3) // record, codebook, segment
  source.files.set('after', randomFile('1', 1600, dimension, random, 20_000n))
  await expectExact(cache, source)
  expect(indexOf(cache, collection).segments).toEqual({ clustered: 2, flat: 0, plain: 0 })
})

test('law 10: a clustered segment whose file is broken is pulled again, into the same clusters', async () => {
  const directory = await scratchDirectory()
  const source = sourceOf([3000])
  const first = await openCache({ directory, clusteredRowsMin })
  await ask(first.cache, source.collection(), queries[0]!)
  await first.cache.settled()
  await first.cache.close()
  const before = await filesOf(directory)
  const [collection] = await readdir(join(directory, 'collections'))
  const path = join(directory, 'collections', collection!, before.find((name) => name.endsWith('.segment'))!)
  const bytes = await readFile(path)
  bytes[bytes.length >> 1]! ^= 1
  await writeFile(path, bytes)
  source.counts.pull = 0
  const { executor, state, open } = scriptedExecutor()
  open()
  const { cache } = await openCache({ directory, executor, clusteredRowsMin })
  await expectExact(cache, source)
  await cache.settled()
  expect(source.counts.pull).toBe(1)
  expect(state).toMatchObject({ trainings: 0, encodes: 1 })
  expect(await filesOf(directory)).toEqual(before)
})

test('law 10: a restart in the middle of the change of segments goes on from there', async () => {
  const directory = await scratchDirectory()
  const source = sourceOf([3000, 2000])
  const { executor, state, open } = scriptedExecutor()
  open()
  const ended = deferred<void>()
  const reached = deferred<void>()
  const flat = await openCache({ directory, clusteredRowsMin: 1e9 })
  await ask(flat.cache, source.collection(), queries[0]!)
  await flat.cache.settled()
  const { memoryBytes } = flat.cache.statistics()
  const segmentBytes = flat.cache.collectionStatistics(source.collection().ref).memoryBytes
  await flat.cache.close()
  // Room for a successor of each, one after the other, and not for one of both.
  // After a restart vectors are on disk.
  const memoryBytesMax = memoryBytes - 5000 * padDimension(dimension) * 4 + 0.9 * segmentBytes
  const first = await openCache({ directory, executor, clusteredRowsMin, memoryBytesMax })
  state.onEncode = async () => {
    if (state.encodes < 2) return
    reached.resolve()
    await ended.promise
    throw new GatewayError('LG_INTERNAL', 'the process ends here')
  }
  await ask(first.cache, source.collection(), queries[0]!)
  await reached.promise
  ended.resolve()
  await first.cache.close()
  const again = scriptedExecutor()
  again.open()
  const { cache } = await openCache({ directory, executor: again.executor, clusteredRowsMin, memoryBytesMax })
  source.counts.pull = 0
  await expectExact(cache, source, frozen)
  await cache.settled()
  await expectExact(cache, source)
  expect(source.counts.pull).toBe(0)
  expect(indexOf(cache, source.collection()).segments).toEqual({ clustered: 2, flat: 0, plain: 0 })
})

test('without room for both a segment and its successor the collection stays flat, says so, and tries again later', async () => {
  const source = sourceOf([3000, 2000])
  const roomy = await openCache({ clusteredRowsMin: 1e9 })
  await ask(roomy.cache, source.collection(), queries[0]!)
  const { memoryBytes } = roomy.cache.statistics()
  const { cache, clock, warnings } = await openCache({ clusteredRowsMin, memoryBytesMax: memoryBytes })
  const events = eventsOf(cache)
  await expectExact(cache, source)
  await cache.settled()
  expect(indexOf(cache, source.collection())).toMatchObject({ kind: 'flat', lastError: { code: 'LG_OVER_BUDGET' } })
  expect(warnings).toHaveLength(1)
  await expectExact(cache, source)
  await cache.settled()
  const failures = () => events.filter(({ kind }) => kind === 'index-failed').length
  expect(failures()).toBe(1)
  clock.ms += 10_000
  await expectExact(cache, source)
  await cache.settled()
  expect(failures()).toBe(2)
  expect(cache.collectionStatistics(source.collection().ref)).toMatchObject({ state: 'ready', lastError: null })
})

test('the log of a training that failed for a defect has the defect, which users are not told of', async () => {
  const { executor, state, open } = scriptedExecutor()
  open()
  state.failure = new TypeError('the defect')
  const { cache, warnedOf } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000])
  await expectExact(cache, source)
  await cache.settled()
  expect(warnedOf).toMatchObject([{ code: 'LG_INTERNAL', cause: { message: 'the defect' } }])
  expect(JSON.stringify(indexOf(cache, source.collection()))).not.toContain('the defect')
})

test('a training that fails disturbs no answer and is tried again', async () => {
  const { executor, state, open } = scriptedExecutor()
  open()
  state.failure = new GatewayError('LG_INTERNAL', 'a worker thread failed while training')
  const { cache, clock } = await openCache({ executor, clusteredRowsMin })
  const source = sourceOf([3000])
  await expectExact(cache, source)
  await cache.settled()
  expect(indexOf(cache, source.collection())).toMatchObject({
    kind: 'flat',
    lastError: { code: 'LG_INTERNAL', atMs: clock.ms },
  })
  state.failure = null
  clock.ms += 10_000
  await expectExact(cache, source)
  await cache.settled()
  expect(indexOf(cache, source.collection())).toMatchObject({ kind: 'clustered', lastError: null })
})

test('a collection that has grown, or drifted away from its centroids, is trained again', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([2500])
  const collection = source.collection()
  const events = eventsOf(cache)
  const trainings = () => events.flatMap((event) => (event.kind === 'trained' ? [event.rows] : []))
  const add = async (name: string, file: ScriptedFile): Promise<void> => {
    source.files.set(name, file)
    await expectExact(cache, source)
    await cache.settled()
  }
  await ask(cache, collection, queries[0]!)
  await cache.settled()
  await add('same', randomFile('1', 2500, dimension, random, 10_000n))
  expect(trainings()).toEqual([2500])
  const far = randomFile('1', 1500, dimension, random, 20_000n)
  await add('far', { ...far, vectors: far.vectors.map((value) => value * 5) })
  expect(trainings()).toEqual([2500, 6500])
  await add('many', randomFile('1', 20_000, dimension, random, 40_000n))
  expect(trainings()).toEqual([2500, 6500, 26_500])
  expect(indexOf(cache, collection)).toMatchObject({ kind: 'clustered', trainedRows: 26_500, segments: { flat: 0 } })
  await expectExact(cache, source)
})
