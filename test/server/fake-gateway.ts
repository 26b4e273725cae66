import { GatewayError } from '../../src/core/errors.js'
import { backendId, formatCollection, generation } from '../../src/core/generation.js'
import type { Answer } from '../../src/federation/answer.js'
import type { CollectionSummary, Gateway } from '../../src/federation/gateway.js'
import type { Query } from '../../src/federation/query.js'

const unscripted = (what: string) => async (): Promise<never> => {
  throw new Error(`the test scripted no ${what}`)
}

/** A gateway that answers what the test scripted, for what only the server decides. */
const graphs = { ready: 1, bytes: 7, answered: 5, left: 2 }

export function fakeGateway(script: Partial<Gateway> = {}): Gateway {
  return {
    search: unscripted('search'),
    searchBatch: unscripted('searchBatch'),
    explain: unscripted('explain'),
    verify: unscripted('verify'),
    audit: unscripted('audit'),
    auditStatistics: () => null,
    row: unscripted('row'),
    collections: async () => [],
    collection: async (ref) => {
      throw new GatewayError('LG_COLLECTION_NOT_FOUND', `no collection "${formatCollection(ref)}"`, {
        field: 'collection',
      })
    },
    refresh: unscripted('refresh'),
    invalidate: unscripted('invalidate'),
    checkBundle: unscripted('checkBundle'),
    publishBundle: unscripted('publishBundle'),
    history: unscripted('history'),
    cache: () => ({ memoryBytes: 10, memoryBytesMax: 100, diskBytes: 20, diskBytesMax: 200, arenas: 1, graphs }),
    sources: () => [],
    addSource: unscripted('addSource'),
    removeSource: unscripted('removeSource'),
    ingest: unscripted('ingest'),
    delete: unscripted('delete'),
    writableStatus: unscripted('writableStatus'),
    ready: () => true,
    subscribe: () => () => undefined,
    close: async () => undefined,
    ...script,
  }
}

/** A gateway whose search notes its queries and gives one answer. */
export function recordingGateway(answer: Answer = emptyAnswer): Gateway & { readonly asked: Query[] } {
  const asked: Query[] = []
  const search: Gateway['search'] = async (query) => {
    asked.push(query)
    return answer
  }
  return Object.assign(fakeGateway({ search }), { asked })
}

export const emptyAnswer: Answer = { results: [], receipt: null }

export const sampleAnswer: Answer = {
  results: [
    {
      id: 18446744073709551615n,
      distance: 0.01 + 1e-12,
      backend: backendId('packages'),
      collection: 'main',
      metadata: [
        { name: 'section', type: { kind: 'string' }, value: 'net' },
        { name: 'size', type: { kind: 'int' }, value: 9007199254740993n },
        { name: 'built', type: { kind: 'timestamp', utc: true }, value: 1_700_000_000_000_000_001n },
      ],
      vector: null,
    },
    {
      id: 'ünï "quoted"',
      distance: 3.01,
      backend: backendId('packages'),
      collection: 'main',
      metadata: [
        { name: 'section', type: { kind: 'string' }, value: null },
        { name: 'size', type: { kind: 'int' }, value: 1n },
        { name: 'built', type: { kind: 'timestamp', utc: true }, value: null },
      ],
      vector: Float32Array.of(0.9, 0, 1e-45),
    },
  ],
  receipt: {
    complete: false,
    metric: 'l2',
    k: 2,
    certificate: { kind: 'proven' },
    sources: [
      {
        backend: backendId('packages'),
        collection: 'main',
        status: 'ok',
        metric: 'l2',
        certificate: { kind: 'proven' },
        generation: 'g1',
        witness: 'ab',
        rows: 2,
        route: 'cache',
        freshness: { checkedAtMs: 1_700_000_000_000, ageMs: 3, policy: 'fresh' },
        searchMs: 0.1234567,
        waitMs: 0,
        bytesScanned: 24,
      },
      { backend: backendId('b'), collection: 'slow', status: 'priming', retryAfterMs: 1500 },
      {
        backend: backendId('c'),
        collection: 'gone',
        status: 'failed',
        code: 'LG_SOURCE_UNAVAILABLE',
        reason: 'no "file"',
        retryAfterMs: null,
      },
    ],
    request: null,
    digest: null,
  },
}

export const sampleCollection: CollectionSummary = {
  ref: { backend: backendId('packages'), collection: 'main' },
  info: { name: 'main', metric: 'l2', model: null, writable: false, freshness: 'cheap' },
  kind: 'parquet',
  defaultConsistency: { kind: 'fresh' },
  audit: {
    outcomes: { complete: 2, partial: 0, dropped: 1, gone: 0, failed: 0 },
    contracts: {
      exact: { expected: 20, missed: 0, violations: 0 },
      certified: { expected: 0, missed: 0, violations: 0 },
      target: { expected: 0, missed: 0, violations: 0 },
    },
  },
  statistics: {
    state: 'ready',
    generation: generation('g1'),
    witness: 'ab',
    checkedAtMs: 1_700_000_000_000,
    dimension: 3,
    columns: [{ name: 'size', type: { kind: 'int' } }],
    idColumn: 'id',
    vectorColumn: 'embedding',
    rows: 2,
    parts: 1,
    graph: null,
    index: { kind: 'flat', tried: null, segments: { clustered: 0, flat: 0, plain: 0 }, tuning: null, lastError: null },
    segmentsResident: 1,
    memoryBytes: 5,
    diskBytes: 6,
    skipped: { nullVector: 1, nullId: 0, badVector: 0 },
    hits: 3,
    misses: 1,
    primes: 1,
    refreshes: 0,
    invalidations: 0,
    evictions: 0,
    partsPulled: 1,
    segmentsRestored: 0,
    segmentsDiscarded: 0,
    lastError: null,
  },
}
