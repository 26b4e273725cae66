import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { FastifyInstance } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import type { Gateway } from '../../src/federation/gateway.js'
import { type BodyBudget, createBodyBudget } from '../../src/server/body-budget.js'
import { deferred } from './deferred.js'
import { emptyAnswer, fakeGateway, recordingGateway } from './fake-gateway.js'
import { testServer } from './test-server.js'

const apps: FastifyInstance[] = []
const sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const app of apps.splice(0)) await app.close()
})

/** With a body limit of 100,000 bytes. */
async function listening(bodies: BodyBudget, gateway: Gateway = recordingGateway(emptyAnswer)): Promise<() => Socket> {
  const app = testServer(gateway, { bodyBytesMax: 100_000 }, bodies)
  apps.push(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return () => {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    return socket
  }
}

/** Of the budget under test, what was taken and given back so far. */
function watched(bytesMax: number): BodyBudget & { held: number } {
  const budget = createBodyBudget(bytesMax)
  return {
    ...budget,
    held: 0,
    take(bytes) {
      budget.take(bytes)
      this.held += bytes
    },
    give(bytes) {
      budget.give(bytes)
      this.held -= bytes
    },
  }
}

const body = (bytes: number): string => '{"vector":[1],"k":1}'.padEnd(bytes)
const head = (length: string): string =>
  `POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${length}\r\nConnection: close\r\n\r\n`
const chunk = (bytes: number): string => `${bytes.toString(16)}\r\n${body(bytes)}\r\n`
const whole = (bytes: number): string => `${head(`Content-Length: ${bytes}`)}${body(bytes)}`

describe('law 13: request bodies under way share one budget', () => {
  test('a body too many is refused before it is read, and there is room again when one was answered', async () => {
    const bodies = watched(150_000)
    const dial = await listening(bodies)
    const first = dial()
    first.write(whole(90_000).slice(0, 50_000))
    await expect.poll(() => bodies.held).toBe(90_000)

    const second = dial()
    second.write(head('Content-Length: 70000'))
    const refused = await text(second)
    expect(refused).toMatch(/^HTTP\/1.1 503 .*retry-after: 1\r\n/s)
    expect(refused).toMatch(/"lg_code":"LG_OVERLOADED","field":"body"/)
    expect(refused).toContain(
      'at most 150000 bytes of request bodies at a time (the limit bodiesBytesMax), found 90000',
    )

    const small = dial()
    small.write(whole(60_000))
    expect(await text(small)).toMatch(/^HTTP\/1.1 200/)

    first.write(whole(90_000).slice(50_000))
    expect(await text(first)).toMatch(/^HTTP\/1.1 200/)
    await expect.poll(() => bodies.held).toBe(0)
    const third = dial()
    third.write(whole(70_000))
    expect(await text(third)).toMatch(/^HTTP\/1.1 200/)
  })

  test('a body of unknown length counts as what has arrived of it, until its client leaves', async () => {
    const bodies = watched(150_000)
    const dial = await listening(bodies)
    const chunked = dial()
    chunked.write(`${head('Transfer-Encoding: chunked')}${chunk(70_000)}`)
    await expect.poll(() => bodies.held).toBeGreaterThanOrEqual(64 * 1024)
    expect(bodies.held).toBeLessThanOrEqual(70_000)
    chunked.destroy()
    await once(chunked, 'close')
    await expect.poll(() => bodies.held).toBe(0)
  })

  test('bodies of unknown length that are short are answered however many there are at a time', async () => {
    const bodies = watched(150_000)
    const allHere = deferred<void>()
    let here = 0
    const search = async () => {
      if (++here === 17) allHere.resolve()
      await allHere.promise
      return emptyAnswer
    }
    const dial = await listening(bodies, fakeGateway({ search }))
    const replies = Array.from({ length: 17 }, () => {
      const socket = dial()
      socket.write(`${head('Transfer-Encoding: chunked')}${chunk(1000)}0\r\n\r\n`)
      return text(socket)
    })
    for (const reply of await Promise.all(replies)) expect(reply).toMatch(/^HTTP\/1.1 200/)
    expect(bodies.held).toBe(0)
  })

  test('one that grows beyond what is left is refused, and gives back what it had', async () => {
    const bodies = watched(100_000)
    const dial = await listening(bodies)
    const grown = dial()
    grown.write(`${head('Transfer-Encoding: chunked')}${chunk(70_000)}`)
    await expect.poll(() => bodies.held).toBeGreaterThanOrEqual(64 * 1024)
    const { held } = bodies

    const second = dial()
    second.write(`${head('Transfer-Encoding: chunked')}${chunk(70_000)}`)
    const refused = await text(second)
    expect(refused).toMatch(/^HTTP\/1.1 503 .*"lg_code":"LG_OVERLOADED","field":"body"/s)
    expect(bodies.held).toBe(held)

    grown.write('0\r\n\r\n')
    expect(await text(grown)).toMatch(/^HTTP\/1.1 200/)
    await expect.poll(() => bodies.held).toBe(0)
  })

  test('one of unknown length that grows longer than a body may be is refused for that', async () => {
    const bodies = watched(1_000_000)
    const dial = await listening(bodies)
    const long = dial()
    long.write(`${head('Transfer-Encoding: chunked')}${chunk(70_000)}${chunk(70_000)}${chunk(70_000)}`)
    expect(await text(long)).toMatch(/^HTTP\/1.1 413 .*server\.body_limit/s)
    await expect.poll(() => bodies.held).toBe(0)
  })

  test('those sent one behind another are given back when their client leaves before the first reply', async () => {
    const bodies = watched(1_000_000)
    const never = fakeGateway({ search: () => new Promise(() => undefined) })
    const dial = await listening(bodies, never)
    const hasty = dial()
    const next = `${head('Transfer-Encoding: chunked')}${chunk(80_000)}0\r\n\r\n`.replace('Connection: close\r\n', '')
    hasty.write(next.repeat(5))
    await expect.poll(() => bodies.held).toBeGreaterThanOrEqual(5 * 64 * 1024)
    hasty.destroy()
    await expect.poll(() => bodies.held).toBe(0)
  })

  test('bodies of requests sent one behind another are given back when their client leaves before the first reply', async () => {
    const bodies = watched(1_000_000)
    const never = fakeGateway({ search: () => new Promise(() => undefined) })
    const dial = await listening(bodies, never)
    const hasty = dial()
    const next = whole(80_000).replace('Connection: close\r\n', '')
    hasty.write(next.repeat(11))
    await expect.poll(() => bodies.held).toBe(880_000)
    hasty.destroy()
    await expect.poll(() => bodies.held).toBe(0)
  })

  test('a WebSocket has no body, whatever its handshake says', async () => {
    const bodies = watched(150_000)
    const dial = await listening(bodies)
    const live = dial()
    live.write(
      'GET /ws/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 90000\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    expect(String((await once(live, 'data'))[0])).toMatch(/^HTTP\/1.1 101/)
    expect(bodies.held).toBe(0)
  })

  test('one that is longer than a body may be is refused for that', async () => {
    const dial = await listening(createBodyBudget(0))
    const long = dial()
    long.write(head('Content-Length: 100001'))
    expect(await text(long)).toMatch(/^HTTP\/1.1 413 .*server\.body_limit/s)
  })
})
