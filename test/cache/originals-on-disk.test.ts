/** Collections whose codes fit the memory budget and whose vectors do not. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type FileSystem, nodeFileSystem } from '../../src/cache/file-system.js'
import { seededRandom } from '../../src/core/clock.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import { deferred } from '../server/deferred.js'
import { ask, bruteForce, fresh, frozen, idsAndDistances, never, openCache, searchExactly } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(31)
const dimension = 64
const mebibyte = 1024 * 1024
const pageBytes = 4096
/** Codes of 20,000 rows take 2.2 MiB, vectors 4.9 MiB. */
const memoryBytesMax = 7 * mebibyte

const points = Float32Array.from({ length: 20 * dimension }, () => random() - 0.5)

/** Rows around 20 points, so that clusters pay. */
function files(count: number, metric: Metric = 'l2'): ScriptedSource {
  const source = new ScriptedSource(dimension, metric)
  for (let i = 0; i < count; i++) {
    const file = randomFile('1', 5000, dimension, random, BigInt(i * 10_000))
    const vectors = file.vectors.map((value, at) => 0.3 * value + points[at % points.length]!)
    source.files.set(`f${i}`, { ...file, vectors })
  }
  return source
}

const randomQuery = (): Float32Array => Float32Array.from({ length: dimension }, () => random() - 0.5)

type Cache = Awaited<ReturnType<typeof openCache>>['cache']

async function expectExact(cache: Cache, source: ScriptedSource, wanted = fresh): Promise<void> {
  for (let i = 0; i < 5; i++) {
    const query = randomQuery()
    expect(idsAndDistances(await ask(cache, source.collection(), query, wanted))).toEqual(bruteForce(source, query))
  }
}

const statisticsOf = (cache: Cache, source: ScriptedSource) => cache.collectionStatistics(source.collection().ref)

for (const metric of metrics)
  test(`laws 6 and 11: what does not fit is answered from disk, as proven as from memory (${metric})`, async () => {
    const directory = await scratchDirectory()
    const source = files(4, metric)
    const { cache, pool } = await openCache({ directory, memoryBytesMax, clusteredRowsMin: 4096 })
    await expectExact(cache, source)
    await cache.settled()
    expect(statisticsOf(cache, source).index).toMatchObject({ kind: 'clustered', lastError: null })
    await expectExact(cache, source)
    expect(pool.bytesCommitted).toBeLessThanOrEqual(memoryBytesMax)
    expect(source.counts.pull).toBe(4)
    await cache.close()
    source.counts.pull = 0
    const again = await openCache({ directory, memoryBytesMax })
    await expectExact(again.cache, source, frozen)
    expect(source.counts.pull).toBe(0)
  })

test('law 11: where vectors go to disk behind their codes, the room they were encoded in is given back', async () => {
  const source = files(4)
  const { cache, pool } = await openCache({
    directory: await scratchDirectory(),
    memoryBytesMax,
    clusteredRowsMin: 4096,
  })
  await expectExact(cache, source)
  await cache.settled()
  const { memoryBytes } = statisticsOf(cache, source)
  expect(memoryBytes, 'codes alone').toBeLessThan(20_000 * dimension * 4)
  expect(pool.bytesCommitted).toBeLessThan(1.5 * memoryBytes)
  await expectExact(cache, source)
})

test('without a directory such a collection is refused', async () => {
  const { cache } = await openCache({ memoryBytesMax })
  const refused = ask(cache, files(4).collection(), randomQuery())
  await expect(refused).rejects.toMatchObject({ code: 'LG_OVER_BUDGET', field: 'cache.memory' })
})

test('a collection that turns out not to fit is read again, to disk', async () => {
  const { cache, pool } = await openCache({ directory: await scratchDirectory(), memoryBytesMax })
  const source = files(4)
  source.rowsKnown = false
  await expectExact(cache, source)
  expect(pool.bytesCommitted).toBeLessThanOrEqual(memoryBytesMax)
})

