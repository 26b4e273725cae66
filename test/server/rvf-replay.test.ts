import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type JsonValue, parseJson, stringifyJson } from '../../src/core/json.js'
import { createBodyBudget } from '../../src/server/body-budget.js'
import { type RvfTcpServer, startRvfTcp } from '../../src/server/rvf-tcp.js'
import { haveShared, sharedPath } from '../shared-fixtures.js'
import { realGateway } from './real-gateway.js'
import { testConfig, testServer } from './test-server.js'

interface HttpExchange {
  readonly over: 'http'
  readonly note: string
  readonly request: {
    readonly method: string
    readonly path: string
    readonly content_type: string | null
    readonly body: unknown
  }
  readonly response: { readonly status: number; readonly json: Fields | null }
}

interface TcpExchange {
  readonly over: 'tcp'
  readonly note: string
  readonly request: { readonly type: number; readonly message_id: string; readonly payload_hex: string }
  readonly response: { readonly type: number; readonly message_id: string; readonly payload_hex: string }
}

type Fields = Record<string, unknown>

/**
 * What differs from the recording, by its number there. docs/guides/rvf.md lists the same numbers and says why; everything
 * else must be as recorded.
 */
const differences: Readonly<Record<number, readonly string[]>> = {
  1: ['total_segments', 'file_size'],
  6: ['results[2].id', 'results[3].id'],
  8: ['error'],
  9: ['body'],
  10: ['body'],
  11: ['body'],
  12: ['body'],
  13: ['status'],
  14: ['body'],
  15: ['body'],
  16: ['status'],
  27: ['results[0].id', 'results[1].id'],
  28: ['total_segments', 'file_size', 'dead_space_ratio'],
  30: ['error'],
  36: ['total_segments', 'file_size'],
}

const exchanges = haveShared
  ? (
      parseJson(readFileSync(sharedPath('fixtures/rvf-wire/recorded.json'))) as unknown as {
        exchanges: (HttpExchange | TcpExchange)[]
      }
    ).exchanges
  : []

describe.skipIf(!haveShared)('what a real RVF server was recorded to answer', () => {
  let app: FastifyInstance
  let tcp: RvfTcpServer
  let close: () => Promise<void>
  beforeAll(async () => {
    const real = await realGateway()
    app = testServer(real.gateway)
    tcp = await startRvfTcp({
      gateway: real.gateway,
      host: '127.0.0.1',
      port: 0,
      rules: testConfig,
      connectionsMax: testConfig.connectionsMax,
      bodies: createBodyBudget(2 ** 28),
      log: pino({ level: 'silent' }),
    })
    close = async () => {
      await tcp.close(1000)
      await app.close()
      await real.close()
    }
  })
  afterAll(() => close())

  for (const [i, exchange] of exchanges.entries()) {
    const { request, note } = exchange
    const title = 'path' in request ? `${request.method} ${request.path}` : `TCP message ${request.type}`
    test(`${i}: ${title} ${note}`, async () => {
      const found =
        exchange.over === 'http' ? await httpMismatches(app, exchange) : await tcpMismatches(tcp.port, exchange)
      expect(found).toEqual(differences[i] ?? [])
    })
  }

  test('all of it was replayed', () => {
    expect(exchanges.length).toBe(38)
  })
})

test('docs/guides/rvf.md lists the differences that the replay allows', () => {
  const page = readFileSync(fileURLToPath(new URL('../../docs/guides/rvf.md', import.meta.url)), 'utf8')
  const numbers = [...page.matchAll(/^\| (\d+(?:, \d+)*) \|/gm)].flatMap((row) => row[1]!.split(', ').map(Number))
  expect(numbers.sort((a, b) => a - b)).toEqual(Object.keys(differences).map(Number))
})

async function httpMismatches(app: FastifyInstance, { request, response }: HttpExchange): Promise<string[]> {
  const body = typeof request.body === 'string' ? request.body : stringifyJson(request.body as JsonValue)
  const reply = await app.inject({
    method: request.method as 'GET' | 'POST',
    url: request.path,
    ...(request.body === null ? {} : { payload: body }),
    ...(request.content_type === null ? {} : { headers: { 'content-type': request.content_type } }),
  })
  if (reply.statusCode !== response.status) return ['status']
  if (response.json === null) return ['body']
  const { results = [], ...fields } = response.json as { results?: readonly Fields[] } & Fields
  const found = parseJson(reply.body) as { results?: readonly Fields[] } & Fields
  const mismatches = Object.keys(fields).filter((name) => found[name] !== fields[name])
  if ((found.results ?? []).length !== results.length) return ['results']
  for (const [i, hit] of results.entries()) {
    if (found.results![i]!.id !== hit.id) mismatches.push(`results[${i}].id`)
    if (Math.fround(Number(found.results![i]!.distance)) !== Math.fround(Number(hit.distance)))
      mismatches.push(`results[${i}].distance`)
  }
  return mismatches
}

/** Fields of a status message: name, first byte, bytes. */
const statusFields = [
  ['epoch', 0, 4],
  ['total_vectors', 4, 8],
  ['total_segments', 12, 4],
  ['file_size', 16, 8],
  ['profile_id', 24, 1],
  ['read_only', 25, 1],
] as const

async function tcpMismatches(port: number, { request, response }: TcpExchange): Promise<string[]> {
  const payload = Buffer.from(request.payload_hex, 'hex')
  const head = Buffer.alloc(5)
  head.writeUInt32BE(payload.length)
  head[4] = request.type
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.end(Buffer.concat([head, Buffer.from(request.message_id, 'hex'), payload]))
  const reply = await buffer(socket)
  const found = reply.subarray(8)
  const recorded = Buffer.from(response.payload_hex, 'hex')
  if (reply.readUInt32BE(0) !== found.length) return ['length']
  if (reply[4] !== response.type) return ['type']
  if (reply.toString('hex', 5, 8) !== response.message_id) return ['message_id']
  if (found.equals(recorded)) return []
  if (response.type === 0xff) return found.readUInt16LE(0) === recorded.readUInt16LE(0) ? ['error'] : ['code']
  if (response.type !== 0x84 || found.length !== recorded.length) return ['payload']
  return statusFields
    .filter(([, at, bytes]) => !found.subarray(at, at + bytes).equals(recorded.subarray(at, at + bytes)))
    .map(([name]) => name)
}
