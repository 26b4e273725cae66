import type { FastifyInstance } from 'fastify'
import { backendId } from '../core/generation.js'
import { limits } from '../core/limits.js'
import type { SourceSummary } from '../federation/gateway.js'
import type { ServerContext } from './context.js'
import { readObject, readText } from './request-fields.js'

export function sourceRoutes(context: ServerContext) {
  const { gateway, cancellation } = context
  return async (app: FastifyInstance): Promise<void> => {
    app.get('/v1/sources', async () => ({ sources: gateway.sources().map(sourceBody) }))

    app.post('/v1/sources', async (request, reply) => {
      const { name, kind, uri, ...options } = readObject(request.body, 'body')
      const config = {
        name: readText(name, 'name', limits.collectionNameBytesMax),
        kind: kind === undefined || kind === null ? null : readText(kind, 'kind', 64),
        uri: uri === undefined || uri === null ? null : readText(uri, 'uri', limits.idBytesMax),
        options,
      }
      const source = await gateway.addSource(config, { signal: cancellation.signalOf(reply) })
      return reply.code(201).send(sourceBody(source))
    })

    app.delete('/v1/sources/:name', async (request, reply) => {
      const { name } = request.params as { name: string }
      await gateway.removeSource(backendId(name), { signal: cancellation.signalOf(reply) })
      return reply.code(204).send()
    })
  }
}

const sourceBody = (source: SourceSummary) => ({
  name: source.backend,
  kind: source.kind,
  uri: source.uri,
  prime: source.prime,
  refresh_ms: source.refreshMs,
  error: source.error,
})