test('vectors are given back from disk, and masks, filters by distance and many equal rows are as in memory', async () => {
  const { cache } = await openCache({ directory: await scratchDirectory(), memoryBytesMax })
  const source = files(4)
  const first = source.files.get('f0')!
  const row = first.vectors.slice(0, dimension)
  // More rows at one distance than survivors fit: all of the next three files.
  for (const name of ['f1', 'f2', 'f3']) {
    const { vectors } = source.files.get(name)!
    for (let at = 0; at < vectors.length; at += dimension) vectors.set(row, at)
  }
  source.files.set('f2', {
    ...source.files.get('f2')!,
    deleted: { identity: 'm', ordinals: Uint32Array.from({ length: 4990 }, (_, i) => i) },
  })
  const collection = source.collection()
  for (const query of [row, randomQuery()])
    expect(idsAndDistances(await ask(cache, collection, query))).toEqual(bruteForce(source, query))
  const pinned = await cache.pin(collection, fresh, { signal: never })
  const [location] = await pinned.find(20_000n + 4995n, { signal: never })
  expect((await pinned.vectors([location!], { signal: never }))[0]).toEqual(row)
  pinned.release()
})

test('law 6: of more rows at one distance in one segment than survivors fit, on disk, the first are found', async () => {
  const source = new ScriptedSource(dimension)
  const equal = randomFile('1', 17_000, dimension, random)
  const row = equal.vectors.slice(0, dimension)
  for (let at = 0; at < equal.vectors.length; at += dimension) equal.vectors.set(row, at)
  source.files.set('others', randomFile('1', 10_000, dimension, random, 50_000n))
  source.files.set('equal', equal)
  const directory = await scratchDirectory()
  const { cache } = await openCache({ directory, memoryBytesMax: 9 * mebibyte, clusteredRowsMin: 1e9 })
  for (const query of [row, randomQuery()])
    expect(idsAndDistances(await ask(cache, source.collection(), query))).toEqual(bruteForce(source, query))
})

test('law 11: what is on disk as well leaves memory before whole collections do', async () => {
  const directory = await scratchDirectory()
  const { cache, pool } = await openCache({ directory, memoryBytesMax: 4 * mebibyte, clusteredRowsMin: 1e9 })
  const [one, two] = [files(1), files(1)]
  await ask(cache, one.collection('one'), randomQuery())
  await cache.settled()
  const before = cache.collectionStatistics(one.collection('one').ref).memoryBytes
  await ask(cache, two.collection('two'), randomQuery())
  await cache.settled()
  const { memoryBytes, evictions, segmentsResident } = cache.collectionStatistics(one.collection('one').ref)
  expect(memoryBytes).toBeLessThan(before / 2)
  expect({ evictions, segmentsResident }).toEqual({ evictions: 0, segmentsResident: 1 })
  expect(pool.bytesCommitted).toBeLessThanOrEqual(4 * mebibyte)
  const query = randomQuery()
  expect(idsAndDistances(await ask(cache, one.collection('one'), query))).toEqual(bruteForce(one, query))
})

test('a restart answers from codes, and brings vectors back while much memory is free', async () => {
  const directory = await scratchDirectory()
  const source = files(2)
  const first = await openCache({ directory, clusteredRowsMin: 1e9 })
  await expectExact(first.cache, source)
  await first.cache.settled()
  const { memoryBytes } = statisticsOf(first.cache, source)
  await first.cache.close()
  const { cache } = await openCache({ directory, clusteredRowsMin: 1e9 })
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  expect(statisticsOf(cache, source).memoryBytes).toBeLessThan(memoryBytes / 2)
  pinned.release()
  await expectExact(cache, source)
  await cache.settled()
  expect(statisticsOf(cache, source).memoryBytes).toBe(memoryBytes)
  await expectExact(cache, source)
})

test('law 10: a query that reads vectors while they return to memory and their file is no longer needed is no sign of corruption', async () => {
  const directory = await scratchDirectory()
  const [one, two] = [files(2), files(2)]
  const first = await openCache({ directory })
  await expectExact(first.cache, one)
  await first.cache.settled()
  const { diskBytes } = statisticsOf(first.cache, one)
  await first.cache.close()
  const reads = holdableReads()
  // Either collection's files fit, not both.
  const options = { directory, fileSystem: reads.fileSystem, diskBytesMax: 1.5 * diskBytes }
  const { cache, warnings } = await openCache(options)
  const query = randomQuery()
  const pinned = await cache.pin(one.collection(), frozen, { signal: never })
  const held = reads.holdNext()
  const asked = searchExactly(pinned, query)
  await held.arrived
  await cache.settled()
  expect(statisticsOf(cache, one).memoryBytes, 'vectors are in memory').toBeGreaterThan(10_000 * dimension * 4)
  await ask(cache, two.collection('two'), query)
  await cache.settled()
  // Whatever is missing on disk of the first is written again.
  one.files.set('more', randomFile('1', 300, dimension, random, 90_000n))
  await cache.refresh(one.collection(), { signal: never })
  await cache.settled()
  held.release()
  one.files.delete('more')
  expect(idsAndDistances(await asked)).toEqual(bruteForce(one, query))
  pinned.release()
  expect(statisticsOf(cache, one).segmentsDiscarded).toBe(0)
  expect(warnings).not.toContain('segment file is not usable; it is rebuilt from the source')
})

