import type { FastifyReply } from 'fastify'
import { GatewayError } from '../core/errors.js'

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
  const signalOf = (reply: FastifyReply): AbortSignal => {
    const controller = new AbortController()
    active.add(controller)
    reply.raw.once('close', () => {
      active.delete(controller)
      if (!reply.raw.writableFinished)
        controller.abort(new GatewayError('LG_CANCELLED', 'the client went away before the answer was ready'))
    })
    return controller.signal
  }
  return {
    signalOf,
    signalWithin: (reply, deadlineMs) => AbortSignal.any([signalOf(reply), AbortSignal.timeout(deadlineMs)]),
    abortAll() {
      for (const controller of active)
        controller.abort(new GatewayError('LG_OVERLOADED', 'the gateway is shutting down', { retryAfterMs: 1000 }))
      active.clear()
    },
  }
}
