import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { FastifyInstance } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { fakeGateway } from './fake-gateway.js'
import { testServer } from './test-server.js'

const apps: FastifyInstance[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const app of apps.splice(0)) await app.close()
})

async function listening(connectionsMax: number): Promise<{ readonly app: FastifyInstance; dial(): Socket }> {
  const app = testServer(fakeGateway({}), { connectionsMax })
  apps.push(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return {
    app,
    dial() {
      const socket = connect(port, '127.0.0.1')
      sockets.push(socket)
      return socket
    },
  }
}

const health = 'GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n'

/** Sends a request and resolves with the first bytes of the reply; the connection stays open. */
async function asked(socket: Socket): Promise<string> {
  socket.write(health)
  return String((await once(socket, 'data'))[0])
}

const replyOf = (raw: string) => ({
  status: Number(/^HTTP\/1\.1 (\d+) /.exec(raw)?.[1]),
  body: JSON.parse(raw.slice(raw.indexOf('\r\n\r\n'))) as Record<string, unknown>,
})

const metric = async (app: FastifyInstance, name: string): Promise<number> => {
  const page = (await app.inject('/metrics')).body
  return Number(
    page
      .split('\n')
      .find((line) => line.startsWith(`${name} `))!
      .split(' ')[1],
  )
}

describe('law 13: connections_max', () => {
  test('a connection too many is told so and closed; when one closes there is room again', async () => {
    const { app, dial } = await listening(2)
    const [first, second] = [dial(), dial()]
    expect(await asked(first)).toMatch(/^HTTP\/1.1 200/)
    expect(await asked(second)).toMatch(/^HTTP\/1.1 200/)
    const third = dial()
    third.write(health)
    const { status, body } = replyOf(await text(third))
    expect(status).toBe(503)
    expect(body).toMatchObject({
      lg_code: 'LG_OVERLOADED',
      retry: 'later',
      error: expect.stringMatching(/at most 2 .*server\.connections_max/),
    })
    expect(await asked(first)).toMatch(/^HTTP\/1.1 200/)
    expect(await metric(app, 'lakegate_http_connections')).toBe(2)
    expect(await metric(app, 'lakegate_http_connections_refused_total')).toBe(1)
    second.destroy()
    await expect.poll(() => metric(app, 'lakegate_http_connections')).toBe(1)
    expect(await asked(dial())).toMatch(/^HTTP\/1.1 200/)
  })

  test('of a burst, as many are served as there is room for, and the server lives on', async () => {
    const { app, dial } = await listening(50)
    const outcomes = await Promise.all(
      Array.from({ length: 2000 }, async () => {
        const socket = dial()
        socket.on('error', () => undefined) // a flood is closed without a word
        socket.write(health)
        const [data] = await Promise.race([once(socket, 'data'), once(socket, 'close')])
        return Buffer.isBuffer(data) ? String(data).slice(9, 12) : 'closed'
      }),
    )
    const count = (outcome: string): number => outcomes.filter((found) => found === outcome).length
    expect(count('200')).toBe(50)
    expect(count('503')).toBeGreaterThan(0)
    expect(count('200') + count('503') + count('closed')).toBe(2000)
    expect(await metric(app, 'lakegate_http_connections')).toBe(50)
    for (const socket of sockets.splice(0)) socket.destroy()
    await expect.poll(() => metric(app, 'lakegate_http_connections')).toBe(0)
    expect(await asked(dial())).toMatch(/^HTTP\/1.1 200/)
  })
})

describe('bytes that the HTTP parser refuses', () => {
  test.each([
    ['no HTTP', '\u0000\u0001nonsense\r\n\r\n', 400, 'LG_INVALID_REQUEST'],
    ['a broken header', 'GET / HTTP/1.1\r\nno colon\r\n\r\n', 400, 'LG_INVALID_REQUEST'],
    ['headers without end', `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}`, 431, 'LG_HEADERS_TOO_LARGE'],
  ])('%s gets our error body, and a closed connection', async (_name, bytes, status, code) => {
    const { dial } = await listening(10)
    const socket = dial()
    socket.write(bytes)
    const reply = replyOf(await text(socket))
    expect(reply.status).toBe(status)
    expect(reply.body).toMatchObject({ lg_code: code, docs: `docs/errors.md#${code.toLowerCase()}` })
  })

  test('what was asked before them is answered first, as often as it was asked', async () => {
    const { dial } = await listening(10)
    const socket = dial()
    socket.write(`${health}${health}nonsense\r\n\r\n`)
    const replies = await text(socket)
    expect(replies.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 400'])
  })

  test('a body that breaks off into nonsense is answered at once', async () => {
    const { dial } = await listening(10)
    const socket = dial()
    socket.write(
      'POST /v1/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n',
    )
    socket.write('5\r\n{"vecnonsense')
    expect(replyOf(await text(socket)).status).toBe(400)
  })

  test('without Host it is refused by name, but for HTTP/1.0, which has none', async () => {
    const { dial } = await listening(10)
    const socket = dial()
    socket.write('GET /v1/health HTTP/1.1\r\nConnection: close\r\n\r\n')
    const reply = replyOf(await text(socket))
    expect(reply.status).toBe(400)
    expect(reply.body).toMatchObject({ lg_code: 'LG_INVALID_REQUEST', field: 'host' })
    const old = dial()
    old.write('GET /v1/health HTTP/1.0\r\n\r\n')
    expect(await text(old)).toMatch(/^HTTP\/1.1 200/)
  })

  test('an expectation that nobody knows is ignored', async () => {
    const { dial } = await listening(10)
    const socket = dial()
    socket.write(health.replace('Host: x', 'Host: x\r\nExpect: wonders\r\nConnection: close'))
    expect(replyOf(await text(socket)).body).toEqual({ status: 'ok' })
  })

  test('a request that does not arrive in time gets 408', async () => {
    const { app, dial } = await listening(10)
    const accepted = once(app.server, 'connection')
    const socket = dial()
    const [serverSide] = await accepted
    // Node looks for late requests every 30 seconds; this is what it then does.
    app.server.emit('clientError', Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), serverSide)
    const reply = replyOf(await text(socket))
    expect(reply.status).toBe(408)
    expect(reply.body).toMatchObject({ lg_code: 'LG_REQUEST_TIMEOUT', retry: 'later' })
  })
})

test('an offer of another protocol is ignored: the request is answered, with its body, and so is what follows it', async () => {
  const { dial } = await listening(2)
  const socket = dial()
  const offer =
    'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n'
  const body = JSON.stringify({ queries: 'none' })
  const post = `POST /v1/query/batch HTTP/1.1\r\nHost: x\r\n${offer}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  await new Promise((sent) => socket.write(post + body.slice(0, 5), sent))
  socket.write(body.slice(5))
  const first = replyOf(String((await once(socket, 'data'))[0]))
  expect(first).toMatchObject({ status: 422, body: { field: 'queries' } })
  expect(await asked(socket)).toMatch(/^HTTP\/1.1 200/)
  socket.write(health.replace('Host', `${offer}Host`))
  expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1.1 200/)
})