test('a query that began before an invalidation still reads its vectors; then their files go', async () => {
  const directory = await scratchDirectory()
  const source = files(4)
  const collection = source.collection()
  const before = await openCache({ directory, memoryBytesMax, clusteredRowsMin: 1e9 })
  await expectExact(before.cache, source)
  await before.cache.settled()
  await before.cache.close()
  // After a restart nothing has read vectors yet, and no file is open.
  const { cache, warnings } = await openCache({ directory, memoryBytesMax, clusteredRowsMin: 1e9 })
  const pinned = await cache.pin(collection, fresh, { signal: never })
  await cache.invalidate(collection.ref)
  const query = randomQuery()
  expect(idsAndDistances(await searchExactly(pinned, query))).toEqual(bruteForce(source, query))
  pinned.release()
  const left = async (): Promise<string[]> =>
    (await readdir(directory, { recursive: true })).filter((name) => /\.(segment|codebook)$|record$/.test(name))
  await expect.poll(left).toEqual([])
  expect([cache.statistics().diskBytes, warnings]).toEqual([0, []])
  await expectExact(cache, source)
})

/** A file system on which the next read of some rows, not of all, can be made to wait. */
function holdableReads() {
  let hold: { readonly arrived: () => void; readonly released: Promise<void> } | null = null
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    async open(path, flags) {
      const file = await nodeFileSystem.open(path, flags)
      const read = file.read.bind(file) as (...of: unknown[]) => Promise<unknown>
      file.read = (async (...of: unknown[]) => {
        const length = of[2] as number
        if (length % pageBytes !== 0 || length > 16 * pageBytes) return read(...of)
        const held = hold
        hold = null
        held?.arrived()
        await held?.released
        return read(...of)
      }) as typeof file.read
      return file
    },
  }
  const holdNext = () => {
    const [arrived, released] = [deferred<void>(), deferred<void>()]
    hold = { arrived: () => arrived.resolve(), released: released.promise }
    return { arrived: arrived.promise, release: () => released.resolve() }
  }
  return { fileSystem, holdNext }
}

test('law 10: vectors that are not what was written are an error, and then read from the source again', async () => {
  const directory = await scratchDirectory()
  const source = files(4)
  const { cache, warnings } = await openCache({ directory, memoryBytesMax, clusteredRowsMin: 1e9 })
  const query = source.files.get('f2')!.vectors.slice(0, dimension)
  await ask(cache, source.collection(), query)
  await cache.settled()
  const [collection] = await readdir(join(directory, 'collections'))
  const folder = join(directory, 'collections', collection!)
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.segment')) continue
    const bytes = await readFile(join(folder, name))
    // Vectors are at the end; every page is damaged.
    for (let at = bytes.length - 5000 * dimension * 4; at < bytes.length; at += 4096) bytes[at]! ^= 1
    await writeFile(join(folder, name), bytes)
  }
  source.counts.pull = 0
  await expect(ask(cache, source.collection(), query)).rejects.toMatchObject({ code: 'LG_CORRUPT' })
  let answer: unknown = null
  for (let attempt = 0; answer === null && attempt < 5; attempt++)
    answer = await ask(cache, source.collection(), query).then(idsAndDistances, () => null)
  expect(answer).toEqual(bruteForce(source, query))
  expect(source.counts.pull).toBeGreaterThan(0)
  expect(statisticsOf(cache, source).segmentsDiscarded).toBe(source.counts.pull)
  expect(warnings).toContain('segment file is not usable; it is rebuilt from the source')
})
