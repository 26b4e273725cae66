/** Memory for what clients send: a common limit on request bodies and RVF frames that are under way. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
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

/** Reserves room for a request's body whose length is known, before it is read. Throws LG_OVERLOADED. */
export function reserveBody(
  budget: BodyBudget,
  request: IncomingMessage,
  reply: ServerResponse,
  bodyBytesMax: number,
): void {
  const declared = request.headers['content-length']
  if (declared === undefined || isUpgrade(request)) return
  const bytes = Number(declared)
  if (bytes < countedBytesMin || bytes > bodyBytesMax) return // too long: refused without being read
  shareOf(budget, request, reply).take(bytes)
}

/** Whether nothing tells how long a request's body will be. */
export const isOfUnknownLength = (request: IncomingMessage): boolean =>
  request.headers['transfer-encoding'] !== undefined && !isUpgrade(request)

/**
 * The body of a request, with room reserved for what has arrived of it. The stream fails with LG_OVERLOADED where there is
 * none left; the request can be answered then.
 */
export function countBody(budget: BodyBudget, request: IncomingMessage, reply: ServerResponse): Readable {
  const share = shareOf(budget, request, reply)
  const counted = async function* (): AsyncGenerator<Buffer> {
    let uncounted = 0
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      uncounted += chunk.length
      if (uncounted >= countedBytesMin) {
        share.take(uncounted)
        uncounted = 0
      }
      yield chunk
    }
  }
  const body = Readable.from(counted(), { objectMode: false })
  body.on('error', () => {}) // who reads it is told; nobody does once it is longer than a body may be
  return body
}

/** Node marks handshakes so; whatever their headers announce, nothing is read of it. */
const isUpgrade = (request: IncomingMessage): boolean =>
  (request as { readonly upgrade?: boolean | null }).upgrade === true

/** What one request has of the budget, until its reply was sent or its client has gone; from then on it takes nothing. */
function shareOf(budget: BodyBudget, { socket }: IncomingMessage, reply: ServerResponse): Pick<BodyBudget, 'take'> {
  const taken: number[] = []
  let over = socket.destroyed
  const giveBack = (): void => {
    if (over) return // both close at once
    over = true
    socket.off('close', giveBack)
    for (const bytes of taken) budget.give(bytes)
  }
  reply.once('close', giveBack)
  // A reply that waits for others before it on its connection is not told when that closes.
  socket.setMaxListeners(0)
  socket.once('close', giveBack)
  return {
    take(bytes) {
      if (over) return
      budget.take(bytes)
      taken.push(bytes)
    },
  }
}
