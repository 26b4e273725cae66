import type { FastifyInstance, RouteOptions } from 'fastify'
import { GatewayError } from '../core/errors.js'
import type { ServerContext } from './context.js'
import { docsPage } from './docs-page.js'

/** `described`: what /openapi.json describes; routes may be added until it is asked for. */
export function operationsRoutes(
  context: ServerContext,
  described: { readonly routes: readonly RouteOptions[]; readonly version: string },
) {
  const { gateway, metrics } = context
  const describe = async (): Promise<object> => {
    const { describeRoutes } = await import('./openapi.js')
    return describeRoutes(described.routes, described.version)
  }
  let description: Promise<object> | undefined
  return async (app: FastifyInstance): Promise<void> => {
    app.get('/livez', async () => ({ status: 'ok' }))

    app.get('/readyz', async () => {
      if (!gateway.ready())
        throw new GatewayError('LG_OVERLOADED', 'not ready: sources are still being listed', { retryAfterMs: 1000 })
      return { status: 'ready' }
    })

    app.get('/metrics', async (_request, reply) =>
      reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
    )

    app.get('/openapi.json', () => {
      description ??= describe().catch((error: unknown) => {
        description = undefined // whoever asks next has another try
        throw error
      })
      return description
    })

    app.get('/docs', async (_request, reply) =>
      reply
        .header(
          'content-security-policy',
          "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        )
        .type('text/html; charset=utf-8')
        .send(docsPage),
    )
  }
}
