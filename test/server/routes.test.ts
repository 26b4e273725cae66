import { expect, onTestFinished, test } from 'vitest'
import { GatewayError } from '../../src/core/errors.js'
import type { RowId } from '../../src/core/id.js'
import type { Result } from '../../src/federation/answer.js'
import type { CollectionSummary, SourceRequest } from '../../src/federation/gateway.js'
import { emptyAnswer, fakeGateway, sampleAnswer, sampleCollection } from './fake-gateway.js'
import { realGateway } from './real-gateway.js'
import { testServer } from './test-server.js'

const withCollection = fakeGateway({
  collections: async () => [sampleCollection],
  collection: async () => sampleCollection,
})

test('collections', async () => {
  const reply = await testServer(withCollection).inject('/v1/collections')
  expect(reply.json()).toEqual({
    collections: [
      {
        backend: 'packages',
        collection: 'main',
        kind: 'parquet',
        metric: 'l2',
        model: null,
        writable: false,
        consistency: 'fresh',
        state: 'ready',
        generation: 'g1',
        witness: 'ab',
        checked_at: '2023-11-14T22:13:20.000Z',
        dimension: 3,
        rows: 2,
        parts: 1,
        bytes: 5,
        disk_bytes: 6,
        graph: null,
        index: { kind: 'flat', segments: { clustered: 0, flat: 0, plain: 0 }, tuning: null, last_error: null },
        id_column: 'id',
        vector_column: 'embedding',
        columns: [{ name: 'size', type: 'int' }],
        skipped: { null_vector: 1, null_id: 0, bad_vector: 0 },
        audit: sampleCollection.audit,
        last_error: null,
      },
    ],
  })
  const one = await testServer(withCollection).inject('/v1/collections/packages/main')
  expect(one.json()).toEqual(reply.json().collections[0])
})

test('a collection says how it is indexed', async () => {
  const segments = { clustered: 3, flat: 1, plain: 2 }
  const trained = { centroids: 64, trainedAtMs: 1_700_000_000_000, trainedRows: 5000, meanRadius: 1.5 }
  const lastError = { code: 'LG_OVER_BUDGET', message: 'no room', atMs: 1_700_000_000_000 }
  const tuning = {
    atMs: 1_700_000_000_000,
    rows: 5000,
    segments: 6,
    queries: 300,
    costs: [
      { first: 'prefix', us: 12.5 },
      { first: 'bytes', us: 20 },
    ],
    recalls: [],
    targets: [],
    gaps: [
      { recall: 0.95, gap: 0.4 },
      { recall: 0.99, gap: Number.POSITIVE_INFINITY },
    ],
  } as const
  const indexed = async (index: CollectionSummary['statistics']['index']) => {
    const statistics = { ...sampleCollection.statistics, index }
    const gateway = fakeGateway({ collections: async () => [{ ...sampleCollection, statistics }] })
    return (await testServer(gateway).inject('/v1/collections')).json().collections[0].index
  }
  const at = '2023-11-14T22:13:20.000Z'
  expect(await indexed({ kind: 'clustered', ...trained, retraining: false, segments, tuning, lastError })).toEqual({
    kind: 'clustered',
    centroids: 64,
    trained_at: at,
    trained_rows: 5000,
    mean_radius: 1.5,
    retraining: false,
    segments,
    tuning: {
      tuned_at: at,
      rows: 5000,
      queries: 300,
      first_stages: tuning.costs,
      targets: [tuning.gaps[0], { recall: 0.99, gap: null }],
    },
    last_error: { code: 'LG_OVER_BUDGET', message: 'no room', at },
  })
  const tried = { atMs: 1_700_000_000_000, rows: 5000 }
  expect(await indexed({ kind: 'flat', tried, segments, tuning: null, lastError: null })).toEqual({
    kind: 'flat',
    trained_at: at,
    trained_rows: 5000,
    segments,
    tuning: null,
    last_error: null,
  })
  expect(
    await indexed({ kind: 'training', startedAtMs: 1_700_000_000_000, segments, tuning: null, lastError: null }),
  ).toEqual({
    kind: 'training',
    started_at: at,
    segments,
    tuning: null,
    last_error: null,
  })
})

