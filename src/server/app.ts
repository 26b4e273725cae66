import type { IncomingMessage } from 'node:http'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController, type RouteOptions } from 'fastify'
import type { Registry } from 'prom-client'
import type { Clock } from '../core/clock.js'
import { GatewayError, shuttingDown } from '../core/errors.js'
import { type JsonValue, stringifyJson } from '../core/json.js'
import { parseJsonWithVector } from '../core/json-vector.js'
import type { Gateway } from '../federation/gateway.js'
import { auditRoutes } from './audit-routes.js'
import { type BodyBudget, countBody, isOfUnknownLength, reserveBody } from './body-budget.js'
import { createCancellation } from './cancellation.js'
import { collectionRoutes } from './collection-routes.js'
import { answerBrokenRequest, ignoreOtherUpgrades, limitConnections } from './connections.js'
import type { ServerContext } from './context.js'
import { refuseOtherCharset, sendError, unsupportedEncoding } from './error-reply.js'
import { refuseForeignPage } from './foreign-pages.js'
import { liveRoutes } from './live-socket.js'
import { createMetrics } from './metrics.js'
import { operationsRoutes } from './operations-routes.js'
import { batchRoutes, queryRoutes } from './query-routes.js'
import { refuseOtherParameters } from './route-parameters.js'
import { rvfRoutes } from './rvf-routes.js'
import { sourceRoutes } from './source-routes.js'

export interface ServerConfig {
  readonly bodyBytesMax: number
  /** Connections at a time, WebSockets included. */
  readonly connectionsMax: number
  readonly kMax: number
  /** For requests that name no deadline. */
  readonly deadlineMs: number
  /** How long requests under way may go on after close() was called. */
  readonly graceMs: number
  /** How long a client that was answered before it had sent its whole body may go on sending. */
  readonly lingerMs?: number
  readonly version: string
  /** Answer requests by whatever host name they came; otherwise only by IP addresses and names without a dot. */
  readonly anyHost?: boolean
}

export interface ServerOptions {
  /** Borrowed: closing the server leaves it open. */
  readonly gateway: Gateway
  readonly config: ServerConfig
  /** For all servers of the process together. */
  readonly bodies: BodyBudget
  readonly clock: Clock
  readonly log: FastifyBaseLogger
  /** Where metrics go; the server's own when left out. */
  readonly registry?: Registry
}

/** For receiving one whole request. */
const requestTimeoutMs = 120_000
const lingerMsDefault = 2000

/**
 * The HTTP server, not yet listening. close() answers new requests with 503, lets those under way finish within the grace
 * period, and then aborts them.
 */
export function createServer(options: ServerOptions): FastifyInstance {
  const { gateway, config, bodies, clock, log } = options
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: config.bodyBytesMax,
    requestTimeout: requestTimeoutMs,
    // A missing one is refused with our body, by refuseForeignPage.
    http: { requireHostHeader: false },
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 16_384 },
    frameworkErrors: (error, request, reply) => sendError(error, request, reply),
    // A logger of its own for every request would cost more than parsing it, and only failures are logged.
    childLoggerFactory: (logger) => logger,
    clientErrorHandler: answerBrokenRequest,
  })
  // An expectation that nobody knows may be ignored (RFC 9110, 10.1.1); Node's own answer has no body.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))
  const connections = limitConnections(app.server, config.connectionsMax)
  const context: ServerContext = {
    gateway,
    clock,
    rules: { kMax: config.kMax, deadlineMs: config.deadlineMs },
    cancellation: createCancellation(),
    metrics: createMetrics(gateway, connections, options.registry),
  }

  app.setReplySerializer((body) => stringifyJson(body as JsonValue))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      refuseOtherCharset(request)
      done(null, parseJsonWithVector(body as Buffer))
    } catch (error) {
      done(error as Error)
    }
  })

  app.setErrorHandler(sendError)
  app.setNotFoundHandler((request) => {
    throw noSuchRoute(request.method, request.url)
  })
  drainOnClose(app, context, config.graceMs)
  const foreign = { anyHost: config.anyHost ?? false }
  // These hooks run for every query and call back at once: a promise each would be a turn of the microtask queue each.
  app.addHook('onRequest', (request, reply, done) => {
    refuseForeignPage(request, foreign)
    // Before the body is read, so that its content type does not matter.
    if (request.is404) throw noSuchRoute(request.method, request.url)
    const encoding = request.headers['content-encoding']
    if (encoding !== undefined && encoding !== 'identity' && request.method !== 'GET')
      throw unsupportedEncoding(encoding)
    reserveBody(bodies, request.raw, reply.raw, config.bodyBytesMax)
    done()
  })
  app.addHook('preParsing', (request, reply, _payload, done) => {
    if (isOfUnknownLength(request.raw)) done(null, countBody(bodies, request.raw, reply.raw))
    else done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    context.metrics.request(
      request.routeOptions.url ?? 'none',
      request.method,
      reply.statusCode,
      reply.elapsedTime / 1000,
    )
    if (request.raw.complete === false) endSoon(request.raw, config.lingerMs ?? lingerMsDefault)
    done()
  })

  // Clients send nothing but pongs.
  app.register(websocket, { options: { maxPayload: 4096 } })
  app.addHook('onReady', async () => ignoreOtherUpgrades(app.server))
  refuseOtherParameters(app)
  const routes = collectRoutes(app)
  app.register(queryRoutes(context))
  app.register(batchRoutes(context))
  app.register(auditRoutes(context))
  app.register(rvfRoutes(context))
  app.register(collectionRoutes(context))
  app.register(sourceRoutes(context))
  app.register(operationsRoutes(context, { routes, version: config.version }))
  app.register(liveRoutes(context))
  app.register(refuseOtherMethods(routes))
  return app
}

