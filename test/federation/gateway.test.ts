/** The gateway over the real cache and the local source. */
import { expect, onTestFinished, test } from 'vitest'
import { openLocal } from '../../src/adapters/local.js'
import { systemTimer } from '../../src/core/clock.js'
import type { RowId } from '../../src/core/id.js'
import { createGateway, localDefault, localSource } from '../../src/federation/create-gateway.js'
import type { Gateway, GatewayEvent } from '../../src/federation/gateway.js'
import { openCache } from '../cache/open-cache.js'
import { idle, query } from './scripted-cache.js'

const options = { signal: idle }

async function openGateway(): Promise<Gateway> {
  const { cache, clock } = await openCache()
  const gateway = createGateway({
    cache,
    openAdapter: async (config) => openLocal(config),
    detectKind: async () => 'local',
    clock,
    timer: systemTimer,
    log: { info() {}, warn() {}, error() {} },
    consistency: null,
    local: localSource,
    writable: localDefault,
  })
  onTestFinished(() => gateway.close())
  return gateway
}

const write = (gateway: Gateway, ids: readonly RowId[], vectors: readonly (readonly number[])[], metadata?: object[]) =>
  gateway.ingest(
    {
      ids,
      vectors: Float32Array.from(vectors.flat()),
      dimension: vectors[0]?.length ?? 0,
      metadata: (metadata as Readonly<Record<string, unknown>>[] | undefined) ?? null,
    },
    options,
  )
const idsOf = async (gateway: Gateway, vector: readonly number[], k = 10): Promise<readonly RowId[]> =>
  (await gateway.search(query({ vector, k }), options)).results.map((result) => result.id)

test('RVF: an empty store answers nothing; the first ingest makes the collection', async () => {
  const gateway = await openGateway()
  expect(await idsOf(gateway, [0, 0, 0, 0])).toEqual([])
  expect(await gateway.writableStatus(options)).toMatchObject({ dimension: null, totalVectors: 0, readOnly: false })
  expect(await gateway.delete([1n], options)).toEqual({ deleted: 0, epoch: 1 })

  const big = 18_446_744_073_709_551_615n
  const vectors = [
    [0, 0],
    [1, 0],
    [3, 0],
  ]
  expect(await write(gateway, [1n, big, 'three'], vectors)).toEqual({ accepted: 3, rejected: 0, epoch: 2 })
  expect(await idsOf(gateway, [0.9, 0])).toEqual([big, 1n, 'three'])
  expect(await write(gateway, [], [])).toEqual({ accepted: 0, rejected: 0, epoch: 3 })
  expect(await gateway.writableStatus(options)).toMatchObject({ dimension: 2, totalVectors: 3, currentEpoch: 3 })
  await expect(idsOf(gateway, [1, 2, 3])).rejects.toMatchObject({ code: 'LG_DIMENSION_MISMATCH', rvfCode: 0x0200 })
})

test('law 7: a deleted row is in no answer after its deletion', async () => {
  const gateway = await openGateway()
  const events: GatewayEvent[] = []
  gateway.subscribe((event) => events.push(event))
  await write(
    gateway,
    Array.from({ length: 20 }, (_, i) => BigInt(i)),
    Array.from({ length: 20 }, (_, i) => [i, 0]),
  )
  for (let i = 0; i < 20; i++) {
    expect(await idsOf(gateway, [0, 0], 1)).toEqual([BigInt(i)])
    expect(await gateway.delete([BigInt(i)], options)).toMatchObject({ deleted: 1 })
  }
  expect(await idsOf(gateway, [0, 0])).toEqual([])
  expect(events.filter((event) => event.kind === 'deleted')).toHaveLength(20)
  expect(events[0]).toEqual({ kind: 'written', ref: localDefault, rows: 20, epoch: 1 })
})

test('an emptied collection no longer stands in the way of queries of another dimension', async () => {
  const gateway = await openGateway()
  await write(gateway, [1n], [[1, 0]])
  await gateway.delete([1n], options)
  expect(await idsOf(gateway, [0, 0, 0])).toEqual([])
})