test('cache statistics by backend and collection', async () => {
  const body = (await testServer(withCollection).inject('/v1/cache')).json()
  expect(body).toMatchObject({ hits: 3, misses: 1, primes: 1, bytes: 10, bytes_max: 100, disk_bytes: 20, arenas: 1 })
  expect(body.by_backend.packages).toMatchObject({ hits: 3, bytes: 5, disk_bytes: 6 })
  expect(body.by_collection['packages/main']).toMatchObject({ hits: 3, misses: 1, bytes: 5 })
})

test.each<[string, RowId[]]>([
  ['5', [5n, '5']],
  ['18446744073709551615', [2n ** 64n - 1n, '18446744073709551615']],
  ['18446744073709551616', ['18446744073709551616']],
  ['-7', [-7n, '-7']],
  ['007', ['007']],
  ['%225%22', ['5']],
  ['n%C3%A4me%2Fx', ['näme/x']],
  ['..%2F..', ['../..']],
])('row id %s', async (path, ids) => {
  const asked: RowId[] = []
  const gateway = fakeGateway({
    row: async (_ref, id) => {
      asked.push(id)
      throw new GatewayError('LG_ROW_NOT_FOUND', 'no row')
    },
  })
  const reply = await testServer(gateway).inject(`/v1/collections/a/b/rows/${path}`)
  expect(asked).toEqual(ids)
  expect(reply.statusCode).toBe(404)
  expect(reply.json()).toMatchObject({ lg_code: 'LG_ROW_NOT_FOUND', field: 'id' })
})

test('a row has metadata, and its vector on request', async () => {
  const wanted: boolean[] = []
  const row: Result = { ...sampleAnswer.results[0]!, vector: Float32Array.of(0.9, 1) }
  const gateway = fakeGateway({
    row: async (_ref, _id, want) => {
      wanted.push(want.includeVector)
      return want.includeVector ? row : { ...row, vector: null }
    },
  })
  const reply = await testServer(gateway).inject('/v1/collections/a/b/rows/18446744073709551615?include_vector=true')
  expect(reply.body).toBe(
    '{"id":18446744073709551615,"backend":"packages","collection":"main","metadata":{"section":"net","size":9007199254740993,"built":"2023-11-14T22:13:20.000000001Z"},"vector":[0.9,1]}',
  )
  await testServer(gateway).inject('/v1/collections/a/b/rows/1')
  expect(wanted).toEqual([true, false])
  expect((await testServer(gateway).inject('/v1/collections/a/b/rows/1?include_vector=2')).json().field).toBe(
    'include_vector',
  )
})

test('refresh, invalidate, history', async () => {
  const app = testServer(
    fakeGateway({
      refresh: async () => ({ generation: 'g2', changed: true, partsPulled: 1 }),
      invalidate: async () => undefined,
      history: async () => [
        {
          generation: 'g1' as never,
          witness: 'ab',
          firstSeenMs: 0,
          lastSeenMs: 1000,
          rows: 2,
          parts: 1,
          held: true,
        },
      ],
    }),
  )
  const post = (url: string) => app.inject({ method: 'POST', url })
  expect((await post('/v1/collections/a/b/refresh')).json()).toEqual({
    generation: 'g2',
    changed: true,
    parts_pulled: 1,
  })
  expect((await post('/v1/collections/a/b/invalidate')).json()).toEqual({ invalidated: true })
  expect((await app.inject('/v1/collections/a/b/history')).json()).toEqual({
    generations: [
      {
        generation: 'g1',
        witness: 'ab',
        first_seen: '1970-01-01T00:00:00.000Z',
        last_seen: '1970-01-01T00:00:01.000Z',
        rows: 2,
        parts: 1,
        held: true,
      },
    ],
  })
})