/** Closing at once would reset the connection and lose the reply; reading on for ever would serve a flood. */
function endSoon(request: IncomingMessage, lingerMs: number): void {
  const timer = setTimeout(() => request.socket.destroy(), lingerMs)
  request.once('close', () => clearTimeout(timer))
}

const noSuchRoute = (method: string, url: string): GatewayError =>
  new GatewayError('LG_NOT_FOUND', `no such route: ${method} ${url.split('?')[0]}; GET /docs lists them`)

function drainOnClose(app: FastifyInstance, context: ServerContext, graceMs: number): void {
  let draining = false
  let graceTimer: NodeJS.Timeout | undefined
  app.addHook('onRequest', (request, reply, done) => {
    if (!draining || request.url === '/livez') {
      done()
      return
    }
    reply.header('connection', 'close')
    throw shuttingDown({ retryAfterMs: 1000 })
  })
  app.addHook('preClose', async () => {
    draining = true
    graceTimer = setTimeout(() => {
      context.cancellation.abortAll()
      app.server.closeAllConnections()
      // No longer the HTTP server's: a client that does not answer the closing handshake would hold up the shutdown.
      for (const client of app.websocketServer.clients) client.terminate()
    }, graceMs)
  })
  app.addHook('onClose', async () => clearTimeout(graceTimer))
}

/** Routes that are registered after this call. */
function collectRoutes(app: FastifyInstance): readonly RouteOptions[] {
  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route: RouteOptions) => {
    routes.push(route)
  })
  return routes
}

/** Path to the methods that are served there. */
function methodsByPath(routes: readonly RouteOptions[]): ReadonlyMap<string, ReadonlySet<string>> {
  const methods = new Map<string, Set<string>>()
  for (const route of routes) {
    const served = methods.get(route.url) ?? new Set()
    for (const method of [route.method].flat()) served.add(method)
    methods.set(route.url, served)
  }
  return methods
}

/** 405 with Allow where a path exists but not for the method. Registered last. */
function refuseOtherMethods(routes: readonly RouteOptions[]) {
  return async (app: FastifyInstance): Promise<void> => {
    for (const [url, served] of methodsByPath(routes)) {
      const allow = [...served].sort().join(', ')
      const others = app.supportedMethods.filter((method) => !served.has(method))
      app.route({
        method: others,
        url,
        exposeHeadRoute: false,
        schema: { hide: true },
        onRequest: async (request, reply) => {
          reply.header('allow', allow)
          throw new GatewayError('LG_METHOD_NOT_ALLOWED', `${request.method} ${url}: expected ${allow}`)
        },
        handler: () => undefined,
      })
    }
  }
}
