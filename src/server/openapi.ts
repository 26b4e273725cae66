/** What /openapi.json says. Loaded when it is first asked for: nothing else needs the generator. */
import swagger from '@fastify/swagger'
import Fastify, { type RouteOptions } from 'fastify'
import { collectionSummary } from './collection-schemas.js'
import { sourceSummary } from './operations-schemas.js'
import { searchSchemas } from './query-schemas.js'
import { compileSchemasWith } from './schema-compilers.js'

/** Describes the routes: they are entered into an application of its own, which is never listening. */
export async function describeRoutes(routes: readonly RouteOptions[], version: string): Promise<object> {
  const app = Fastify({
    exposeHeadRoutes: false,
    schemaController: compileSchemasWith(
      () => () => true,
      () => () => '',
    ),
  })
  app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'lakegate', version, description: 'Vector search over the lakes you already have.' },
    },
    refResolver: { buildLocalReference: (json, _base, _fragment, i) => String(json.$id ?? `schema-${i}`) },
  })
  for (const schema of [...searchSchemas, collectionSummary, sourceSummary]) app.addSchema(schema)
  app.register(async (described) => {
    for (const { method, url, schema = {} } of routes)
      described.route({ method, url, schema, handler: () => undefined })
  })
  await app.ready()
  return app.swagger()
}
