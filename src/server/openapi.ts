/** What /openapi.json says. Loaded when it is first asked for: answering needs neither the generator nor schemas. */
import assert from 'node:assert'
import swagger from '@fastify/swagger'
import Fastify, { type FastifySchema, type RouteOptions } from 'fastify'
import * as collections from './collection-schemas.js'
import * as operations from './operations-schemas.js'
import * as queries from './query-schemas.js'
import * as rvf from './rvf-schemas.js'

const collection = '/v1/collections/:backend/:collection'

/** By method and path. The parsers beside the routes check requests; test/server/schemas.test.ts holds both equal. */
const schemas: Readonly<Record<string, FastifySchema>> = {
  'POST /v1/query': queries.query,
  'POST /v1/query/batch': queries.batch,
  'POST /v1/explain': queries.explain,
  'POST /v1/verify': queries.verify,
  'POST /v1/audit': queries.audit,
  'POST /v1/ingest': rvf.ingest,
  'POST /v1/delete': rvf.deleteRows,
  'GET /v1/status': rvf.status,
  'GET /v1/health': rvf.health,
  'GET /v1/collections': collections.collections,
  [`GET ${collection}`]: collections.collection,
  [`GET ${collection}/rows/:id`]: collections.row,
  [`POST ${collection}/refresh`]: collections.refresh,
  [`POST ${collection}/invalidate`]: collections.invalidate,
  [`GET ${collection}/bundle`]: collections.bundle,
  [`POST ${collection}/bundle`]: collections.publishBundle,
  [`GET ${collection}/history`]: collections.history,
  'GET /v1/cache': collections.cache,
  'GET /v1/sources': operations.sources,
  'POST /v1/sources': operations.addSource,
  'DELETE /v1/sources/:name': operations.removeSource,
  'GET /livez': operations.alive,
  'GET /readyz': operations.ready,
  'GET /metrics': operations.metrics,
  'GET /openapi.json': operations.openapi,
  'GET /docs': operations.docs,
  'GET /ws/live': operations.live,
}

/** Describes the routes: they are entered into an application of its own, which is never listening. */
export async function describeRoutes(routes: readonly RouteOptions[], version: string): Promise<object> {
  const app = Fastify({ exposeHeadRoutes: false })
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => () => '')
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'lakegate', version, description: 'Vector search over the lakes you already have.' },
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, i) => String(json.$id ?? `schema-${i}`) },
  })
  for (const schema of [...queries.searchSchemas, collections.collectionSummary, operations.sourceSummary])
    app.addSchema(schema)
  app.register(async (described) => {
    for (const { method, url, schema: { hide = false } = {} } of routes) {
      if (hide || method === 'HEAD') continue
      const schema = schemas[`${method} ${url}`]
      assert(schema !== undefined, `${method} ${url} has a schema`)
      described.route({ method, url, schema, handler: () => undefined })
    }
  })
  await app.ready()
  return app.swagger()
}
