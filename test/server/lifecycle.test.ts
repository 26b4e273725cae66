import { EventEmitter, once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { GatewayError } from '../../src/core/errors.js'
import { backendId } from '../../src/core/generation.js'
import type { Gateway, GatewayEvent } from '../../src/federation/gateway.js'
import { deferred } from './deferred.js'
import { emptyAnswer, fakeGateway } from './fake-gateway.js'
import { testServer } from './test-server.js'

async function listening(gateway: Gateway, config = {}) {
  const app = testServer(gateway, config)
  const closing = deferred()
  app.addHook('preClose', async () => closing.resolve())
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { app, port: (app.server.address() as AddressInfo).port, closing: closing.promise }
}

const queryHead = (body: string): string =>
  `POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
const query = queryHead('{"vector":[1],"k":1}')

/** A gateway whose search waits for the test, or for its signal. */
function waitingGateway() {
  const started = deferred<AbortSignal>()
  const release = deferred()
  const gateway = fakeGateway({
    search: async (_query, { signal }) => {
      started.resolve(signal)
      await Promise.race([release.promise, once(signal, 'abort')])
      signal.throwIfAborted()
      return emptyAnswer
    },
  })
  return { gateway, started: started.promise, release: () => release.resolve() }
}

describe('law 4: a client that hangs up', () => {
  test('inside its body is no defect of ours', async () => {
    const app = testServer(fakeGateway())
    const started = deferred()
    const replied = deferred<string>()
    app.addHook('preParsing', async () => started.resolve())
    app.addHook('onSend', async (_request, _reply, payload) => replied.resolve(String(payload)))
    await app.listen({ host: '127.0.0.1', port: 0 })
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
    socket.write(query.slice(0, -5))
    await started.promise
    socket.destroy()
    expect(JSON.parse(await replied.promise)).toMatchObject({ lg_code: 'LG_CANCELLED' })
    await app.close()
  })

  test('aborts its query; the server lives on', async () => {
    const { gateway, started } = waitingGateway()
    const { app, port } = await listening(gateway)
    const socket = connect(port, '127.0.0.1')
    socket.write(query)
    const signal = await started
    expect(signal.aborted).toBe(false)
    socket.destroy()
    await once(signal, 'abort')
    expect(signal.reason).toMatchObject({ code: 'LG_CANCELLED' })
    expect((await app.inject('/livez')).statusCode).toBe(200)
    await app.close()
  })

  test('aborts all that it sent without waiting for replies, and none of them is taken for a leak', async () => {
    const warnings: Error[] = []
    const warned = (warning: Error): void => void warnings.push(warning)
    process.on('warning', warned)
    let waiting = 0
    const all = deferred()
    let aborted = 0
    const allAborted = deferred()
    const gateway = fakeGateway({
      search: async (_query, { signal }) => {
        signal.addEventListener('abort', () => {
          aborted += 1
          if (aborted === 20) allAborted.resolve()
        })
        waiting += 1
        if (waiting === 20) all.resolve()
        await allAborted.promise
        return emptyAnswer
      },
    })
    const { app, port } = await listening(gateway)
    const socket = connect(port, '127.0.0.1')
    socket.write(query.repeat(20))
    await all.promise
    socket.destroy()
    await allAborted.promise
    await app.close()
    process.off('warning', warned)
    expect(warnings).toEqual([])
  })

  test('an answered request is not aborted afterwards', async () => {
    const signals: AbortSignal[] = []
    const gateway = fakeGateway({
      search: async (_query, { signal }) => {
        signals.push(signal)
        return emptyAnswer
      },
    })
    const { app, port } = await listening(gateway)
    const reply = await fetch(`http://127.0.0.1:${port}/v1/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"vector":[1],"k":1}',
    })
    expect(reply.status).toBe(200)
    await reply.text()
    await app.close()
    expect(signals.map((signal) => signal.aborted)).toEqual([false])
  })
})

