import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import pino from 'pino'
import { afterEach, describe, expect, test } from 'vitest'
import { backendId } from '../../src/core/generation.js'
import type { Answer } from '../../src/federation/answer.js'
import type { Gateway } from '../../src/federation/gateway.js'
import { createBodyBudget } from '../../src/server/body-budget.js'
import { type RvfTcpOptions, type RvfTcpServer, startRvfTcp } from '../../src/server/rvf-tcp.js'
import { deferred } from './deferred.js'
import { fakeGateway } from './fake-gateway.js'

const servers: RvfTcpServer[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) await server.close(0)
})

async function start(
  gateway: Gateway,
  options: Partial<Pick<RvfTcpOptions, 'idleMs' | 'connectionsMax' | 'bodies'>> = {},
) {
  const server = await startRvfTcp({
    gateway,
    host: '127.0.0.1',
    port: 0,
    rules: { kMax: 10, deadlineMs: 1000 },
    connectionsMax: 1024,
    bodies: createBodyBudget(2 ** 28),
    log: pino({ level: 'silent' }),
    ...options,
  })
  servers.push(server)
  return server
}

async function dial(server: RvfTcpServer): Promise<Socket> {
  const socket = connect(server.port, '127.0.0.1')
  sockets.push(socket)
  await once(socket, 'connect')
  return socket
}

const frame = (type: number, id: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(payload.length, 0)
  head[4] = type
  head.writeUIntBE(id, 5, 3)
  return Buffer.concat([head, payload])
}

const queryPayload = (k: number, ...vector: number[]): Buffer =>
  Buffer.concat([Buffer.from(Uint32Array.of(k, vector.length).buffer), Buffer.from(Float32Array.from(vector).buffer)])

interface Reply {
  readonly type: number
  readonly id: number
  readonly payload: Buffer
}

function split(bytes: Buffer): Reply[] {
  const replies: Reply[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    replies.push({
      type: bytes[at + 4]!,
      id: bytes.readUIntBE(at + 5, 3),
      payload: bytes.subarray(at + 8, at + 8 + length),
    })
    at += 8 + length
  }
  return replies
}

/** Sends everything, closes the sending side, and reads to the end. */
async function exchange(server: RvfTcpServer, ...chunks: Buffer[]): Promise<Reply[]> {
  const socket = await dial(server)
  for (const chunk of chunks) socket.write(chunk)
  socket.end()
  return split(await buffer(socket))
}

const hit = (id: bigint | string, distance: number): Answer['results'][number] => ({
  id,
  distance,
  backend: backendId('local'),
  collection: 'default',
  metadata: null,
  vector: null,
})

const answering = (results: Answer['results']) => fakeGateway({ search: async () => ({ results, receipt: null }) })

const errorText = (reply: Reply): string => reply.payload.toString('utf8', 4)
const errorCode = (reply: Reply): number => reply.payload.readUInt16LE(0)

