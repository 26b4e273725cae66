import { expect, test } from 'vitest'
import { GatewayError } from '../../src/core/errors.js'
import { backendId } from '../../src/core/generation.js'
import type { Gateway, GatewayEvent } from '../../src/federation/gateway.js'
import type { Query } from '../../src/federation/query.js'
import { clock, idle, parseName, query, scriptedGateway, settled, sourceConfig } from './scripted-cache.js'

const options = { signal: idle }
const down = new GatewayError('LG_SOURCE_UNAVAILABLE', 'the bucket is away')
const mistake = new GatewayError('LG_INVALID_REQUEST', 'vector: two candidates')
const ask = (gateway: Gateway, ...names: string[]) =>
  gateway.search(query(names.length === 0 ? {} : { collections: names.map(parseName) }), options)
const x = { name: 'a/x', rows: [{ id: 1n, vector: [1, 0] }] }
const y = { name: 'b/y', rows: [{ id: 2n, vector: [2, 0] }] }

test('law 5: a source that cannot list is named in answers of all, and takes part when it lists again', async () => {
  let state: 'down' | 'up' = 'down'
  const b = async (): Promise<void> => {
    if (state === 'down') throw down
  }
  const { gateway, cache } = await scriptedGateway([x, y], { listings: { b } })
  expect(gateway.sources()).toMatchObject([
    { backend: 'local', error: null },
    { backend: 'a', error: null },
    { backend: 'b', error: { code: 'LG_SOURCE_UNAVAILABLE', message: 'the bucket is away' } },
  ])
  const partial = await ask(gateway)
  expect(partial.receipt).toMatchObject({ complete: false })
  expect(partial.receipt!.sources[1]).toMatchObject({ backend: 'b', collection: '*', status: 'failed' })
  await expect(ask(gateway, 'b/y')).rejects.toBe(down)

  state = 'up'
  expect((await ask(gateway)).receipt!.complete).toBe(false)
  expect(cache.adapters.get('b')!.listed).toBe(1)
  clock.nowMs += 60_000
  await ask(gateway) // does not wait for the source, but makes it list
  await settled()
  expect((await ask(gateway)).receipt!.complete).toBe(true)
  expect(gateway.sources()[2]).toMatchObject({ error: null })
})

test('a failed source is waited for when nothing else was asked', async () => {
  let state: 'down' | 'up' = 'down'
  const b = async (): Promise<void> => {
    if (state === 'down') throw down
  }
  const { gateway } = await scriptedGateway([x, y], { listings: { b } })
  state = 'up'
  clock.nowMs += 60_000
  expect((await ask(gateway, 'b/y')).results).toHaveLength(1)
})

test('what pulls need is loaded with a listing, unless the cache holds all that is listed', async () => {
  const restarted = { ...y, diskBytes: 1 }
  const { gateway, cache } = await scriptedGateway([x, restarted])
  expect(cache.adapters.get('a')!.prepared).toBe(1)
  expect(cache.adapters.get('b')!.prepared).toBe(0)
  cache.collections.set('b/new', { name: 'b/new', rows: [] })
  await gateway.refresh(parseName('b/y'), options)
  expect(cache.adapters.get('b')!.prepared).toBe(1)
})

test('a mistake in a source is refused and leaves nothing behind', async () => {
  const { gateway, cache } = await scriptedGateway([x], { listings: { b: () => Promise.reject(mistake) } })
  await expect(gateway.addSource(sourceConfig('b'), options)).rejects.toBe(mistake)
  expect(cache.adapters.get('b')!.closed).toBe(true)
  expect(gateway.sources().map((source) => source.backend)).toEqual(['local', 'a'])
  expect(gateway.ready()).toBe(true)
})

test('sources come and go while running; a name that is taken gets a suffix', async () => {
  const { gateway, cache } = await scriptedGateway([x])
  const events: GatewayEvent[] = []
  gateway.subscribe((event) => events.push(event))
  cache.collections.set('b/y', y)
  cache.collections.set('a-2/x', { name: 'a-2/x', rows: [{ id: 3n, vector: [3, 0] }] })
  await gateway.addSource(sourceConfig('b'), options)
  expect(await gateway.addSource(sourceConfig('a'), options)).toMatchObject({ backend: 'a-2', kind: 'scripted' })
  expect((await ask(gateway)).results.map((result) => result.backend)).toEqual(['a', 'b', 'a-2'])

  await gateway.removeSource(backendId('b'), options)
  expect((await ask(gateway)).results.map((result) => result.backend)).toEqual(['a', 'a-2'])
  await expect(ask(gateway, 'b/y')).rejects.toMatchObject({ code: 'LG_COLLECTION_NOT_FOUND' })
  expect(cache.adapters.get('b')!.closed).toBe(true)
  expect(cache.invalidated).toEqual(['b/y'])
  expect(events).toEqual([
    { kind: 'source-added', backend: 'b' },
    { kind: 'source-added', backend: 'a-2' },
    { kind: 'source-removed', backend: 'b' },
  ])
  await expect(gateway.removeSource(backendId('b'), options)).rejects.toMatchObject({ code: 'LG_NOT_FOUND' })
  await expect(gateway.removeSource(backendId('local'), options)).rejects.toMatchObject({ code: 'LG_CONFLICT' })
})

test('a source of no kind is of the kind that its uri is', async () => {
  const { gateway } = await scriptedGateway([x], { detectKind: async (uri) => (uri === 'b.parquet' ? 'parquet' : '') })
  const source = { ...sourceConfig('b'), kind: null }
  expect(await gateway.addSource({ ...source, uri: 'b.parquet' }, options)).toMatchObject({ kind: 'parquet' })
  await expect(gateway.addSource({ ...source, uri: null }, options)).rejects.toMatchObject({ field: 'uri' })
})