describe('shutdown', () => {
  test('lets the query under way finish, refuses new ones with 503, then closes', async () => {
    const { gateway, started, release } = waitingGateway()
    const { app, port, closing } = await listening(gateway, { graceMs: 60_000 })
    const socket = connect(port, '127.0.0.1')
    socket.write(query)
    const signal = await started
    const replies = text(socket)
    const closed = app.close()
    await closing
    // On a connection that is in use, so that it is still open.
    const late = once(app.server, 'request')
    socket.write('GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n')
    await late
    expect(signal.aborted).toBe(false)
    release()
    expect(await replies).toMatch(/^HTTP\/1.1 200 .*HTTP\/1.1 503 .*retry-after: 1\r\n.*LG_OVERLOADED/is)
    await closed
  })

  test('aborts what is still under way when the grace period is over', async () => {
    const { gateway, started } = waitingGateway()
    const { app, port } = await listening(gateway, { graceMs: 1 })
    const socket = connect(port, '127.0.0.1')
    socket.write(query)
    const signal = await started
    const gone = once(socket, 'close')
    socket.resume()
    await app.close()
    expect(signal.reason).toMatchObject({ code: 'LG_OVERLOADED' })
    await gone
  })

  // By itself, ws would wait 30 seconds for the handshake.
  test('does not wait for a WebSocket client that leaves the closing handshake unanswered', {
    timeout: 15_000,
  }, async () => {
    const { app, port } = await listening(fakeGateway(), { graceMs: 1 })
    const socket = connect(port, '127.0.0.1')
    socket.write(
      'GET /ws/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    )
    await once(socket, 'data')
    socket.on('error', () => undefined) // it may be reset
    const gone = once(socket, 'close')
    socket.resume()
    await app.close()
    await gone
  })
})

describe('errors that say when to come back', () => {
  test('retry_after_ms and Retry-After, in whole seconds', async () => {
    const gateway = fakeGateway({
      search: async () => {
        throw new GatewayError('LG_PRIMING', 'packages/main: the first pull is still running', { retryAfterMs: 1200.5 })
      },
    })
    const reply = await testServer(gateway).inject({ method: 'POST', url: '/v1/query', payload: { vector: [1], k: 1 } })
    expect(reply.statusCode).toBe(503)
    expect(reply.headers['retry-after']).toBe('2')
    expect(reply.json()).toEqual({
      error: 'packages/main: the first pull is still running',
      code: 503,
      lg_code: 'LG_PRIMING',
      retry: 'later',
      retry_after_ms: 1201,
      docs: 'docs/errors.md#lg_priming',
    })
  })
})

describe('WS /ws/live', () => {
  /** A gateway whose events the test sends. */
  function eventGateway() {
    const listeners = new Set<(event: GatewayEvent) => void>()
    const gateway = fakeGateway({
      subscribe: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    })
    const emit = (event: GatewayEvent): void => {
      for (const listener of listeners) listener(event)
    }
    return { gateway, listeners, emit }
  }

  const ref = { backend: backendId('a'), collection: 'b' }

  test('every client gets every event as { event_type, timestamp, data }', async () => {
    const { gateway, listeners, emit } = eventGateway()
    const { app, port } = await listening(gateway)
    const clients = [new WebSocket(`ws://127.0.0.1:${port}/ws/live`), new WebSocket(`ws://127.0.0.1:${port}/ws/live`)]
    const messages = clients.map(async (client) => {
      const received: unknown[] = []
      for await (const [data] of onMessages(client)) if (received.push(JSON.parse(String(data))) === 3) return received
      throw new Error('closed too early')
    })
    await Promise.all(clients.map((client) => once(client, 'open')))
    emit({ kind: 'written', ref, rows: 2, epoch: 5 })
    emit({ kind: 'cache', event: { kind: 'failed', ref, code: 'LG_BAD_ROW', message: 'row 3' } })
    emit({ kind: 'source-added', backend: backendId('x') })
    for (const received of await Promise.all(messages)) {
      expect(received).toEqual([
        { event_type: 'written', timestamp: expect.any(String), data: { collection: 'a/b', rows: 2, epoch: 5 } },
        {
          event_type: 'failed',
          timestamp: expect.any(String),
          data: { collection: 'a/b', code: 'LG_BAD_ROW', message: 'row 3' },
        },
        { event_type: 'source-added', timestamp: expect.any(String), data: { source: 'x' } },
      ])
    }
    await app.close()
    expect(listeners.size).toBe(0)
  })

  test('a client that does not read is dropped; the others are served', async () => {
    const { gateway, emit } = eventGateway()
    const { app, port } = await listening(gateway)
    const stuck = new WebSocket(`ws://127.0.0.1:${port}/ws/live`)
    await once(stuck, 'open')
    stuck.pause()
    const dropped = once(stuck, 'close')
    const bulk: GatewayEvent = {
      kind: 'cache',
      event: { kind: 'failed', ref, code: 'x', message: 'x'.repeat(256 * 1024) },
    }
    for (let i = 0; i < 64; i++) {
      emit(bulk)
      await new Promise(setImmediate)
    }
    const reader = new WebSocket(`ws://127.0.0.1:${port}/ws/live`)
    await once(reader, 'open')
    const [message] = await Promise.all([
      once(reader, 'message'),
      Promise.resolve(emit({ kind: 'source-added', backend: backendId('y') })),
    ])
    expect(String(message[0])).toContain('source-added')
    stuck.resume()
    await dropped
    await app.close()
  })

  test('a plain GET is told to upgrade', async () => {
    const reply = await testServer(fakeGateway()).inject('/ws/live')
    expect(reply.statusCode).toBe(400)
    expect(reply.json()).toMatchObject({ field: 'upgrade' })
  })

  test('an upgrade anywhere else ends at once', async () => {
    const { app, port } = await listening(fakeGateway())
    const client = new WebSocket(`ws://127.0.0.1:${port}/v1/health`)
    await once(client, 'close')
    await app.close()
  })
})

const onMessages = (client: WebSocket): AsyncIterable<readonly unknown[]> => EventEmitter.on(client, 'message')
