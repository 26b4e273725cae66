/** index = "hnsw": what the graph answers, and what it never does. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { CodebookShelf, type PlacedCodebook } from '../../src/cache/codebook-shelf.js'
import type { KernelExecutor } from '../../src/cache/executor.js'
import { chooseSearch } from '../../src/cache/hnsw/calibration.js'
import type { CacheEvent } from '../../src/cache/vector-cache.js'
import { distance } from '../../src/core/metric.js'
import { type Predicate, parsePredicate } from '../../src/core/predicate.js'
import { openPool } from '../../src/federation/pool.js'
import {
  addFile,
  askTarget,
  buildGraph,
  clusteredRowsMin,
  collectionOf,
  dimension,
  graphOf,
  nearest,
  queries,
  recallOf,
  sourceOf,
} from './graph-fixture.js'
import { ask, bruteForce, fresh, idsAndDistances, openCache } from './open-cache.js'

const filterOf = (filter: unknown): Predicate => parsePredicate(filter, 'filter')

test('a graph answers targets with our distances in our order; its recall is measured and kept', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([2000, 1000])
  const collection = collectionOf(source)
  const events: CacheEvent[] = []
  cache.subscribe((event) => events.push(event))
  const graph = await buildGraph(cache, collection)
  expect(graph).toMatchObject({ state: 'ready', rows: 3000, building: null, lastError: null, answered: 0, left: 1 })
  expect(events.filter(({ kind }) => kind === 'graph-built')).toMatchObject([{ rows: 3000 }])
  expect(graph.calibration).toMatchObject({ queries: 150, rows: 3000 })
  for (const vector of queries) {
    const answer = await askTarget(cache, collection, vector)
    expect(answer.contract).toEqual({ kind: 'target', recall: 0.9 })
    const all = new Map(nearest(source, vector, 3000).map(({ id, distance }) => [id, distance]))
    expect(answer.hits.map((hit) => hit.distance)).toEqual(answer.hits.map(({ id }) => all.get(id as bigint)))
    expect(answer.hits.map((hit) => hit.distance)).toEqual(
      answer.hits.map((hit) => hit.distance).toSorted((a, b) => a - b),
    )
  }
  expect(graphOf(cache, collection)).toMatchObject({ answered: queries.length, left: 1 })
  expect(await recallOf(cache, source, collection, { recall: 0.9, k: 10 })).toBeGreaterThanOrEqual(0.9)
  expect(await recallOf(cache, source, collection, { recall: 0.99, k: 50 })).toBeGreaterThanOrEqual(0.99)
})

test('the codebook stays in place while recall is measured, whatever is trained meanwhile', async () => {
  const added = vi.spyOn(CodebookShelf.prototype, 'add')
  const pool = openPool({ workers: 0 })
  onTestFinished(async () => {
    added.mockRestore()
    await pool.close()
  })
  const pins: number[] = []
  const executor: KernelExecutor = {
    workers: 0,
    scratchSlots: pool.scratchSlots,
    encode: (job, options) => pool.encode(job, options),
    beginScan: () => null,
    scanAtOnce: () => null,
    scan(job, options) {
      const placed = added.mock.results.map(({ value }) => value as PlacedCodebook)
      pins.push(placed.reduce((sum, codebook) => sum + codebook.pins, 0))
      return pool.scan(job, options)
    },
    train: (job, options) => pool.train(job, options),
    compare: (work, options) => pool.compare(work, options),
    forget: (arenaId) => pool.forget(arenaId),
    close: () => pool.close(),
  }
  const { cache } = await openCache({ clusteredRowsMin, executor })
  const collection = collectionOf(sourceOf([2000]), 'flat')
  await askTarget(cache, collection, queries[0]!)
  await cache.settled()
  pins.length = 0
  const { calibration } = await buildGraph(cache, { ...collection, index: 'hnsw' })
  expect(pins.length).toBeGreaterThan(calibration!.queries)
  expect(pins.slice(-calibration!.queries)).not.toContain(0)
})

test('recall is measured on rows that are left when every other one is deleted', async () => {
  const source = sourceOf([4000])
  const ordinals = Uint32Array.from({ length: 2000 }, (_, i) => 2 * i)
  source.files.set('file 0', { ...source.files.get('file 0')!, deleted: { identity: 'm', ordinals } })
  const { cache } = await openCache({ clusteredRowsMin })
  const collection = collectionOf(source)
  expect((await buildGraph(cache, collection)).calibration).toMatchObject({ queries: 200 })
  for (const vector of queries) await askTarget(cache, collection, vector)
  expect(graphOf(cache, collection).answered).toBeGreaterThan(queries.length / 2)
})

test('law 6: an exact or certified contract is never answered by the graph', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([2500])
  const collection = collectionOf(source)
  const { left } = await buildGraph(cache, collection)
  for (const vector of queries) {
    const answer = await ask(cache, collection, vector)
    expect(answer.contract).toEqual({ kind: 'exact' })
    expect(idsAndDistances(answer)).toEqual(bruteForce(source, vector))
  }
  const pinned = await cache.pin(collection, fresh, { signal: new AbortController().signal })
  const contract = { kind: 'certified', missProbability: 1e-9 } as const
  const query = { vector: queries[0]!, k: 10, contract, filter: null, distanceMax: Number.POSITIVE_INFINITY }
  const answer = await pinned.search(query, { signal: new AbortController().signal })
  expect(['exact', 'certified']).toContain(answer.contract.kind)
  pinned.release()
  expect(graphOf(cache, collection)).toMatchObject({ answered: 0, left })
})

test('what was not measured to be reached is left to the scan: a recall, and a depth', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([2500])
  const collection = collectionOf(source)
  const { left } = await buildGraph(cache, collection)
  expect((await askTarget(cache, collection, queries[0]!, { recall: 0.999_999 })).hits).toHaveLength(10)
  expect((await askTarget(cache, collection, queries[0]!, { k: 101 })).hits).toHaveLength(101)
  expect(graphOf(cache, collection)).toMatchObject({ answered: 0, left: left + 2 })
})

test('a query farther from all rows than those that recall was measured with is left to the scan', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([2500])
  const collection = collectionOf(source)
  const { left } = await buildGraph(cache, collection)
  const vector = new Float32Array(dimension).fill(50)
  const { hits } = await askTarget(cache, collection, vector)
  expect(hits.map(({ id }) => id)).toEqual(nearest(source, vector, 10).map(({ id }) => id))
  expect(graphOf(cache, collection)).toMatchObject({ answered: 0, left: left + 1 })
})

test('scans answer while the graph is built', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([6000])
  const collection = collectionOf(source)
  await askTarget(cache, collection, queries[0]!)
  while (graphOf(cache, collection).state !== 'building') await new Promise(setImmediate)
  const answer = await askTarget(cache, collection, queries[1]!)
  expect(answer.hits).toHaveLength(10)
  expect(graphOf(cache, collection)).toMatchObject({
    state: 'building',
    rows: 0,
    left: 2,
    building: { rowsTotal: 6000 },
  })
  // Who shuts down does not wait for it.
  await cache.stored()
  expect(graphOf(cache, collection).state).toBe('building')
  await cache.settled()
  expect(graphOf(cache, collection)).toMatchObject({ state: 'ready', rows: 6000 })
})

test('a filter that passes enough is answered by the graph, a selective one by the scan; neither returns other rows', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([3000])
  const collection = collectionOf(source)
  await buildGraph(cache, collection)
  const half = filterOf({ tens: { lt: 5 } })
  const tenth = filterOf({ tens: 3 })
  const before = graphOf(cache, collection)
  for (const vector of queries) {
    const { hits } = await askTarget(cache, collection, vector, { filter: half })
    expect(hits).toHaveLength(10)
    for (const { id } of hits) expect((id as bigint) % 10n).toBeLessThan(5n)
  }
  expect(graphOf(cache, collection).answered).toBeGreaterThan(before.answered + queries.length / 2)
  const between = graphOf(cache, collection)
  for (const vector of queries) {
    const { hits } = await askTarget(cache, collection, vector, { filter: tenth })
    expect(hits).toHaveLength(10)
    for (const { id } of hits) expect((id as bigint) % 10n).toBe(3n)
  }
  expect(graphOf(cache, collection)).toMatchObject({ answered: between.answered, left: between.left + queries.length })
})

test('a filter that passes only far rows finds them all the same', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([3000])
  const file = source.files.get('file 0')!
  const [query] = queries
  // The farther half of the rows is named 0, the nearer half 9.
  const far = new Set(
    nearest(source, query!, 3000)
      .slice(1500)
      .map(({ id }) => id),
  )
  source.files.set('file 0', { ...file, cells: [Array.from(file.ids, (id) => (far.has(id as bigint) ? 0n : 9n))] })
  const collection = collectionOf(source)
  await buildGraph(cache, collection)
  const before = graphOf(cache, collection)
  const { hits } = await askTarget(cache, collection, query!, { filter: filterOf({ tens: 0 }) })
  const true10 = new Set(nearest(source, query!, 10, (id) => far.has(id)).map(({ id }) => id))
  expect(hits.filter(({ id }) => true10.has(id as bigint)).length).toBeGreaterThanOrEqual(8)
  expect(graphOf(cache, collection)).toMatchObject({ answered: before.answered, left: before.left + 1 })
})

test('rows that the filter leaves out lie thick around the query: the graph is asked deeper', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([3000])
  const file = source.files.get('file 0')!
  const [query] = queries
  const out = new Set(nearest(source, query!, 12).map(({ id }) => id))
  source.files.set('file 0', { ...file, cells: [Array.from(file.ids, (id) => (out.has(id as bigint) ? 1n : 0n))] })
  const collection = collectionOf(source)
  const { calibration, answered } = await buildGraph(cache, collection)
  const { hits, rowsScanned } = await askTarget(cache, collection, query!, { filter: filterOf({ tens: 0 }) })
  for (const { id } of hits) expect(out).not.toContain(id)
  // The tenth that passes is the 22nd of all: deeper than for 20, less deep than for 50.
  expect(rowsScanned).toBe(chooseSearch(calibration!, 50, 0.9)!.candidates)
  expect(rowsScanned).toBeGreaterThan(chooseSearch(calibration!, 20, 0.9)!.candidates)
  expect(graphOf(cache, collection).answered).toBe(answered + 1)
})

test('no row farther than wanted, also where a filter leaves nearer ones out', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([3000])
  const collection = collectionOf(source)
  const { answered } = await buildGraph(cache, collection)
  for (const vector of queries) {
    const within = nearest(source, vector, 8)
    const distanceMax = within.at(-1)!.distance
    const { hits } = await askTarget(cache, collection, vector, { distanceMax, recall: 0.99 })
    expect(hits.length).toBeGreaterThanOrEqual(7)
    const even = filterOf({ tens: { in: [0, 2, 4, 6, 8] } })
    const filtered = await askTarget(cache, collection, vector, { distanceMax, recall: 0.99, filter: even })
    expect(filtered.hits.length).toBeLessThanOrEqual(within.filter(({ id }) => id % 2n === 0n).length)
    for (const hit of [...hits, ...filtered.hits]) expect(hit.distance).toBeLessThanOrEqual(distanceMax)
    for (const { id } of filtered.hits) expect((id as bigint) % 2n).toBe(0n)
  }
  expect(graphOf(cache, collection).answered).toBeGreaterThan(answered + queries.length)
})

test('law 3: rows of equal distance are in the order of their ids, not of the graph', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([3000])
  const file = source.files.get('file 0')!
  const [query] = queries
  // The later a row, the lower its id.
  const ids = BigInt64Array.from(file.ids as BigInt64Array, (id) => 2999n - id)
  const twins = [100, 900, 1700, 2500, 2900]
  for (const row of twins) file.vectors.set(query!, row * dimension)
  source.files.set('file 0', { ...file, ids })
  const collection = collectionOf(source)
  const { answered } = await buildGraph(cache, collection)
  const { hits } = await askTarget(cache, collection, query!)
  expect(hits.slice(0, 5).map(({ id }) => id)).toEqual([99n, 499n, 1299n, 2099n, 2899n])
  expect(graphOf(cache, collection).answered).toBe(answered + 1)
})

test('law 7: deleted rows and rows of parts that left are not returned, also before the graph is renewed', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([2000, 1600])
  const collection = collectionOf(source)
  await buildGraph(cache, collection)
  for (const vector of queries) {
    const [nearestRow] = nearest(source, vector, 1)
    const name = nearestRow!.id < 2000n ? 'file 0' : 'file 1'
    const file = source.files.get(name)!
    const row = Number(nearestRow!.id) - (name === 'file 0' ? 0 : 2000)
    const ordinals = Uint32Array.from([...(file.deleted?.ordinals ?? []), row]).sort()
    source.files.set(name, { ...file, deleted: { identity: `deleted ${ordinals.length}`, ordinals } })
    const { hits } = await askTarget(cache, collection, vector)
    expect(hits.map(({ id }) => id)).not.toContain(nearestRow!.id)
    expect(hits).toHaveLength(10)
  }
  expect(graphOf(cache, collection).answered).toBeGreaterThan(queries.length / 2)
  source.files.delete('file 1')
  for (const vector of queries) {
    const { hits } = await askTarget(cache, collection, vector)
    expect(hits).toHaveLength(10)
    for (const { id } of hits) expect(id).toBeLessThan(2000n)
  }
  // Nearly half of the graph was of the part that left.
  await cache.settled()
  expect(graphOf(cache, collection)).toMatchObject({ state: 'ready', rows: 2000 })
})

test('rows of a new part are found at once, scanned beside the graph, and then added to it', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const source = sourceOf([3000])
  const collection = collectionOf(source)
  await buildGraph(cache, collection)
  addFile(source, 'file 1', 1200, 3000)
  const [query] = queries
  source.files.get('file 1')!.vectors.set(query!, 17 * dimension)
  const before = graphOf(cache, collection)
  const { hits } = await askTarget(cache, collection, query!)
  expect(hits[0]).toMatchObject({ id: 3017n, distance: 0, part: 'file 1 1' })
  expect(graphOf(cache, collection)).toMatchObject({ rows: 3000, answered: before.answered + 1 })
  await cache.settled()
  expect(graphOf(cache, collection)).toMatchObject({ state: 'ready', rows: 4200, calibration: { rows: 4200 } })
  expect((await askTarget(cache, collection, query!)).hits[0]).toMatchObject({ id: 3017n, distance: 0 })
  expect(await recallOf(cache, source, collection, { recall: 0.9, k: 10 })).toBeGreaterThanOrEqual(0.9)
})

test('every metric, with zero vectors and huge ones among the rows', async () => {
  for (const metric of ['l2', 'cosine', 'dot'] as const) {
    const { cache } = await openCache({ clusteredRowsMin })
    const source = sourceOf([2000], metric)
    const { vectors } = source.files.get('file 0')!
    vectors.fill(0, 0, 20 * dimension)
    vectors.fill(3e18, 20 * dimension, 22 * dimension)
    const collection = collectionOf(source)
    expect(await buildGraph(cache, collection)).toMatchObject({ state: 'ready', rows: 2000 })
    for (const vector of queries) {
      const { hits } = await askTarget(cache, collection, vector)
      expect(hits).toHaveLength(10)
      for (const hit of hits) {
        const row = Number(hit.id)
        expect(hit.distance).toBe(distance(metric, vector, vectors.subarray(row * dimension, (row + 1) * dimension)))
      }
    }
  }
})

test('too few rows get no graph, and another index none either; "flat" is never trained', async () => {
  const { cache } = await openCache({ clusteredRowsMin })
  const small = collectionOf(sourceOf([500]))
  expect(await buildGraph(cache, small)).toMatchObject({ state: 'none', rows: 0, lastError: null })
  const flat = { ...collectionOf(sourceOf([3000]), 'flat'), ref: { ...small.ref, collection: 'flat' } }
  await askTarget(cache, flat, queries[0]!)
  await cache.settled()
  expect(cache.collectionStatistics(flat.ref)).toMatchObject({ index: { kind: 'flat' }, graph: null })
  const auto = { ...collectionOf(sourceOf([3000]), 'auto'), ref: { ...small.ref, collection: 'auto' } }
  await askTarget(cache, auto, queries[0]!)
  await cache.settled()
  expect(cache.collectionStatistics(auto.ref)).toMatchObject({ index: { kind: 'clustered' }, graph: null })
})
