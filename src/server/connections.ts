/** What happens below the framework: how many connections the HTTP server holds, and bytes that are no HTTP request. */
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { GatewayError } from '../core/errors.js'
import { errorBody } from './error-reply.js'

/** Refused connections that are told why at one time; more are closed without a word, so that a flood costs no memory. */
const farewellsMax = 128
/** How long a client may take to read why. */
const farewellMs = 1000

export interface ConnectionCounts {
  /** Held now, WebSockets included. */
  readonly open: number
  /** Refused since the start. */
  readonly refused: number
}

/**
 * Refuses connections beyond `connectionsMax` with 503 before anything is read or allocated for them. Call it before the
 * server listens.
 * @returns live counts
 */
export function limitConnections(server: Server, connectionsMax: number): ConnectionCounts {
  const accept = server.listeners('connection')
  const counts = { open: 0, refused: 0 }
  /** One may begin anew, see ignoreOtherUpgrades. */
  const held = new WeakSet<Socket>()
  let farewells = 0
  const refused = rawReply(
    new GatewayError(
      'LG_OVERLOADED',
      `connections: expected at most ${connectionsMax} at a time (the limit server.connections_max); close idle ones or try again`,
      { retryAfterMs: 1000 },
    ),
  )
  const refuse = (socket: Socket): void => {
    counts.refused += 1
    if (farewells >= farewellsMax) {
      socket.destroy()
      return
    }
    farewells += 1
    const timer = setTimeout(() => socket.destroy(), farewellMs)
    socket.once('close', () => {
      clearTimeout(timer)
      farewells -= 1
    })
    socket.on('error', () => socket.destroy())
    // Unread bytes would turn the close into a reset, and the reply would be lost.
    socket.resume()
    socket.end(refused)
  }
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    if (!held.has(socket)) {
      if (counts.open >= connectionsMax) {
        refuse(socket)
        return
      }
      held.add(socket)
      counts.open += 1
      socket.once('close', () => {
        counts.open -= 1
      })
    }
    for (const listener of accept) listener.call(server, socket)
  })
  return counts
}

/**
 * Has requests for another protocol than WebSocket answered over HTTP/1.1, as a server may (RFC 9110, 7.8): some clients offer
 * h2c with every first request. Node hands over every upgrade once somebody listens, so call it when WebSockets do.
 */
export function ignoreOtherUpgrades(server: Server): void {
  const upgrade = server.listeners('upgrade')
  server.removeAllListeners('upgrade')
  server.on('upgrade', (request: IncomingMessage, socket: Socket, rest: Buffer) => {
    if (request.headers.upgrade?.toLowerCase() === 'websocket') {
      for (const listener of upgrade) listener.call(server, request, socket, rest)
      return
    }
    // As if the connection began with the same request without its offer.
    socket.unshift(Buffer.concat([withoutUpgrade(request), rest]))
    server.emit('connection', socket)
  })
}

function withoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  let text = `${method} ${url} HTTP/${httpVersion}\r\n`
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    let value = rawHeaders[i + 1]!
    if (/^(?:upgrade|http2-settings)$/i.test(name)) continue
    if (/^connection$/i.test(name)) value = value.replaceAll(/\b(?:upgrade|http2-settings)\b\s*,?\s*/gi, '')
    text += `${name}: ${value}\r\n`
  }
  return Buffer.from(`${text}\r\n`, 'latin1')
}

/** Answers bytes that the HTTP parser refuses, after the requests before them, and closes. */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Node keeps the reply under way there, and its own answer to broken requests looks at it.
  const { _httpMessage: reply } = socket as { readonly _httpMessage?: ServerResponse | null }
  if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy()
  else if (reply?.req.complete) reply.once('close', () => setImmediate(answerBrokenRequest, error, socket))
  else socket.end(rawReply(brokenRequest(error)), () => socket.destroy())
}

function brokenRequest(error: NodeJS.ErrnoException): GatewayError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new GatewayError('LG_HEADERS_TOO_LARGE', 'request: expected at most 16 KiB of request line and headers', {
        field: 'headers',
      })
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new GatewayError('LG_REQUEST_TIMEOUT', 'request: it did not arrive in time; send it at once')
    default:
      return new GatewayError(
        'LG_INVALID_REQUEST',
        `request: expected HTTP/1.1, found something else (${error.message})`,
        { cause: error },
      )
  }
}

/** A whole HTTP reply that ends its connection. */
function rawReply(error: GatewayError): Buffer {
  const body = JSON.stringify(errorBody(error))
  const retry = error.retryAfterMs === undefined ? '' : `retry-after: ${Math.ceil(error.retryAfterMs / 1000)}\r\n`
  return Buffer.from(
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${retry}connection: close\r\n\r\n${body}`,
  )
}