test('sources can be listed, added and removed', async () => {
  const added: SourceRequest[] = []
  const removed: string[] = []
  const app = testServer(
    fakeGateway({
      sources: () => [
        { backend: 'x' as never, kind: 'parquet', uri: 'x.parquet', prime: 'eager', refreshMs: 500, error: null },
      ],
      addSource: async (config) => {
        added.push(config)
        const { name, uri } = config
        return { backend: name as never, kind: 'parquet', uri, prime: 'first_query', refreshMs: null, error: null }
      },
      removeSource: async (backend) => {
        removed.push(backend)
      },
    }),
  )
  expect((await app.inject('/v1/sources')).json()).toEqual({
    sources: [{ name: 'x', kind: 'parquet', uri: 'x.parquet', prime: 'eager', refresh_ms: 500, error: null }],
  })
  const reply = await app.inject({
    method: 'POST',
    url: '/v1/sources',
    payload: { name: 'y', kind: 'parquet', uri: 'y.parquet', metric: 'cosine' },
  })
  expect(reply.statusCode).toBe(201)
  expect(added).toEqual([{ name: 'y', kind: 'parquet', uri: 'y.parquet', options: { metric: 'cosine' } }])
  expect((await app.inject({ method: 'DELETE', url: '/v1/sources/y%20z' })).statusCode).toBe(204)
  expect(removed).toEqual(['y z'])
  await app.inject({ method: 'POST', url: '/v1/sources', payload: { name: 'y', uri: 'y.parquet' } })
  expect(added[1]).toEqual({ name: 'y', kind: null, uri: 'y.parquet', options: {} })
  expect((await app.inject({ method: 'POST', url: '/v1/sources', payload: { kind: 'parquet' } })).json().field).toBe(
    'name',
  )
})

test('a batch shares fields, keeps the order, and reports each error in its place', async () => {
  const ks: number[] = []
  const gateway = fakeGateway({
    searchBatch: async (queries) => {
      ks.push(...queries.map((query) => query.k))
      return [emptyAnswer, new GatewayError('LG_COLLECTION_NOT_FOUND', 'no such', { field: 'collections' })]
    },
  })
  const app = testServer(gateway)
  const post = (payload: object) => app.inject({ method: 'POST', url: '/v1/query/batch', payload })
  const reply = await post({ k: 3, queries: [{ vector: [1] }, { vector: [2], k: 4 }] })
  expect(ks).toEqual([3, 4])
  expect(reply.json()).toEqual({
    answers: [{ results: [] }, expect.objectContaining({ lg_code: 'LG_COLLECTION_NOT_FOUND', code: 0x0106 })],
  })
  expect((await post({ k: 3, queries: [{ vector: [1] }, { vector: ['x'] }] })).json().field).toBe(
    'queries[1].vector[0]',
  )
  expect((await post({ k: 3, queries: [] })).json().field).toBe('queries')
  expect((await post({ k: 3, queries: Array(1025).fill({ vector: [1] }) })).statusCode).toBe(413)
})

test('explain', async () => {
  const gateway = fakeGateway({
    explain: async () => ({
      contract: 'exact',
      deadlineMs: 5,
      shards: [
        {
          ref: sampleCollection.ref,
          route: 'cache',
          reason: 'resident',
          state: 'ready',
          consistency: 'fresh',
          rows: 2,
          dimension: 3,
          metric: 'l2',
          partsMissing: null,
          stages: ['scan'],
        },
      ],
    }),
  })
  const reply = await testServer(gateway).inject({ method: 'POST', url: '/v1/explain', payload: { vector: [1], k: 1 } })
  expect(reply.json()).toMatchObject({
    contract: 'exact',
    deadline_ms: 5,
    shards: [{ backend: 'packages', collection: 'main', route: 'cache', parts_missing: null }],
  })
})

test('verify takes a receipt or the whole reply, and parses its request as any other', async () => {
  const seen: unknown[] = []
  const gateway = fakeGateway({
    verify: async (receipt, parse) => {
      seen.push([receipt.digest, receipt.sources, parse(receipt.request).k])
      return { matches: true, digest: 'd', expected: 'd', reason: null }
    },
  })
  const app = testServer(gateway)
  const post = (payload: object) => app.inject({ method: 'POST', url: '/v1/verify', payload })
  const receipt = { request: { vector: [1], k: 7 }, digest: 'd', sources: [{ backend: 'a' }], complete: true }
  expect((await post(receipt)).json()).toEqual({ matches: true, digest: 'd', expected: 'd', reason: null })
  await post({ results: [], receipt })
  expect(seen).toEqual([
    ['d', [{ backend: 'a' }], 7],
    ['d', [{ backend: 'a' }], 7],
  ])
  expect((await post({ ...receipt, request: { vector: [1] } })).json().field).toBe('request.k')
  expect((await post({ receipt: { digest: 'd', sources: [] } })).json().field).toBe('receipt.request')
})