describe('RVF over TCP', () => {
  test('a query, byte for byte as recorded', async () => {
    const server = await start(answering([hit(1n, 0.81), hit(2n ** 64n - 1n, 3.01)]))
    const [reply] = await exchange(server, frame(1, 7, queryPayload(2, 0.9, 0, 0, 0)))
    expect(reply).toMatchObject({ type: 0x81, id: 7 })
    expect(reply!.payload.toString('hex')).toBe('020000000100000000000000295c4f3fffffffffffffffffd7a34040')
  })

  test('k = 0 is an answer of nothing', async () => {
    const [reply] = await exchange(await start(fakeGateway()), frame(1, 1, queryPayload(0, 1)))
    expect(reply).toEqual({ type: 0x81, id: 1, payload: Buffer.alloc(4) })
  })

  test('frames in any pieces, many at once, are answered in order', async () => {
    let running = 0
    const gateway = fakeGateway({
      search: async (query) => {
        running += 1
        expect(running).toBe(1)
        await new Promise(setImmediate)
        running -= 1
        const vector = query.target.kind === 'vector' ? query.target.vector : []
        return { results: [hit(BigInt(vector[0]!), 0)], receipt: null }
      },
    })
    const server = await start(gateway)
    const all = Buffer.concat(Array.from({ length: 50 }, (_, i) => frame(1, i, queryPayload(1, i))))
    for (const pieceBytes of [1, 7, 24, all.length]) {
      const pieces = Array.from({ length: Math.ceil(all.length / pieceBytes) }, (_, i) =>
        all.subarray(i * pieceBytes, (i + 1) * pieceBytes),
      )
      const replies = await exchange(server, ...pieces)
      expect(replies.map((reply) => [reply.type, reply.id, Number(reply.payload.readBigUInt64LE(4))])).toEqual(
        Array.from({ length: 50 }, (_, i) => [0x81, i, i]),
      )
    }
  })

  test.each([
    ['query header', 1, Buffer.alloc(7), 0x0200, 'payload too short for query'],
    ['query vector', 1, queryPayload(1, 1).subarray(0, 11), 0x0200, 'payload too short for vector data'],
    ['ingest header', 2, Buffer.alloc(5), 0x0300, 'payload too short for ingest header'],
    ['ingest data', 2, Buffer.from('ffffffff0000', 'hex'), 0x0300, 'payload too short for ingest data'],
    ['delete header', 3, Buffer.alloc(3), 0x0300, 'payload too short for delete'],
    ['delete ids', 3, Buffer.from('ffffffff', 'hex'), 0x0300, 'payload too short for delete ids'],
    ['unknown type', 9, Buffer.alloc(0), 0x0107, 'unknown message type'],
    ['NaN', 1, queryPayload(1, Number.NaN), 400, 'vector[0]: expected a finite number, found NaN'],
    ['k too large', 1, queryPayload(11, 1), 413, 'k: expected at most 10 (the limit query.k_max), found 11'],
  ])('error for %s', async (_name, type, payload, code, message) => {
    const [reply, next] = await exchange(
      await start(fakeGateway()),
      frame(type, 3, payload),
      frame(1, 4, queryPayload(0, 1)),
    )
    expect(reply).toMatchObject({ type: 0xff, id: 3 })
    expect([errorCode(reply!), errorText(reply!)]).toEqual([code, message])
    expect(next).toMatchObject({ type: 0x81, id: 4 })
  })

  test('a frame over 16 MiB is error 0x0104 and the end of the connection', async () => {
    const server = await start(fakeGateway())
    const replies = await exchange(server, Buffer.from('0100000101000009', 'hex'))
    expect(replies.map((reply) => [reply.type, reply.id, errorCode(reply)])).toEqual([[0xff, 9, 0x0104]])
  })

  test('ids that are not unsigned 64-bit integers cannot be sent', async () => {
    for (const id of ['a', -1n]) {
      const [reply] = await exchange(await start(answering([hit(id, 0)])), frame(1, 1, queryPayload(1, 1)))
      expect(reply!.type).toBe(0xff)
      expect(errorText(reply!)).toContain('unsigned 64-bit ids')
    }
  })

  test('a defect says "internal error" and no more', async () => {
    const gateway = fakeGateway({ search: async () => Promise.reject(new Error('secret')) })
    const [reply] = await exchange(await start(gateway), frame(1, 1, queryPayload(1, 1)))
    expect([errorCode(reply!), errorText(reply!)]).toEqual([500, 'internal error'])
  })

  test('a client that goes away aborts its query', async () => {
    const aborted = deferred<unknown>()
    const started = deferred()
    const gateway = fakeGateway({
      search: (_query, { signal }) => {
        started.resolve()
        return new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            aborted.resolve(signal.reason)
            reject(signal.reason)
          })
        })
      },
    })
    const socket = await dial(await start(gateway))
    socket.write(frame(1, 1, queryPayload(1, 1)))
    await started.promise
    socket.resetAndDestroy()
    expect(await aborted.promise).toMatchObject({ code: 'LG_CANCELLED' })
  })

  test('a connection on which nothing moves is closed', async () => {
    const socket = await dial(await start(fakeGateway(), { idleMs: 5 }))
    socket.write(Buffer.from([0]))
    await once(socket, 'close')
  })

  test('close lets the message under way finish', async () => {
    const started = deferred()
    const release = deferred()
    const gateway = fakeGateway({
      search: async () => {
        started.resolve()
        await release.promise
        return { results: [hit(1n, 0)], receipt: null }
      },
    })
    const server = await start(gateway)
    const idle = await dial(server)
    const busy = await dial(server)
    busy.write(frame(1, 1, queryPayload(1, 1)))
    const replies = buffer(busy)
    await started.promise
    const closed = server.close(60_000)
    await once(idle, 'close')
    release.resolve()
    expect(split(await replies).map((reply) => reply.type)).toEqual([0x81])
    await closed
  })

  test('close lets a reply that its client has not yet read go out whole', async () => {
    const results = Array.from({ length: 1_000_000 }, (_, i) => hit(BigInt(i), i))
    const server = await start(fakeGateway({ search: async () => ({ results, receipt: null }) }))
    const slow = await dial(server)
    slow.write(frame(1, 1, queryPayload(1, 1)))
    await once(slow, 'readable') // its beginning has arrived, and more than fits between the two is to come
    const closed = server.close(60_000)
    const [reply] = split(await buffer(slow))
    expect(reply!.payload.length).toBeGreaterThan(results.length * 12)
    await closed
  })
})

test('law 13: a connection too many gets an error frame and is closed', async () => {
  const server = await start(fakeGateway({}), { connectionsMax: 1 })
  await dial(server)
  const [reply] = split(await buffer(await dial(server)))
  expect(reply).toMatchObject({ type: 0xff, id: 0 })
  expect(reply!.payload.toString()).toContain('at most 1 at a time (the limit server.connections_max)')
})

test('law 13: a frame too many for the common budget gets an error frame before it is read; an answered one makes room', async () => {
  const server = await start(fakeGateway(), { bodies: createBodyBudget(150_000) })
  const large = frame(9, 1, Buffer.alloc(100_000))
  const unfinished = await dial(server)
  unfinished.write(large.subarray(0, 50_000))
  const answered = buffer(unfinished)
  await expect
    .poll(async () => (await exchange(server, large)).map((reply) => [errorCode(reply), errorText(reply)]))
    .toEqual([[503, expect.stringContaining('(the limit bodiesBytesMax), found 100000 and 100000 more')]])
  unfinished.end(Buffer.concat([large.subarray(50_000), large]))
  expect(split(await answered).map(errorText)).toEqual(['unknown message type', 'unknown message type'])
  expect((await exchange(server, large)).map(errorText)).toEqual(['unknown message type'])

  const lost = await dial(server)
  lost.write(large.subarray(0, 50_000))
  await expect.poll(async () => (await exchange(server, large)).map(errorCode)).toEqual([503])
  lost.destroy()
  await expect.poll(async () => (await exchange(server, large)).map(errorText)).toEqual(['unknown message type'])
})
