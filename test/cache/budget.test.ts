import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { type Evictable, MemoryBudget } from '../../src/cache/budget.js'
import { collectGarbage } from '../../src/cache/collect-garbage.js'
import type { KernelExecutor } from '../../src/cache/executor.js'
import type { ShardQuery } from '../../src/cache/vector-cache.js'
import { seededRandom } from '../../src/core/clock.js'
import { GatewayError } from '../../src/core/errors.js'
import { openPool } from '../../src/federation/pool.js'
import { deferred } from '../server/deferred.js'
import { ask, bruteForce, fresh, frozen, idsAndDistances, never, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(23)
const dimension = 64
const vector = Float32Array.from({ length: dimension }, () => random())
const mebibyte = 1024 * 1024
const query: ShardQuery = {
  vector,
  k: 10,
  contract: { kind: 'exact' },
  filter: null,
  distanceMax: Number.POSITIVE_INFINITY,
}

/** About 1.8 MiB in memory a file. */
function files(count: number): ScriptedSource {
  const source = new ScriptedSource(dimension)
  for (let i = 0; i < count; i++)
    source.files.set(`f${i}`, randomFile('1', 5000, dimension, random, BigInt(i * 10_000)))
  return source
}

test('law 11: a collection whose known rows pass the budget is refused before a pull, with the bytes it needs', async () => {
  const { cache, pool } = await openCache({ memoryBytesMax: 4 * mebibyte })
  const source = files(3)
  const refused = ask(cache, source.collection(), vector)
  await expect(refused).rejects.toMatchObject({ code: 'LG_OVER_BUDGET', field: 'cache.memory' })
  const error: unknown = await refused.catch((reason: unknown) => reason)
  const needed = Number(/needs about (\d+) bytes/.exec(String(error))![1])
  expect(source.counts.pull).toBe(0)
  const roomier = await openCache({ memoryBytesMax: needed + 2 * mebibyte })
  expect(idsAndDistances(await ask(roomier.cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  expect(pool.bytesCommitted).toBe(0)
})

test('law 11: a collection that turns out too large is refused, and what it took is free again', async () => {
  const { cache, pool } = await openCache({ memoryBytesMax: 5 * mebibyte })
  const source = files(4)
  source.rowsKnown = false
  const small = files(1)
  await ask(cache, small.collection('small'), vector)
  await expect(ask(cache, source.collection('large'), vector)).rejects.toMatchObject({ code: 'LG_OVER_BUDGET' })
  expect(pool.bytesCommitted).toBeLessThanOrEqual(5 * mebibyte)
  expect(cache.collectionStatistics(source.collection('large').ref).memoryBytes).toBe(0)
  expect(idsAndDistances(await ask(cache, small.collection('small'), vector))).toEqual(bruteForce(small, vector))
})

test('law 11: what a collection was answered from is given back when it is invalidated, and another has its room', async () => {
  const { cache, pool } = await openCache({ memoryBytesMax: 5 * mebibyte })
  const source = files(1)
  await ask(cache, source.collection('first'), vector)
  await cache.settled()
  await cache.invalidate(source.collection('first').ref)
  await pool.giveBackEmpty()
  const committed = (): number => {
    collectGarbage()
    return pool.bytesCommitted
  }
  await expect.poll(committed).toBe(0)
  const other = files(2)
  expect(idsAndDistances(await ask(cache, other.collection('other'), vector))).toEqual(bruteForce(other, vector))
})

test('law 11: where an evicted collection was searched is given back before its next query', async () => {
  const { cache, pool } = await openCache({ memoryBytesMax: 4 * mebibyte })
  await ask(cache, files(1).collection('first'), vector)
  await cache.settled()
  const second = files(1).collection('second')
  await ask(cache, second, vector) // in the room of the first
  await cache.settled()
  expect(cache.collectionStatistics({ ...second.ref, collection: 'first' }).segmentsResident).toBe(0)
  await cache.invalidate(second.ref)
  const committed = async (): Promise<number> => {
    await pool.giveBackEmpty()
    return pool.bytesCommitted
  }
  await expect.poll(committed, { timeout: 5000 }).toBe(0)
})

test('law 11: the least recently used collection leaves; the sum never passes the budget; from disk it comes back', async () => {
  const directory = await scratchDirectory()
  // Three collections without their originals, and one that is being built.
  const memoryBytesMax = 4 * mebibyte
  const { cache, pool } = await openCache({ directory, memoryBytesMax, clusteredRowsMin: 1e9 })
  const sources = ['one', 'two', 'three', 'four', 'five'].map((name) => {
    const source = files(1)
    return { name, source, collection: source.collection(name) }
  })
  const residents = (): string[] =>
    sources
      .filter(({ collection }) => cache.collectionStatistics(collection.ref).segmentsResident > 0)
      .map(({ name }) => name)
  for (const { source, collection } of sources.slice(0, 3)) {
    expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
    await cache.settled()
  }
  expect(residents()).toEqual(['one', 'two', 'three'])
  await ask(cache, sources[0]!.collection, vector)
  for (let round = 0; round < 10; round++) {
    const { source, collection } = sources[(round * 3 + 3) % 5]!
    expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
    await cache.settled()
    expect(pool.bytesCommitted).toBeLessThanOrEqual(memoryBytesMax)
    expect(cache.statistics().memoryBytes).toBe(pool.bytesCommitted)
    if (round === 0) expect(residents(), '"two" was used longest ago').toEqual(['one', 'three', 'four'])
  }
  for (const { source, collection } of sources) {
    expect(source.counts.pull).toBe(1)
    await cache.invalidate(collection.ref)
  }
  expect(pool.bytesFree, 'only what every arena reserves stays').toBeGreaterThan(3 * mebibyte)
})

test('law 11: collections that fit alone and not together, first asked for at the same time, all answer', async () => {
  const { cache, pool } = await openCache({ memoryBytesMax: 10 * mebibyte })
  const sources = ['one', 'two', 'three', 'four'].map((name) => ({ source: files(3), name }))
  for (const { source } of sources) source.onBatch = () => new Promise((resolve) => setImmediate(resolve))
  const answers = await Promise.all(sources.map(({ source, name }) => ask(cache, source.collection(name), vector)))
  for (const [i, { source }] of sources.entries())
    expect(idsAndDistances(answers[i]!)).toEqual(bruteForce(source, vector))
  expect(pool.bytesCommitted).toBeLessThanOrEqual(10 * mebibyte)
})

test.each([
  ['asked as it was', frozen],
  ['compared with its source', fresh],
])('law 11: for a collection that comes back from disk, %s, a training of another gives way', async (_, wanted) => {
  const directory = await scratchDirectory()
  const known = files(1)
  const before = await openCache({ directory })
  await ask(before.cache, known.collection('known'), vector)
  await before.cache.settled()
  await before.cache.close()

  const pool = openPool({ workers: 0 })
  const training = deferred()
  const executor: KernelExecutor = {
    workers: pool.workers,
    scratchSlots: pool.scratchSlots,
    beginScan: () => null,
    scanAtOnce: (job) => pool.scanAtOnce(job),
    scan: (job, options) => pool.scan(job, options),
    encode: (job, options) => pool.encode(job, options),
    train: (_, { signal }) =>
      new Promise((_, reject) => {
        training.resolve()
        signal.addEventListener('abort', () => reject(signal.reason))
      }),
    compare: (work, options) => pool.compare(work, options),
    forget: (arenaId) => pool.forget(arenaId),
    close: () => pool.close(),
  }
  const memoryBytesMax = 16 * mebibyte
  const { cache, pool: arenas } = await openCache({ directory, executor, memoryBytesMax, clusteredRowsMin: 4096 })
  const pinned = await cache.pin(files(2).collection('trained'), fresh, { signal: never })
  await training.promise
  while (arenas.bytesFreeInOnePiece > 65_536) arenas.allocate(arenas.bytesFreeInOnePiece)
  expect(idsAndDistances(await ask(cache, known.collection('known'), vector, wanted))).toEqual(
    bruteForce(known, vector),
  )
  pinned.release()
})

test('a pinned version is never evicted: the other collection is refused instead', async () => {
  const { cache } = await openCache({ memoryBytesMax: 5 * mebibyte })
  const held = files(2)
  const pinned = await cache.pin(held.collection('held'), fresh, { signal: never })
  const other = files(2)
  await expect(ask(cache, other.collection('other'), vector)).rejects.toMatchObject({ code: 'LG_OVER_BUDGET' })
  pinned.release()
  expect(idsAndDistances(await ask(cache, other.collection('other'), vector))).toEqual(bruteForce(other, vector))
  expect(cache.collectionStatistics(held.collection('held').ref).evictions).toBeGreaterThan(0)
})

test.each(['finish', 'abandon'] as const)(
  'nor is what a thread still reads for a search that did not wait for it (%s)',
  async (end) => {
    const pool = openPool({ workers: 0 })
    const over = deferred()
    const beginScan: KernelExecutor['beginScan'] = (job) => ({
      finish: () => pool.scanAtOnce(job)!,
      abandon: () => {},
      over: () => over.promise,
    })
    const { cache } = await openCache({ memoryBytesMax: 5 * mebibyte, executor: Object.assign(pool, { beginScan }) })
    const pinned = await cache.pin(files(2).collection('held'), fresh, { signal: never })
    pinned.beginSearch(query, true)![end]()
    pinned.release()
    const other = files(2)
    await expect(ask(cache, other.collection('other'), vector)).rejects.toMatchObject({ code: 'LG_OVER_BUDGET' })
    over.resolve()
    expect(idsAndDistances(await ask(cache, other.collection('other'), vector))).toEqual(bruteForce(other, vector))
  },
)

test('without a directory, an evicted collection is pulled again', async () => {
  const { cache } = await openCache({ memoryBytesMax: 5 * mebibyte })
  const [one, two] = [files(2), files(2)]
  for (const source of [one, two, one]) {
    const collection = source.collection(source === one ? 'one' : 'two')
    expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
  }
  expect(one.counts.pull).toBeGreaterThan(2)
})

test('law 11: segment files stay inside the disk budget, least recently used first to go', async () => {
  const directory = await scratchDirectory()
  const { cache } = await openCache({ directory, diskBytesMax: 5 * mebibyte, clusteredRowsMin: 1e9 })
  const sources = ['one', 'two', 'three', 'four'].map((name) => {
    const source = files(1)
    return { source, collection: source.collection(name) }
  })
  for (const { collection } of sources) {
    await ask(cache, collection, vector)
    await cache.settled()
    expect(cache.statistics().diskBytes).toBeLessThanOrEqual(5 * mebibyte)
  }
  expect(sources.map(({ collection }) => cache.collectionStatistics(collection.ref).diskBytes > 0)).toEqual([
    false,
    false,
    true,
    true,
  ])
  let segments = 0
  for (const folder of await readdir(join(directory, 'collections')))
    segments += (await readdir(join(directory, 'collections', folder))).filter((name) =>
      name.endsWith('.segment'),
    ).length
  expect(segments).toBe(2)
})

test('law 11: what was used last goes last, also when it went and came back', () => {
  const budget = new MemoryBudget(new ArenaPool({ bytesMax: 2 ** 20, scratchSlots: 1 }))
  const evicted: string[] = []
  const resident = (name: string): Evictable => ({
    pins: 0,
    surrender: () => false,
    evict: () => evicted.push(name),
  })
  const [one, two] = [resident('one'), resident('two')]
  const evict = (): void => {
    const before = evicted.length
    budget.obtain(1, () => (evicted.length > before ? true : null))
  }
  for (const used of [one, two, one, one]) budget.touch(used)
  evict()
  evict()
  budget.touch(one)
  evict()
  budget.touch(two)
  budget.forget(two)
  budget.touch(two)
  evict()
  expect(evicted).toEqual(['two', 'one', 'one', 'two'])
  expect(evict).toThrow(GatewayError)
})
