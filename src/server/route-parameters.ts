import type { FastifyInstance, RouteOptions } from 'fastify'
import { type Fields, refuseUnknown } from './request-fields.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a query string may hold; `own`: the route's handler says. Default: nothing. */
    parameters?: readonly string[] | 'own'
  }
}

/** Makes routes that are registered after this call refuse other parameters of the query string than they name. */
export function refuseOtherParameters(app: FastifyInstance): void {
  app.addHook('onRoute', (route: RouteOptions) => {
    const parameters = route.config?.parameters ?? []
    if (parameters === 'own') return
    const known = new Set(parameters)
    route.preValidation = (request, _reply, done) => {
      refuseUnknown(request.query as Fields, known)
      done()
    }
  })
}
