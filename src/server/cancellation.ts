import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import { GatewayError, shuttingDown } from '../core/errors.js'

/** Signals of the requests under way. */
export interface Cancellation {
  /** Aborts with LG_CANCELLED when the client goes away before the reply was sent. */
  signalOf(reply: FastifyReply): AbortSignal
  /** As signalOf, and with LG_DEADLINE_EXCEEDED when `deadlineMs` have passed. */
  signalWithin(reply: FastifyReply, deadlineMs: number): AbortSignal
  /** Aborts every request under way: the grace period of a shutdown is over. */
  abortAll(): void
}

export function createCancellation(): Cancellation {
  const active = new Set<AbortController>()
  // One a connection, whose requests end together when it closes: one a request would cost more than parsing it.
  const byConnection = new WeakMap<Socket, AbortController>()
  const signalOf = ({ request: { socket } }: FastifyReply): AbortSignal => {
    let controller = byConnection.get(socket)
    if (controller === undefined) {
      const made = new AbortController()
      // Requests that a client sends without waiting for replies are under way at once, and each listens.
      setMaxListeners(0, made.signal)
      controller = made
      byConnection.set(socket, made)
      active.add(made)
      const leave = (): void => {
        active.delete(made)
        made.abort(new GatewayError('LG_CANCELLED', 'the client went away before the answer was ready'))
      }
      if (socket.destroyed) leave()
      else socket.once('close', leave)
    }
    return controller.signal
  }
  return {
    signalOf,
    signalWithin: (reply, deadlineMs) => AbortSignal.any([signalOf(reply), AbortSignal.timeout(deadlineMs)]),
    abortAll() {
      for (const controller of active) controller.abort(shuttingDown({ retryAfterMs: 1000 }))
      active.clear()
    },
  }
}
