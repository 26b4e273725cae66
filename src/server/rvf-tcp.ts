/** RVF's binary protocol over TCP. A connection's messages are answered in order. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { GatewayError, toGatewayError } from '../core/errors.js'
import { limits } from '../core/limits.js'
import type { Gateway } from '../federation/gateway.js'
import type { BodyBudget } from './body-budget.js'
import { parseQuery, type QueryRules } from './parse-query.js'
import {
  encodeError,
  encodeFrame,
  type Frame,
  FrameDecoder,
  type FrameHeader,
  replyTypes,
  requestTypes,
} from './rvf-frames.js'
import {
  decodeDelete,
  decodeIngest,
  decodeQuery,
  encodeDeleted,
  encodeIngested,
  encodeResults,
  encodeStatus,
  RvfMessageError,
} from './rvf-messages.js'
import { ingestRows } from './rvf-write.js'

export interface RvfTcpOptions {
  /** Borrowed. */
  readonly gateway: Gateway
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly rules: QueryRules
  readonly connectionsMax: number
  /** For all servers of the process together. */
  readonly bodies: BodyBudget
  readonly log: FastifyBaseLogger
  /** A connection on which nothing moves for this long is closed. */
  readonly idleMs?: number
}

export interface RvfTcpServer {
  readonly port: number
  /** Stops accepting, lets messages under way finish for at most `graceMs`, closes all connections. */
  close(graceMs: number): Promise<void>
}

const idleMsDefault = 300_000
const lingerMs = 2000
/** Refused connections that are told why at one time. */
const farewellsMax = 128