test('RVF ingest with every form of metadata', async () => {
  const requests: unknown[] = []
  const gateway = fakeGateway({
    writableStatus: async () => ({
      dimension: 2,
      totalVectors: 0,
      totalSegments: 0,
      fileSize: 0,
      currentEpoch: 0,
      deadSpaceRatio: 0,
      readOnly: false,
    }),
    ingest: async (request) => {
      requests.push(request)
      return { accepted: 3, rejected: 0, epoch: 1 }
    },
  })
  const app = testServer(gateway)
  const post = (payload: string) =>
    app.inject({ method: 'POST', url: '/v1/ingest', payload, headers: { 'content-type': 'application/json' } })
  const reply = await post(`{"vectors":[[1,2],[3],[4,5],[6,7]],"ids":[9007199254740993,1,"a",2],
    "metadata":[{"field_id":1,"value":18446744073709551615},null,[{"field_id":2,"value":"x"},{"field_id":3,"value":0.5}],{"title":"t","n":[1]}]}`)
  expect(reply.json()).toEqual({ accepted: 3, rejected: 1, epoch: 1 })
  expect(requests).toEqual([
    {
      ids: [9007199254740993n, 'a', 2n],
      vectors: Float32Array.of(1, 2, 4, 5, 6, 7),
      dimension: 2,
      metadata: [{ field_1: 18446744073709551615n }, { field_2: 'x', field_3: 0.5 }, { title: 't', n: [1] }],
    },
  ])
  for (const [body, field] of [
    ['{"vectors":[[1,2]],"ids":[1],"metadata":[]}', 'metadata'],
    ['{"vectors":[[1,2]],"ids":[1],"metadata":[{"field_id":70000,"value":1}]}', 'metadata[0].field_id'],
    ['{"vectors":[[1,2]],"ids":[1],"metadata":[{"field_id":1,"value":true}]}', 'metadata[0].value'],
    ['{"vectors":[[1,null]],"ids":[1]}', 'vectors[0][1]'],
    ['{"vectors":[[1,2]],"ids":[1.5]}', 'ids[0]'],
    ['{"vectors":[[1,2]]}', 'ids'],
    ['{"vectors":[[1,2]],"ids":[1],"upsert":true}', 'upsert'],
  ] as const)
    expect((await post(body)).json().field).toBe(field)
})

test('a read-only collection answers 403 with code 0x0305', async () => {
  const gateway = fakeGateway({
    delete: async () => {
      throw new GatewayError('LG_READ_ONLY', 'local/default cannot be written: its source is read-only')
    },
  })
  const reply = await testServer(gateway).inject({ method: 'POST', url: '/v1/delete', payload: { ids: [1] } })
  expect([reply.statusCode, reply.json().code]).toEqual([403, 0x0305])
})

