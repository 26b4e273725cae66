/** What a graph leaves on disk, and what becomes of it when files, threads or memory fail. */
import { once } from 'node:events'
import { open, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { FileSystem } from '../../src/cache/file-system.js'
import { nodeFileSystem } from '../../src/cache/file-system.js'
import { graphBytes } from '../../src/cache/hnsw/graph.js'
import { sealGraphFile, verifyGraphFile } from '../../src/cache/hnsw/graph-file.js'
import type { CachedCollection, CacheEvent } from '../../src/cache/vector-cache.js'
import { startedThreads } from '../started-threads.js'
import {
  askTarget,
  buildGraph,
  clusteredRowsMin,
  collectionOf,
  dimension,
  graphOf,
  nearest,
  queries,
  sourceOf,
} from './graph-fixture.js'
import { ManualClock, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import type { ScriptedSource } from './scripted-source.js'

/** Files of the only collection whose name passes. */
async function filesIn(directory: string, passes: (name: string) => boolean): Promise<string[]> {
  const names = await readdir(directory, { recursive: true })
  return names.filter(passes).map((name) => join(directory, name))
}

const graphPath = async (directory: string): Promise<string> =>
  (await filesIn(directory, (name) => name.endsWith('.graph')))[0]!

/** Builds a graph and closes once everything is on disk. */
async function leaveBehind(directory: string, source: ScriptedSource): Promise<void> {
  const { cache } = await openCache({ directory, clusteredRowsMin })
  await buildGraph(cache, collectionOf(source))
  await cache.close()
}

/** Asks every query and sees the nearest row in the answer. */
async function expectAnswers(
  cache: Parameters<typeof askTarget>[0],
  source: ScriptedSource,
  collection: CachedCollection,
): Promise<void> {
  let found = 0
  for (const vector of queries) {
    const { hits } = await askTarget(cache, collection, vector)
    expect(hits).toHaveLength(10)
    const ids = new Set(hits.map(({ id }) => id))
    found += nearest(source, vector, 10).filter(({ id }) => ids.has(id)).length
  }
  expect(found / (10 * queries.length)).toBeGreaterThanOrEqual(0.9)
}

test('law 10: a restart reads the graph back, with the recall it was measured to have', async () => {
  const directory = await scratchDirectory()
  const source = sourceOf([2000, 1000])
  const { cache: before } = await openCache({ directory, clusteredRowsMin })
  const built = await buildGraph(before, collectionOf(source))
  await before.close()
  const { cache, warnings } = await openCache({ directory, clusteredRowsMin })
  const events: CacheEvent[] = []
  cache.subscribe((event) => events.push(event))
  const collection = collectionOf(source)
  const found = await buildGraph(cache, collection)
  expect(found).toEqual({ ...built, answered: 0, left: 1 })
  expect(events.filter(({ kind }) => kind === 'graph-built')).toEqual([])
  expect(warnings).toEqual([])
  await expectAnswers(cache, source, collection)
  expect(graphOf(cache, collection).answered).toBe(queries.length)
})

test.each([
  ['a vector', (bytes: Buffer) => flip(bytes, 100)],
  ['an edge', (bytes: Buffer) => flip(bytes, Math.floor(bytes.length * 0.6))],
  ['the description', (bytes: Buffer) => flip(bytes, bytes.length - 100)],
  ['the checksum', (bytes: Buffer) => flip(bytes, bytes.length - 10)],
  ['the format version', (bytes: Buffer) => flip(bytes, bytes.length - 24)],
  ['the end cut off', (bytes: Buffer) => bytes.subarray(0, bytes.length - 1)],
  ['half of it', (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
  ['nothing', () => Buffer.alloc(0)],
])('law 10: a graph file with a fault in %s is discarded and built again', async (_, damage) => {
  const directory = await scratchDirectory()
  const source = sourceOf([2000])
  await leaveBehind(directory, source)
  const path = await graphPath(directory)
  await writeFile(path, damage(await readFile(path)))
  const { cache, warnings } = await openCache({ directory, clusteredRowsMin })
  const collection = collectionOf(source)
  expect(await buildGraph(cache, collection)).toMatchObject({ state: 'ready', rows: 2000, lastError: null })
  expect(warnings).toEqual(['graph file is not usable; it is built again'])
  await expectAnswers(cache, source, collection)
  await cache.close()
  expect(verifyGraphFile(await graphPath(directory))).toContain('"metric":"l2"')
})

function flip(bytes: Buffer, at: number): Buffer {
  const flipped = Buffer.from(bytes)
  flipped[at]! ^= 1
  return flipped
}

test('a graph that usearch saved only in part is not sealed', async () => {
  const directory = await scratchDirectory()
  await leaveBehind(directory, sourceOf([2000]))
  const path = await graphPath(directory)
  const { size } = await stat(path)
  const file = await open(path, 'r')
  const closing = Buffer.alloc(32)
  await file.read(closing, 0, 32, size - 32)
  await file.close()
  const graph = Number(closing.readBigUInt64LE(24))
  for (const bytes of [graph - 1, graph >> 1, 100, 4]) {
    await truncate(path, bytes)
    expect(() => sealGraphFile(path, '{}')).toThrow(/is not all of it/)
  }
})

test('kill -9 while a graph is written: what was being written goes, the one before is read', async () => {
  const directory = await scratchDirectory()
  const source = sourceOf([2000])
  await leaveBehind(directory, source)
  const path = await graphPath(directory)
  await writeFile(`${path}.tmp-1-2`, (await readFile(path)).subarray(0, 5000))
  const { cache, warnings } = await openCache({ directory, clusteredRowsMin })
  const collection = collectionOf(source)
  expect(await buildGraph(cache, collection)).toMatchObject({ state: 'ready', rows: 2000 })
  expect(warnings).toEqual([])
  expect(await filesIn(directory, (name) => name.includes('.tmp-'))).toEqual([])
})

test('a graph that cannot be put on disk stays in memory; nothing half-written is left', async () => {
  const directory = await scratchDirectory()
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    rename: (from, to) =>
      String(to).endsWith('.graph')
        ? Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC', syscall: 'rename' }))
        : nodeFileSystem.rename(from, to),
  }
  const source = sourceOf([2000])
  const collection = collectionOf(source)
  const { cache, warnings } = await openCache({ directory, clusteredRowsMin, fileSystem })
  expect(await buildGraph(cache, collection)).toMatchObject({ state: 'ready', lastError: null })
  expect(warnings).toEqual(['graph file could not be written; the graph stays in memory only'])
  expect(await filesIn(directory, (name) => name.includes('.graph'))).toEqual([])
  await expectAnswers(cache, source, collection)
})

test('law 11: a graph larger than the disk budget stays in memory, and its bytes count when it fits', async () => {
  const source = sourceOf([2000])
  const collection = collectionOf(source)
  const small = await openCache({ directory: await scratchDirectory(), clusteredRowsMin, diskBytesMax: 100_000 })
  expect(await buildGraph(small.cache, collection)).toMatchObject({ state: 'ready' })
  expect(small.warnings).toContain('graph file could not be written; the graph stays in memory only')
  expect(small.cache.statistics().diskBytes).toBeLessThanOrEqual(100_000)
  const directory = await scratchDirectory()
  const { cache } = await openCache({ directory, clusteredRowsMin })
  await buildGraph(cache, collection)
  const sizes = (await filesIn(directory, (name) => /\.(graph|segment)$/.test(name))).map((path) => stat(path))
  const onDisk = (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0)
  expect(cache.statistics().diskBytes).toBe(onDisk)
})

test('a thread that dies is told of; scans answer, and the graph comes back from disk', async () => {
  const threads = startedThreads()
  const clock = new ManualClock()
  const source = sourceOf([2000])
  const collection = collectionOf(source)
  const { cache } = await openCache({ directory: await scratchDirectory(), clusteredRowsMin, clock })
  const events: CacheEvent[] = []
  cache.subscribe((event) => events.push(event))
  const { bytes } = await buildGraph(cache, collection)
  const committed = cache.statistics().memoryBytes
  const [thread] = threads
  const exit = once(thread!, 'exit')
  const asked = Promise.all(queries.map((vector) => askTarget(cache, collection, vector)))
  void thread!.terminate()
  for (const { hits } of await asked) expect(hits).toHaveLength(10)
  await exit
  const lost = graphOf(cache, collection)
  expect(lost).toMatchObject({ state: 'none', rows: 0, bytes: 0, lastError: { code: 'LG_INTERNAL' } })
  expect(cache.statistics().memoryBytes).toBe(committed - bytes)
  expect(events.filter(({ kind }) => kind === 'index-failed')).toHaveLength(1)
  await expectAnswers(cache, source, collection)
  expect(graphOf(cache, collection).answered).toBe(lost.answered)
  clock.ms += 10_000
  expect(await buildGraph(cache, collection)).toMatchObject({ state: 'ready', rows: 2000, lastError: null })
  expect(events.filter(({ kind }) => kind === 'graph-built')).toHaveLength(1)
})

test('a thread that dies while it builds costs the build, which is tried again', async () => {
  const threads = startedThreads()
  const clock = new ManualClock()
  const source = sourceOf([5000])
  const collection = collectionOf(source)
  const { cache } = await openCache({ clusteredRowsMin, clock })
  await askTarget(cache, collection, queries[0]!)
  while (graphOf(cache, collection).state !== 'building') await new Promise(setImmediate)
  await threads[0]!.terminate()
  await cache.settled()
  const failed = graphOf(cache, collection)
  expect(failed).toMatchObject({ state: 'none', bytes: 0, lastError: { code: 'LG_INTERNAL' } })
  clock.ms += 10_000
  expect(await buildGraph(cache, collection)).toMatchObject({ state: 'ready', rows: 5000 })
})

test('law 11: without room there is no graph; it says why and answers come from scans', async () => {
  const source = sourceOf([3000])
  const collection = collectionOf(source)
  const memoryBytesMax = 1_900_000
  const { cache } = await openCache({ clusteredRowsMin, memoryBytesMax })
  const graph = await buildGraph(cache, collection)
  expect(cache.statistics().memoryBytes + graphBytes(3000, dimension)).toBeGreaterThan(memoryBytesMax)
  expect(graph).toMatchObject({ state: 'none', bytes: 0, lastError: { code: 'LG_OVER_BUDGET' } })
  expect(graph.lastError!.message).toMatch(/^cache\.memory: \d+ more bytes outside arenas are not free/)
  await expectAnswers(cache, source, collection)
})

test('law 11: a graph gives its memory to a build that needs it; targets are scanned for from then on', async () => {
  const source = sourceOf([3000])
  const collection = collectionOf(source)
  const memoryBytesMax = 2_700_000
  const { cache } = await openCache({ clusteredRowsMin, memoryBytesMax })
  await buildGraph(cache, collection)
  expect(graphOf(cache, collection)).toMatchObject({ state: 'ready' })
  const other = { ...collectionOf(sourceOf([10_000]), 'flat'), ref: { ...collection.ref, collection: 'other' } }
  expect((await askTarget(cache, other, queries[0]!)).hits).toHaveLength(10)
  await cache.settled()
  expect(cache.statistics().memoryBytes).toBeLessThanOrEqual(memoryBytesMax)
  expect(graphOf(cache, collection)).toMatchObject({ state: 'none', bytes: 0, lastError: { code: 'LG_OVER_BUDGET' } })
  await expectAnswers(cache, source, collection)
})

test('a collection that is invalidated or asks for another index leaves no graph behind', async () => {
  const directory = await scratchDirectory()
  const source = sourceOf([2000])
  const collection = collectionOf(source)
  const { cache } = await openCache({ directory, clusteredRowsMin })
  await buildGraph(cache, collection)
  await cache.invalidate(collection.ref)
  await cache.settled()
  expect(await filesIn(directory, (name) => name.endsWith('.graph'))).toEqual([])
  await buildGraph(cache, collection)
  await cache.close()
  expect(await filesIn(directory, (name) => name.endsWith('.graph'))).toHaveLength(1)
  const { cache: again, warnings } = await openCache({ directory, clusteredRowsMin })
  await askTarget(again, collectionOf(source, 'auto'), queries[0]!)
  await again.settled()
  expect(again.collectionStatistics(collection.ref).graph).toBeNull()
  expect(await filesIn(directory, (name) => name.endsWith('.graph'))).toEqual([])
  expect(warnings).toEqual([])
})