/** Resolves when listening; rejects with the listen error. */
export async function startRvfTcp(options: RvfTcpOptions): Promise<RvfTcpServer> {
  const connections = new Map<Socket, Connection>()
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    if (connections.size >= options.connectionsMax) {
      refuse(socket, options.connectionsMax)
      return
    }
    const connection = new Connection(socket, options)
    connections.set(socket, connection)
    socket.once('close', () => connections.delete(socket))
    void connection.serve()
  })
  // Beyond these, connections are closed without a word.
  server.maxConnections = options.connectionsMax + farewellsMax
  server.listen(options.port, options.host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close(graceMs) {
      const closed = once(server, 'close')
      server.close()
      for (const connection of connections.values()) connection.finish()
      const timer = setTimeout(() => {
        for (const socket of connections.keys()) socket.destroy()
      }, graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}

function refuse(socket: Socket, connectionsMax: number): void {
  const error = new GatewayError(
    'LG_OVERLOADED',
    `connections: expected at most ${connectionsMax} at a time (the limit server.connections_max)`,
  )
  const timer = setTimeout(() => socket.destroy(), lingerMs)
  socket.once('close', () => clearTimeout(timer))
  socket.on('error', () => socket.destroy())
  // Unread bytes would turn the close into a reset, and the reply would be lost.
  socket.resume()
  socket.end(encodeFrame(replyTypes.error, new Uint8Array(3), encodeError(error.rvfCode, error.message)))
}

class Connection {
  readonly #socket: Socket
  readonly #options: RvfTcpOptions
  readonly #closed = new AbortController()
  /** Until the reply has left. */
  #answering = false
  #finishing = false
  /** Reserved for the message under way. */
  #heldBytes = 0

  constructor(socket: Socket, options: RvfTcpOptions) {
    this.#socket = socket
    this.#options = options
    socket.setTimeout(options.idleMs ?? idleMsDefault, () => socket.destroy())
    socket.once('close', () =>
      this.#closed.abort(new GatewayError('LG_CANCELLED', 'the client went away before the answer was ready')),
    )
  }

  /** Closes after the message under way. */
  finish(): void {
    this.#finishing = true
    if (!this.#answering) this.#socket.destroy()
  }

  /** Reads only as fast as it answers, so a flood of messages waits in the client. */
  async serve(): Promise<void> {
    const decoder = new FrameDecoder()
    try {
      // Leaving the loop must not destroy the socket: its last reply may not be out yet.
      for await (const chunk of this.#socket.iterator({ destroyOnReturn: false })) {
        for (const frame of decoder.push(chunk as Buffer)) {
          if ('payloadBytes' in frame) {
            const refusal = this.#admit(frame)
            if (refusal === null) continue
            this.#endAfter(encodeFrame(replyTypes.error, frame.messageId, refusal))
            return
          }
          this.#answering = true
          await this.#send(await this.#answer(frame))
          this.#answering = false
          this.#giveBack()
          if (this.#finishing) {
            this.#endAfter(Buffer.alloc(0))
            return
          }
        }
      }
      // The client closed its sending side; all it asked has been answered.
      this.#socket.end()
    } catch (error) {
      // The peer broke the connection: there is nobody to tell.
      this.#options.log.debug({ err: error }, 'RVF connection ended')
      this.#socket.destroy()
    } finally {
      this.#giveBack()
    }
  }

  /** @returns the payload of an error when the frame may not come */
  #admit({ type, payloadBytes }: FrameHeader): Buffer | null {
    if (type === 'oversized')
      return encodeError(
        0x0104,
        `frame too large: expected at most ${limits.rvfFrameBytesMax} bytes of payload, found ${payloadBytes}`,
      )
    try {
      this.#options.bodies.take(payloadBytes)
    } catch (thrown) {
      const error = toGatewayError(thrown)
      return encodeError(error.rvfCode, error.message)
    }
    this.#heldBytes = payloadBytes
    return null
  }

  #giveBack(): void {
    this.#options.bodies.give(this.#heldBytes)
    this.#heldBytes = 0
  }

  /** Sends a last frame and closes; what the client still sends is dropped, for a short while. */
  #endAfter(frame: Buffer): void {
    this.#socket.end(frame)
    this.#socket.resume()
    const timer = setTimeout(() => this.#socket.destroy(), lingerMs)
    this.#socket.once('close', () => clearTimeout(timer))
  }

  async #send(frame: Buffer): Promise<void> {
    if (!this.#socket.write(frame)) await once(this.#socket, 'drain', { signal: this.#closed.signal })
  }

  async #answer(frame: Frame): Promise<Buffer> {
    try {
      const { type, payload } = await this.#handle(frame)
      return encodeFrame(type, frame.messageId, payload)
    } catch (thrown) {
      return encodeFrame(replyTypes.error, frame.messageId, this.#errorPayload(thrown))
    }
  }

  #errorPayload(thrown: unknown): Buffer {
    if (thrown instanceof RvfMessageError) return encodeError(thrown.code, thrown.message)
    const error = toGatewayError(thrown)
    if (error.status >= 500) this.#options.log.error({ err: error, cause: error.cause }, error.code)
    return encodeError(error.rvfCode, error.code === 'LG_INTERNAL' ? 'internal error' : error.message)
  }

  async #handle({ type, payload }: Frame): Promise<{ readonly type: number; readonly payload: Buffer }> {
    const { gateway, rules } = this.#options
    const options = { signal: this.#closed.signal }
    switch (type) {
      case requestTypes.query: {
        const { k, vector } = decodeQuery(payload)
        if (k === 0) return { type: replyTypes.query, payload: encodeResults([]) }
        const query = parseQuery({ vector, k, select: [], receipt: false }, rules)
        const answer = await gateway.search(query, options)
        return { type: replyTypes.query, payload: encodeResults(answer.results) }
      }
      case requestTypes.ingest: {
        const reply = await ingestRows(gateway, decodeIngest(payload), options)
        return { type: replyTypes.ingest, payload: encodeIngested(reply) }
      }
      case requestTypes.delete: {
        const reply = await gateway.delete(decodeDelete(payload), options)
        return { type: replyTypes.delete, payload: encodeDeleted(reply) }
      }
      case requestTypes.status:
        return { type: replyTypes.status, payload: encodeStatus(await gateway.writableStatus(options)) }
      default:
        throw new RvfMessageError(0x0107, 'unknown message type')
    }
  }
}