test('metrics count every request, however many came between two readings', async () => {
  const app = testServer(fakeGateway({ search: async () => sampleAnswer }))
  const counted = async (): Promise<string[]> => {
    const { body } = await app.inject('/metrics')
    return body.split('\n').filter((line) => /^lakegate_(queries_total|http_\w+_count\{route="\/v1\/query")/.test(line))
  }
  for (const total of [300, 1100]) {
    const before = total === 300 ? 0 : 300
    for (let i = before; i < total; i++)
      await app.inject({ method: 'POST', url: '/v1/query', payload: { vector: [1], k: 1 } })
    expect(await counted()).toEqual([
      `lakegate_http_request_duration_seconds_count{route="/v1/query",method="POST",status="200"} ${total}`,
      `lakegate_queries_total{outcome="partial"} ${total}`,
    ])
  }
})

test('/readyz follows the gateway, /livez does not', async () => {
  const app = testServer(fakeGateway({ ready: () => false }))
  expect((await app.inject('/readyz')).statusCode).toBe(503)
  expect((await app.inject('/livez')).json()).toEqual({ status: 'ok' })
  expect((await testServer(fakeGateway()).inject('/readyz')).json()).toEqual({ status: 'ready' })
})

test('metrics count requests by route, queries by outcome, answers by certificate', async () => {
  const app = testServer(fakeGateway({ search: async () => sampleAnswer }))
  const query = () => app.inject({ method: 'POST', url: '/v1/query', payload: { vector: [1], k: 1 } })
  await query()
  await query()
  await app.inject({ method: 'POST', url: '/v1/query', payload: {} })
  await app.inject('/v1/nope')
  const lines = (await app.inject('/metrics')).body.split('\n')
  expect(lines).toEqual(
    expect.arrayContaining([
      'lakegate_http_request_duration_seconds_count{route="/v1/query",method="POST",status="200"} 2',
      'lakegate_http_request_duration_seconds_count{route="/v1/query",method="POST",status="422"} 1',
      'lakegate_http_request_duration_seconds_count{route="none",method="GET",status="404"} 1',
      'lakegate_queries_total{outcome="partial"} 2',
      'lakegate_certificates_total{kind="proven"} 2',
      'lakegate_source_outcomes_total{backend="b",status="priming"} 2',
      'lakegate_cache_memory_bytes 10',
    ]),
  )
  // Prometheus's own check of names refuses gauges that end so.
  expect(lines.filter((line) => /^# TYPE \w+_total gauge$/.test(line))).toEqual([])
  const named = lines.filter((line) => line.startsWith('# TYPE lakegate_'))
  for (const line of named) {
    const [, , name, kind] = line.split(' ')
    expect(lines).toContainEqual(expect.stringMatching(`^# HELP ${name} .`))
    expect(name!.endsWith('_total')).toBe(kind === 'counter')
  }
  expect(named.length).toBeGreaterThan(8)
})

test('metrics of audits: outcomes, observed recall and violations by contract', async () => {
  const auditStatistics = () => ({
    outcomes: { complete: 5, partial: 1, dropped: 2, gone: 0, failed: 0 },
    contracts: {
      exact: { expected: 40, missed: 0, violations: 0 },
      certified: { expected: 0, missed: 0, violations: 1 },
      target: { expected: 20, missed: 5, violations: 0 },
    },
  })
  const text = async (app: ReturnType<typeof testServer>) => (await app.inject('/metrics')).body
  const app = testServer(fakeGateway({ auditStatistics }))
  await text(app)
  const lines = (await text(app)).split('\n').filter((line) => line.startsWith('lakegate_audit'))
  expect(lines).toEqual([
    'lakegate_audits_total{outcome="complete"} 5',
    'lakegate_audits_total{outcome="partial"} 1',
    'lakegate_audits_total{outcome="dropped"} 2',
    'lakegate_audits_total{outcome="gone"} 0',
    'lakegate_audits_total{outcome="failed"} 0',
    'lakegate_audit_neighbours_total{contract="exact"} 40',
    'lakegate_audit_neighbours_total{contract="certified"} 0',
    'lakegate_audit_neighbours_total{contract="target"} 20',
    'lakegate_audit_neighbours_missed_total{contract="exact"} 0',
    'lakegate_audit_neighbours_missed_total{contract="certified"} 0',
    'lakegate_audit_neighbours_missed_total{contract="target"} 5',
    'lakegate_audit_violations_total{contract="exact"} 0',
    'lakegate_audit_violations_total{contract="certified"} 1',
    'lakegate_audit_violations_total{contract="target"} 0',
    'lakegate_audit_recall{contract="exact"} 1',
    'lakegate_audit_recall{contract="target"} 0.75',
  ])
  expect(await text(testServer(fakeGateway()))).not.toContain('lakegate_audit')
})

test('an audit that was asked for compares an answer with brute force', async () => {
  const real = await realGateway()
  onTestFinished(() => real.close())
  const app = testServer(real.gateway)
  const post = (url: string, payload: object) => app.inject({ method: 'POST', url, payload })
  await post('/v1/ingest', {
    vectors: [
      [0, 0],
      [1, 0],
      [3, 0],
    ],
    ids: [1, 2, '3'],
  })
  const query = { vector: [0.9, 0], k: 2, collections: ['local/default'], recall: { certified: 0.1 } }
  expect((await post('/v1/audit', query)).json()).toMatchObject({
    broken: false,
    collections: [
      {
        backend: 'local',
        collection: 'default',
        claimed: 'exact',
        rows_read: 3,
        missed: 0,
        wrong: [],
        expected: [{ id: 2 }, { id: 1 }],
        found: [{ id: 2 }, { id: 1 }],
        codebooks: [],
      },
    ],
  })
  expect((await post('/v1/audit', { ...query, kk: 2 })).json()).toMatchObject({ lg_code: 'LG_UNKNOWN_FIELD' })
})

test('/docs loads nothing from elsewhere', async () => {
  const reply = await testServer(fakeGateway()).inject('/docs')
  expect(reply.headers['content-type']).toBe('text/html; charset=utf-8')
  expect(reply.headers['content-security-policy']).toContain("default-src 'none'")
  expect(reply.body).not.toMatch(/https?:\/\//)
})