test('a source of no kind whose uri is not there is the request at fault', async () => {
  const { gateway } = await scriptedGateway([x], { detectKind: () => Promise.reject(down) })
  const request = gateway.addSource({ ...sourceConfig('b'), kind: null, uri: 'b.parquet' }, options)
  await expect(request).rejects.toMatchObject({ code: 'LG_INVALID_REQUEST', field: 'uri', cause: down })
})

test.each(['a/b', '*', '..', 'a\nb', '\ud800', ''])('a source cannot be called %j', async (name) => {
  const { gateway } = await scriptedGateway([x])
  await expect(gateway.addSource(sourceConfig(name), options)).rejects.toMatchObject({
    code: 'LG_INVALID_REQUEST',
    field: 'name',
  })
  expect(gateway.sources()).toHaveLength(2)
})

test('a collection that appeared since the listing is found by its name, and the source is not asked without end', async () => {
  const { gateway, cache } = await scriptedGateway([x])
  cache.collections.set('a/new', { name: 'a/new', rows: [{ id: 9n, vector: [9, 0] }] })
  clock.nowMs += 1000
  expect((await ask(gateway, 'a/new')).results).toHaveLength(1)
  const { listed } = cache.adapters.get('a')!
  for (let i = 0; i < 3; i++)
    await expect(ask(gateway, 'a/none')).rejects.toMatchObject({ code: 'LG_COLLECTION_NOT_FOUND' })
  expect(cache.adapters.get('a')!.listed).toBe(listed)
})

test('a source that stops listing keeps the collections it had', async () => {
  let failing = false
  const a = async (): Promise<void> => {
    if (failing) throw down
  }
  const { gateway } = await scriptedGateway([x], { listings: { a } })
  failing = true
  await expect(gateway.refresh(parseName('a/x'), options)).rejects.toBe(down)
  expect(gateway.sources()[1]).toMatchObject({ error: { code: 'LG_SOURCE_UNAVAILABLE' } })
  expect((await ask(gateway)).results).toHaveLength(1)
})

test('explain names route, state and stages, and primes nothing', async () => {
  const { gateway, cache } = await scriptedGateway([x, { ...y, freshness: 'remote', state: 'ready' }])
  const plan = await gateway.explain(query({ recall: { kind: 'certified', missProbability: 1e-6 } }), options)
  expect(plan).toMatchObject({ contract: 'certified, miss probability at most 0.000001', deadlineMs: 10_000 })
  expect(plan.shards).toMatchObject([
    { ref: parseName('a/x'), route: 'cache', state: 'cold', consistency: 'fresh', partsMissing: null },
    { ref: parseName('b/y'), state: 'ready', consistency: 'ttl 5000 ms', partsMissing: 0, rows: 1, dimension: 2 },
  ])
  expect(plan.shards[0]!.reason).toContain('scripted')
  expect(plan.shards[0]!.stages.join('; ')).toContain('pull')
  expect(plan.shards[1]!.stages.join('; ')).not.toContain('pull')
  expect(cache.pins).toBe(0)
})

test('explain says how contracts are answered with the least work, as was measured', async () => {
  const tuning = {
    atMs: 0,
    rows: 10_000,
    segments: 1,
    queries: 300,
    costs: [
      { first: 'prefix', us: 20 },
      { first: 'bytes', us: 50 },
    ],
    recalls: [{ k: 10, distanceMax: 1, points: [{ gap: 0.25, recall: 0.9 }] }],
    targets: [
      {
        k: 10,
        recall: 0.9,
        ways: [
          { first: 'prefix', leavesClusters: true, us: 10 },
          { first: 'prefix', leavesClusters: false, us: 20 },
        ],
      },
    ],
    gaps: [],
  } as const
  const { gateway } = await scriptedGateway([{ ...x, state: 'ready', tuning }])
  const searchStage = async (recall: Query['recall']) =>
    (await gateway.explain(query({ recall, k: 10 }), options)).shards[0]!.stages.find((stage) =>
      stage.includes('search'),
    )
  expect(await searchStage({ kind: 'certified', missProbability: 1e-6 })).toBe(
    'search: certified, miss probability at most 0.000001 (prefixes first, proven; measured on 300 held-out rows)',
  )
  expect(await searchStage({ kind: 'target', recall: 0.9 })).toBe(
    'search: target recall 0.9 (prefixes first, clusters at most 0.25 farther, squared, than the nearest, expected recall 0.9; measured on 300 held-out rows)',
  )
  const products = await scriptedGateway([{ ...x, state: 'ready', tuning, metric: 'dot' }])
  const plan = await products.gateway.explain(query({ recall: { kind: 'target', recall: 0.9 }, k: 10 }), options)
  expect(plan.shards[0]!.stages.join('; ')).toContain(
    "rows of clusters at most 0.25 times the query's length behind the best, expected recall 0.9",
  )
})

test('explain says when clusters were tried and left', async () => {
  const { gateway } = await scriptedGateway([{ ...x, state: 'ready', tried: { atMs: 0, rows: 5000 } }])
  const { stages } = (await gateway.explain(query({ k: 10 }), options)).shards[0]!
  expect(stages).toContain('search all rows (clusters, tried on 5000, would rule out too few): exact')
})

test('a closed gateway refuses and has closed its sources', async () => {
  const { gateway, cache } = await scriptedGateway([x])
  await gateway.close()
  await expect(ask(gateway)).rejects.toMatchObject({ code: 'LG_OVERLOADED' })
  expect([...cache.adapters.values()].every((adapter) => adapter.closed)).toBe(true)
})
