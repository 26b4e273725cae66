/** WS /ws/live: what happens in the gateway, pushed as text messages { event_type, timestamp, data }. */
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import { GatewayError } from '../core/errors.js'
import { formatCollection } from '../core/generation.js'
import { limits } from '../core/limits.js'
import type { GatewayEvent } from '../federation/gateway.js'
import type { ServerContext } from './context.js'

/** A client that has not read this much is dropped. */
const bufferedBytesMax = 1024 * 1024
const heartbeatMs = 30_000

export function liveRoutes(context: ServerContext) {
  const { gateway, clock } = context
  return async (app: FastifyInstance): Promise<void> => {
    const clients = new Map<WebSocket, { alive: boolean }>()

    const unsubscribe = gateway.subscribe((event) => {
      if (clients.size === 0) return
      const message = JSON.stringify({
        event_type: eventType(event),
        timestamp: new Date(clock.now()).toISOString(),
        data: eventData(event),
      })
      for (const socket of clients.keys()) {
        if (socket.bufferedAmount > bufferedBytesMax) socket.terminate()
        else socket.send(message)
      }
    })
    const heartbeat = setInterval(() => {
      for (const [socket, state] of clients) {
        if (!state.alive) socket.terminate()
        else {
          state.alive = false
          socket.ping()
        }
      }
    }, heartbeatMs)
    heartbeat.unref()
    app.addHook('onClose', async () => {
      clearInterval(heartbeat)
      unsubscribe()
    })

    const accept = (socket: WebSocket): void => {
      if (clients.size >= limits.liveClientsMax) {
        socket.close(1013, `too many clients: expected at most ${limits.liveClientsMax} (the limit liveClientsMax)`)
        return
      }
      const state = { alive: true }
      clients.set(socket, state)
      socket.on('pong', () => {
        state.alive = true
      })
      socket.on('error', () => socket.terminate())
      socket.on('close', () => clients.delete(socket))
    }

    app.route({
      method: 'GET',
      url: '/ws/live',
      exposeHeadRoute: false,
      wsHandler: accept,
      handler: (request) => {
        throw new GatewayError(
          'LG_INVALID_REQUEST',
          `upgrade: expected a WebSocket upgrade, found ${request.headers.upgrade ?? 'none'}`,
          {
            field: 'upgrade',
          },
        )
      },
    })
  }
}

const eventType = (event: GatewayEvent): string => (event.kind === 'cache' ? event.event.kind : event.kind)

function eventData(event: GatewayEvent): object {
  switch (event.kind) {
    case 'cache':
      return cacheEventData(event.event)
    case 'written':
    case 'deleted':
      return { collection: formatCollection(event.ref), rows: event.rows, epoch: event.epoch }
    case 'certificate-violated':
      return {
        collection: formatCollection(event.ref),
        code: 'LG_CERTIFICATE_VIOLATED',
        contract: event.contract,
        fault: event.fault,
      }
    case 'source-added':
    case 'source-removed':
      return { source: event.backend }
  }
}

function cacheEventData(event: Extract<GatewayEvent, { kind: 'cache' }>['event']): object {
  const collection = formatCollection(event.ref)
  switch (event.kind) {
    case 'primed':
    case 'refreshed':
      return { collection, generation: event.generation, parts_pulled: event.partsPulled }
    case 'graph-built':
      return { collection, rows: event.rows }
    case 'trained':
      return { collection, centroids: event.centroids, rows: event.rows }
    case 'failed':
      return { collection, code: event.code, message: event.message }
    case 'index-failed':
      return { collection, code: event.error.code, message: event.error.message }
    case 'evicted':
    case 'invalidated':
      return { collection }
  }
}
