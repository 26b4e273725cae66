import Fastify, { type RouteOptions } from 'fastify'
import { Check } from 'typebox/value'
import { expect, test } from 'vitest'
import type { ServerContext } from '../../src/server/context.js'
import { operationsRoutes } from '../../src/server/operations-routes.js'
import { parseQuery } from '../../src/server/parse-query.js'
import { queryBody } from '../../src/server/query-schemas.js'
import { fakeGateway } from './fake-gateway.js'
import { testServer } from './test-server.js'

const rules = { kMax: 10_000, deadlineMs: 1000 }

function parses(body: unknown): boolean {
  try {
    parseQuery(body, rules)
    return true
  } catch {
    return false
  }
}

const base = { vector: [1, 2], k: 3 }

test.each<[unknown, boolean]>([
  [base, true],
  [{ ...base, k: 10_000 }, true],
  [{ ...base, k: 10_001 }, false],
  [{ ...base, k: 0 }, false],
  [{ ...base, k: 1.5 }, false],
  [{ ...base, k: '1' }, false],
  [{ vector: [1] }, false],
  [{ ...base, vector: [] }, false],
  [{ ...base, vector: ['a'] }, false],
  [{ ...base, vector: [3.5e38] }, false],
  [{ ...base, vector: Array(8193).fill(0) }, false],
  [{ ...base, other: 1 }, false],
  [{ row: { collection: 'a/b', id: 1 }, k: 1 }, true],
  [{ row: { collection: 'a/b', id: 'x' }, k: 1 }, true],
  [{ row: { collection: 'ab', id: 1 }, k: 1 }, false],
  [{ row: { collection: 'a/*', id: 1 }, k: 1 }, false],
  [{ row: { collection: 'a/*b', id: 1 }, k: 1 }, true],
  [{ row: { collection: 'a/b' }, k: 1 }, false],
  [{ row: { collection: 'a/b', id: 1, x: 1 }, k: 1 }, false],
  [{ ...base, collections: ['a/b', 'c/*'] }, true],
  [{ ...base, collections: [] }, false],
  [{ ...base, collections: ['a'] }, false],
  [{ ...base, fusion: 'rrf' }, true],
  [{ ...base, fusion: 'max' }, false],
  [{ ...base, filter: { a: 1 } }, true],
  [{ ...base, filter: 'a = 1' }, true],
  [{ ...base, filter: 1 }, false],
  [{ ...base, select: [] }, true],
  [{ ...base, select: [1] }, false],
  [{ ...base, include_vectors: true }, true],
  [{ ...base, include_vectors: 'yes' }, false],
  [{ ...base, recall: 'exact' }, true],
  [{ ...base, recall: 0.9 }, true],
  [{ ...base, recall: { certified: 1e-6 } }, true],
  [{ ...base, recall: { certified: 1 } }, false],
  [{ ...base, recall: 0 }, false],
  [{ ...base, recall: 2 }, false],
  [{ ...base, max_distance: -1 }, true],
  [{ ...base, consistency: 'fresh' }, true],
  [{ ...base, consistency: { ttl_ms: 0 } }, true],
  [{ ...base, consistency: { ttl_ms: 1, x: 1 } }, false],
  [{ ...base, consistency: 'stale' }, false],
  [{ ...base, as_of: '2026-01-01T00:00:00Z' }, true],
  [{ ...base, as_of: { 'a/*': 5 } }, true],
  [{ ...base, deadline_ms: 1 }, true],
  [{ ...base, deadline_ms: 0 }, false],
  [{ ...base, require_complete: false }, true],
  [{ ...base, max_cost: { bytes: 5 } }, true],
  [{ ...base, max_cost: {} }, false],
  [{ ...base, receipt: 'full' }, true],
  [{ ...base, receipt: 'none' }, false],
  [{ ...base, ef_search: 10 }, true],
  [{ ...base, ef_search: -1 }, false],
  [null, false],
  [[], false],
])('schema and parser agree on %j', (body, allowed) => {
  expect([Check(queryBody, body), parses(body)]).toEqual([allowed, allowed])
})

interface Operation {
  readonly responses: Record<string, { readonly content?: object }>
  readonly summary?: string
}

test('/openapi.json is made again when making it failed', async () => {
  const app = Fastify()
  let hasFailed = false
  const described = {
    version: '0.0.0',
    get routes(): readonly RouteOptions[] {
      if (hasFailed) return []
      hasFailed = true
      throw new Error('too many open files')
    },
  }
  app.register(operationsRoutes({} as ServerContext, described))
  expect((await app.inject('/openapi.json')).statusCode).toBe(500)
  expect((await app.inject('/openapi.json')).json()).toMatchObject({ info: { version: '0.0.0' } })
})

test('/openapi.json has every route with its summary, success and errors, and every $ref resolves', async () => {
  const app = testServer(fakeGateway())
  const reply = await app.inject('/openapi.json')
  const spec = reply.json() as {
    openapi: string
    paths: Record<string, Record<string, Operation>>
    components: { schemas: Record<string, unknown> }
  }
  expect(spec.openapi).toBe('3.1.0')
  const operations = Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
  )
  expect(operations.map(({ name }) => name).sort()).toEqual(
    [
      'DELETE /v1/sources/{name}',
      'GET /docs',
      'GET /livez',
      'GET /metrics',
      'GET /openapi.json',
      'GET /readyz',
      'GET /v1/cache',
      'GET /v1/collections',
      'GET /v1/collections/{backend}/{collection}',
      'GET /v1/collections/{backend}/{collection}/bundle',
      'GET /v1/collections/{backend}/{collection}/history',
      'GET /v1/collections/{backend}/{collection}/rows/{id}',
      'GET /v1/health',
      'GET /v1/sources',
      'GET /v1/status',
      'GET /ws/live',
      'POST /v1/audit',
      'POST /v1/collections/{backend}/{collection}/bundle',
      'POST /v1/collections/{backend}/{collection}/invalidate',
      'POST /v1/collections/{backend}/{collection}/refresh',
      'POST /v1/delete',
      'POST /v1/explain',
      'POST /v1/ingest',
      'POST /v1/query',
      'POST /v1/query/batch',
      'POST /v1/sources',
      'POST /v1/verify',
    ].sort(),
  )
  for (const { name, operation } of operations) {
    expect(operation.summary, name).toBeTruthy()
    expect(Object.keys(operation.responses), name).toContain('400')
    expect(
      Object.keys(operation.responses).some((status) => Number(status) < 300),
      name,
    ).toBe(true)
  }
  const refs = [...reply.body.matchAll(/"\$ref":"([^"]*)"/g)].map((match) => match[1]!)
  expect(refs.length).toBeGreaterThan(10)
  for (const ref of refs)
    expect(Object.keys(spec.components.schemas)).toContain(ref.replace('#/components/schemas/', ''))
})
