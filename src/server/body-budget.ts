/** Memory for what clients send: a common limit on request bodies and RVF frames that are under way. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError } from '../core/errors.js'

/** Smaller bodies are not counted: about one read of a socket each, they are bounded by the number of connections. */
const countedBytesMin = 64 * 1024

export interface BodyBudget {
  readonly bytesMax: number
  /** Reserves room for a body of this length until `give` is called with the same. Throws LG_OVERLOADED. */
  take(bytes: number): void
  give(bytes: number): void
}

export function createBodyBudget(bytesMax: number): BodyBudget {
  let held = 0
  return {
    bytesMax,
    take(bytes) {
      if (bytes < countedBytesMin) return
      if (held + bytes > bytesMax)
        throw new GatewayError(
          'LG_OVERLOADED',
          `body: expected at most ${bytesMax} bytes of request bodies at a time (the limit bodiesBytesMax), found ${held} and ${bytes} more; try again`,
          { field: 'body', retryAfterMs: 1000 },
        )
      held += bytes
    },
    give(bytes) {
      if (bytes >= countedBytesMin) held -= bytes
    },
  }
}

/**
 * Reserves room for a request's body, before it is read, until its reply was sent or its client has gone. One of unknown length counts as the
 * largest that may come. Throws LG_OVERLOADED.
 */
export function reserveBody(
  budget: BodyBudget,
  request: IncomingMessage,
  reply: ServerResponse,
  bodyBytesMax: number,
): void {
  const { headers, socket } = request
  // Node marks handshakes so; whatever their headers announce, nothing is read of it.
  if ((request as { readonly upgrade?: boolean | null }).upgrade === true) return
  const declared = headers['content-length']
  if (declared === undefined && headers['transfer-encoding'] === undefined) return
  const bytes = declared === undefined ? bodyBytesMax : Number(declared)
  if (bytes < countedBytesMin || bytes > bodyBytesMax) return // too long: refused without being read
  if (socket.destroyed) return // nobody is told any more
  budget.take(bytes)
  let held = true
  const giveBack = (): void => {
    if (!held) return // both close at once
    held = false
    socket.off('close', giveBack)
    budget.give(bytes)
  }
  reply.once('close', giveBack)
  // A reply that waits for others before it on its connection is not told when that closes.
  socket.setMaxListeners(0)
  socket.once('close', giveBack)
}