test('a row with its metadata; an id that is not there', async () => {
  const gateway = await openGateway()
  await write(
    gateway,
    ['a', 'b'],
    [
      [1, 2],
      [3, 4],
    ],
    [{ title: 'Pnin', year: 1957 }, {}],
  )
  const row = await gateway.row(localDefault, 'a', { includeVector: true }, options)
  expect(row).toMatchObject({ id: 'a', backend: 'local', collection: 'default', vector: Float32Array.of(1, 2) })
  expect(row.metadata!.map(({ name, value }) => [name, value])).toEqual([
    ['title', 'Pnin'],
    ['year', 1957n],
  ])
  const missing = gateway.row(localDefault, 'c', { includeVector: false }, options)
  await expect(missing).rejects.toMatchObject({ code: 'LG_ROW_NOT_FOUND' })
  await expect(
    gateway.search(query({ vector: [0, 0], filter: { op: 'eq', column: 'yaer', value: 1 } }), options),
  ).rejects.toMatchObject({ code: 'LG_INVALID_REQUEST' })
})

test('law 2: a full receipt is verified at its generation after the data changed', async () => {
  const gateway = await openGateway()
  await write(
    gateway,
    [1n, 2n],
    [
      [1, 0],
      [2, 0],
    ],
  )
  const { receipt } = await gateway.search(query({ vector: [0, 0], receipt: 'full' }), options)
  await write(gateway, [3n], [[0, 0]])
  expect(await idsOf(gateway, [0, 0], 1)).toEqual([3n])
  const claim = { request: receipt!.request!, digest: receipt!.digest!, sources: receipt!.sources }
  const parse = () => query({ vector: [0, 0] })
  expect(await gateway.verify(claim, parse, options)).toMatchObject({ matches: true, reason: null })
})

test('refresh, history, invalidate and statistics of one collection', async () => {
  const gateway = await openGateway()
  await expect(gateway.history(localDefault, options)).rejects.toMatchObject({ code: 'LG_COLLECTION_NOT_FOUND' })
  await write(gateway, [1n], [[1, 0]])
  expect(await gateway.refresh(localDefault, options)).toMatchObject({ changed: true, partsPulled: 1 })
  expect(await gateway.history(localDefault, options)).toMatchObject([{ rows: 1, held: true }])
  expect(await gateway.collection(localDefault, options)).toMatchObject({
    kind: 'local',
    defaultConsistency: { kind: 'fresh' },
    info: { writable: true },
    statistics: { state: 'ready', rows: 1 },
  })
  await gateway.invalidate(localDefault, options)
  expect((await gateway.collections(options))[0]!.statistics.state).toBe('cold')
  expect(await idsOf(gateway, [0, 0])).toEqual([1n])
  expect(gateway.cache().memoryBytes).toBeGreaterThan(0)
})

test('law 4: one caller that goes away during a pull cancels nobody else', async () => {
  const gateway = await openGateway()
  await write(gateway, [1n], [[1, 0]])
  const caller = new AbortController()
  const first = gateway.search(query(), { signal: caller.signal })
  const second = gateway.search(query(), options)
  caller.abort()
  await expect(first).rejects.toMatchObject({ code: 'LG_CANCELLED' })
  expect((await second).results.map((result) => result.id)).toEqual([1n])
})

test('law 4: who has gone gets no answer, though it is there at once; the next gets it', async () => {
  const gateway = await openGateway()
  const vectors = [
    [0, 0],
    [1, 0],
  ]
  await write(gateway, [1n, 2n], vectors)
  expect(await idsOf(gateway, [0, 0])).toEqual([1n, 2n])
  const gone = AbortSignal.abort()
  await expect(gateway.search(query({ vector: [0, 0] }), { signal: gone })).rejects.toMatchObject({
    code: 'LG_CANCELLED',
  })
  expect(await idsOf(gateway, [1, 0])).toEqual([2n, 1n])
})
