import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { afterEach, expect, test } from 'vitest'
import type { BackendAdapter } from '../../src/adapters/adapter.js'
import { openLocal } from '../../src/adapters/local.js'
import type { SourceConfig } from '../../src/federation/gateway.js'
import { deferred } from '../server/deferred.js'
import { realGateway } from '../server/real-gateway.js'
import { testServer } from '../server/test-server.js'

const { signal } = new AbortController()
const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A server whose source `slow` gives its rows only when the test says so. */
async function slowServer() {
  const started = deferred()
  const release = deferred()
  const counts = { pulls: 0 }
  const open = async (config: SourceConfig): Promise<BackendAdapter> => {
    const inner: BackendAdapter = openLocal(config)
    await inner.writer!.create('rows', { dimension: 2, metric: 'l2', model: null })
    const rows = {
      collection: 'rows',
      ids: [1n, 2n],
      vectors: Float32Array.of(0, 0, 3, 4),
      dimension: 2,
      metadata: null,
    }
    await inner.writer!.upsert(rows, { signal })
    const slow: BackendAdapter = Object.create(inner)
    return Object.assign(slow, {
      async *pullVectors(...call: Parameters<BackendAdapter['pullVectors']>) {
        counts.pulls += 1
        started.resolve()
        await release.promise
        yield* inner.pullVectors(...call)
      },
    })
  }
  const real = await realGateway({ slow: open })
  await real.gateway.addSource({ name: 'slow', kind: 'slow', uri: null, options: {} }, { signal })
  const app = testServer(real.gateway)
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(
    () => app.close(),
    () => real.close(),
  )
  return { app, started: started.promise, release: () => release.resolve(), counts }
}

const query = { vector: [0, 0], k: 1, collections: ['slow/*'], deadline_ms: 60_000 }
const ask = (app: FastifyInstance, payload: object) => app.inject({ method: 'POST', url: '/v1/query', payload })

test('a client that hangs up stops only its own wait: the pull goes on and answers the next', async () => {
  const { app, started, release, counts } = await slowServer()
  const body = JSON.stringify(query)
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(
    `POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  await started
  const [serverSide] = await Promise.all([onceClosed(app), Promise.resolve(socket.destroy())])
  expect(serverSide).toBe(true)
  const next = ask(app, query)
  release()
  expect((await next).json().results).toMatchObject([{ id: 1, distance: 0 }])
  expect(counts.pulls).toBe(1)
})

/** Resolves when the server has no connection left. */
async function onceClosed(app: FastifyInstance): Promise<boolean> {
  const connections = (): Promise<number> =>
    new Promise((resolve, reject) =>
      app.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    )
  while ((await connections()) > 0) await new Promise(setImmediate)
  return true
}

test('a deadline of 1 ms names the source and when to come back; the pull goes on', async () => {
  const { app, release, counts } = await slowServer()
  const late = await ask(app, { ...query, deadline_ms: 1 })
  expect([503, 504]).toContain(late.statusCode)
  expect(late.json().error).toContain('slow/rows')
  if (late.statusCode === 503) expect(Number(late.headers['retry-after'])).toBeGreaterThan(0)
  const next = ask(app, query)
  release()
  expect((await next).json().results).toMatchObject([{ id: 1, distance: 0 }])
  expect(counts.pulls).toBe(1)
})

test('with another source that can answer, the late one is named and does not spoil it', async () => {
  const { app, release } = await slowServer()
  await app.inject({ method: 'POST', url: '/v1/ingest', payload: { vectors: [[1, 0]], ids: [7] } })
  const ready = await ask(app, { vector: [1, 0], k: 1, collections: ['local/default'] })
  expect(ready.statusCode).toBe(200)
  const answer = (await ask(app, { vector: [1, 0], k: 2, deadline_ms: 250 })).json()
  expect(answer.results).toMatchObject([{ id: 7, collection: 'default' }])
  expect(answer.receipt.complete).toBe(false)
  expect(answer.receipt.sources).toMatchObject([
    { backend: 'local', status: 'ok' },
    { backend: 'slow', status: expect.stringMatching(/^(priming|skipped)$/) },
  ])
  const demanded = await ask(app, { vector: [1, 0], k: 2, deadline_ms: 250, require_complete: true })
  expect(demanded.statusCode).toBeGreaterThanOrEqual(503)
  release()
})

test('half a thousand clients that hang up at once leave no connection and no query behind', async () => {
  const { app, started, release, counts } = await slowServer()
  const body = JSON.stringify(query)
  const head = `POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  const { port } = app.server.address() as AddressInfo
  const sockets = Array.from({ length: 500 }, (_, i) => {
    const socket = connect(port, '127.0.0.1')
    // Some leave in the middle of their body.
    socket.write(i % 3 === 0 ? head + body.slice(0, 10) : head + body)
    return socket
  })
  await started
  await Promise.all(sockets.map((socket) => (socket.connecting ? once(socket, 'connect') : socket)))
  for (const socket of sockets) socket.destroy()
  await onceClosed(app)
  release()
  expect((await ask(app, query)).statusCode).toBe(200)
  expect(counts.pulls).toBe(1)
})
