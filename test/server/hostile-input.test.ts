import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import type { FastifyInstance } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { recordingGateway } from './fake-gateway.js'
import { testServer } from './test-server.js'

let app: FastifyInstance
const gateway = recordingGateway()
beforeAll(async () => {
  app = testServer(gateway)
  await app.listen({ host: '127.0.0.1', port: 0 })
})
afterAll(() => app.close())

const json = { 'content-type': 'application/json' }
const post = (payload: string | Buffer, headers: Record<string, string> = json, url = '/v1/query') =>
  app.inject({ method: 'POST', url, payload, headers })

/** Body, status, lg_code, field. */
const refused: readonly (readonly [string, number, string, string])[] = [
  ['{"vector":[1,2', 400, 'LG_INVALID_REQUEST', 'body'],
  ['', 400, 'LG_INVALID_REQUEST', 'body'],
  ['null', 422, 'LG_MALFORMED_REQUEST', 'body'],
  ['[]', 422, 'LG_MALFORMED_REQUEST', 'body'],
  ['{"vector":[NaN],"k":1}', 400, 'LG_INVALID_REQUEST', 'body'],
  ['{"k":1}', 422, 'LG_MALFORMED_REQUEST', 'vector'],
  ['{"vector":null,"k":1}', 422, 'LG_MALFORMED_REQUEST', 'vector'],
  ['{"vector":"1","k":1}', 422, 'LG_MALFORMED_REQUEST', 'vector'],
  ['{"vector":[],"k":1}', 400, 'LG_INVALID_REQUEST', 'vector'],
  ['{"vector":[1,null],"k":1}', 422, 'LG_MALFORMED_REQUEST', 'vector[1]'],
  ['{"vector":["a"],"k":1}', 422, 'LG_MALFORMED_REQUEST', 'vector[0]'],
  ['{"vector":[1e999],"k":1}', 400, 'LG_INVALID_REQUEST', 'vector[0]'],
  ['{"vector":[0,-3.5e38],"k":1}', 400, 'LG_INVALID_REQUEST', 'vector[1]'],
  [`{"vector":[${'1,'.repeat(8192)}1],"k":1}`, 413, 'LG_TOO_LARGE', 'vector'],
  ['{"vector":[1]}', 422, 'LG_MALFORMED_REQUEST', 'k'],
  ['{"vector":[1],"k":0}', 400, 'LG_INVALID_REQUEST', 'k'],
  ['{"vector":[1],"k":-1}', 422, 'LG_MALFORMED_REQUEST', 'k'],
  ['{"vector":[1],"k":1.5}', 422, 'LG_MALFORMED_REQUEST', 'k'],
  ['{"vector":[1],"k":"1"}', 422, 'LG_MALFORMED_REQUEST', 'k'],
  ['{"vector":[1],"k":null}', 422, 'LG_MALFORMED_REQUEST', 'k'],
  ['{"vector":[1],"k":1000000000}', 413, 'LG_TOO_LARGE', 'k'],
  ['{"vector":[1],"k":99999999999999999999}', 413, 'LG_TOO_LARGE', 'k'],
  ['{"vector":[1],"k":1,"zzz":1}', 400, 'LG_UNKNOWN_FIELD', 'zzz'],
  ['{"vector":[1],"k":1,"__proto__":{"a":1}}', 400, 'LG_UNKNOWN_FIELD', '__proto__'],
  ['{"vector":[1],"row":{"collection":"a/b","id":1},"k":1}', 400, 'LG_INVALID_REQUEST', 'row'],
  ['{"row":{"collection":"a","id":1},"k":1}', 400, 'LG_INVALID_REQUEST', 'row.collection'],
  ['{"row":{"collection":"a/b","id":1.5},"k":1}', 422, 'LG_MALFORMED_REQUEST', 'row.id'],
  ['{"row":{"collection":"a/b","id":18446744073709551616},"k":1}', 400, 'LG_INVALID_REQUEST', 'row.id'],
  ['{"row":{"collection":"a/b","id":1,"x":1},"k":1}', 400, 'LG_UNKNOWN_FIELD', 'row.x'],
  ['{"text":"hello","k":1}', 422, 'LG_UNSUPPORTED', 'text'],
  ['{"vector":[1],"k":1,"collections":[]}', 400, 'LG_INVALID_REQUEST', 'collections'],
  ['{"vector":[1],"k":1,"collections":"a/b"}', 422, 'LG_MALFORMED_REQUEST', 'collections'],
  ['{"vector":[1],"k":1,"collections":["a/b","c"]}', 400, 'LG_INVALID_REQUEST', 'collections[1]'],
  ['{"vector":[1],"k":1,"fusion":"sum"}', 400, 'LG_INVALID_REQUEST', 'fusion'],
  ['{"vector":[1],"k":1,"filter":{"a":{"near":1}}}', 400, 'LG_INVALID_REQUEST', 'filter.a.near'],
  ['{"vector":[1],"k":1,"filter":"a ="}', 400, 'LG_INVALID_REQUEST', 'filter'],
  ['{"vector":[1],"k":1,"select":[1]}', 422, 'LG_MALFORMED_REQUEST', 'select[0]'],
  ['{"vector":[1],"k":1,"include_vectors":1}', 422, 'LG_MALFORMED_REQUEST', 'include_vectors'],
  ['{"vector":[1],"k":1,"recall":0}', 400, 'LG_INVALID_REQUEST', 'recall'],
  ['{"vector":[1],"k":1,"recall":"fast"}', 400, 'LG_INVALID_REQUEST', 'recall'],
  ['{"vector":[1],"k":1,"recall":{"certified":0}}', 400, 'LG_INVALID_REQUEST', 'recall.certified'],
  ['{"vector":[1],"k":1,"max_distance":"1"}', 422, 'LG_MALFORMED_REQUEST', 'max_distance'],
  ['{"vector":[1],"k":1,"consistency":{"ttl_ms":-1}}', 422, 'LG_MALFORMED_REQUEST', 'consistency.ttl_ms'],
  ['{"vector":[1],"k":1,"as_of":"yesterday"}', 400, 'LG_INVALID_REQUEST', 'as_of'],
  ['{"vector":[1],"k":1,"as_of":{"a":"g"}}', 400, 'LG_INVALID_REQUEST', 'as_of'],
  ['{"vector":[1],"k":1,"deadline_ms":0}', 422, 'LG_MALFORMED_REQUEST', 'deadline_ms'],
  ['{"vector":[1],"k":1,"deadline_ms":600001}', 413, 'LG_TOO_LARGE', 'deadline_ms'],
  ['{"vector":[1],"k":1,"max_cost":{"dollars":1}}', 400, 'LG_UNKNOWN_FIELD', 'max_cost.dollars'],
  ['{"vector":[1],"k":1,"receipt":"short"}', 400, 'LG_INVALID_REQUEST', 'receipt'],
  ['['.repeat(100_000), 400, 'LG_INVALID_REQUEST', 'body'],
]

describe('hostile input: each refusal is a 4xx that names the field', () => {
  test.each(refused)('%.60s', async (body, status, code, field) => {
    const reply = await post(body)
    expect(reply.json()).toMatchObject({ lg_code: code, field })
    expect(reply.statusCode).toBe(status)
    expect(reply.json().error).not.toMatch(/\n|at .*\.js/)
  })

  test('k = 0 in the words of an RVF server', async () => {
    expect((await post('{"vector":[1],"k":0}')).json()).toMatchObject({ error: 'k must be > 0', code: 400 })
  })

  test('an unknown field comes with the nearest known one', async () => {
    expect((await post('{"vector":[1],"k":1,"filtr":{}}')).json().error).toContain('"filter"')
  })

  test('the limit on k is named', async () => {
    expect((await post('{"vector":[1],"k":20000}')).json().error).toBe(
      'k: expected at most 10000 (the limit query.k_max), found 20000',
    )
  })

  test('invalid UTF-8 is refused, not repaired', async () => {
    const reply = await post(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))
    expect(reply.statusCode).toBe(400)
    expect(reply.json().error).toContain('UTF-8')
  })

  test.each([
    ['text/plain', 415],
    ['application/xml', 415],
    ['nonsense', 415],
  ])('content type %s', async (type, status) => {
    const reply = await post('{"vector":[1],"k":1}', { 'content-type': type })
    expect(reply.statusCode).toBe(status)
    expect(reply.json()).toMatchObject({ lg_code: 'LG_UNSUPPORTED_MEDIA_TYPE', field: 'content-type' })
  })

  test.each(['application/json; charset=latin1', 'application/json; x=y; Charset="utf-16"'])(
    'JSON in another charset: %s',
    async (type) => {
      const reply = await post('{"vector":[1],"k":1}', { 'content-type': type })
      expect(reply.statusCode).toBe(415)
      expect(reply.json()).toMatchObject({
        lg_code: 'LG_UNSUPPORTED_MEDIA_TYPE',
        field: 'content-type',
        error: expect.stringMatching(/utf-8.*(latin1|utf-16)/),
      })
    },
  )

  test('no body at all', async () => {
    const reply = await app.inject({ method: 'POST', url: '/v1/query' })
    expect(reply.statusCode).toBe(415)
  })

  test('a body over the limit names the limit, also over a real connection', async () => {
    const { port } = app.server.address() as AddressInfo
    const reply = await fetch(`http://127.0.0.1:${port}/v1/query`, {
      method: 'POST',
      headers: json,
      body: Buffer.alloc(20 * 1024 * 1024, 0x20),
    })
    expect(reply.status).toBe(413)
    expect(await reply.json()).toMatchObject({
      lg_code: 'LG_TOO_LARGE',
      field: 'body',
      error: expect.stringContaining('server.body_limit'),
    })
  })

  test('a body that never ends is answered, and its connection closed', async () => {
    const short = testServer(gateway, { lingerMs: 1 })
    await short.listen({ host: '127.0.0.1', port: 0 })
    const socket = connect((short.server.address() as AddressInfo).port, '127.0.0.1')
    socket.write(
      'POST /v1/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20000000\r\n\r\n{',
    )
    expect(await text(socket)).toMatch(/^HTTP\/1.1 413 .*server\.body_limit/s)
    await short.close()
  })

  test.each([
    '/v1/collections/..%2f..%2fetc/passwd',
    '/v1/collections/a/..%2F..%2Fx',
    '/v1/collections/%F0%9F%92%BE/n%C3%A4me',
    '/v1/collections/a/%00',
    `/v1/collections/a/${'x'.repeat(10_000)}`,
  ])('the name in %.60s is only looked up', async (url) => {
    const reply = await app.inject({ method: 'GET', url })
    expect(reply.statusCode).toBe(404)
    const [backend, collection] = url.split('/').slice(3).map(decodeURIComponent)
    expect(reply.json()).toMatchObject({
      lg_code: 'LG_COLLECTION_NOT_FOUND',
      error: `no collection "${backend}/${collection}"`,
    })
  })

  test('a path that does not decode', async () => {
    const reply = await app.inject({ method: 'GET', url: '/v1/collections/a/%ff' })
    expect(reply.statusCode).toBe(400)
    expect(reply.json()).toMatchObject({ field: 'path' })
  })

  test('unknown routes and methods', async () => {
    const missing = await app.inject({
      method: 'POST',
      url: '/v1/nope',
      payload: 'x',
      headers: { 'content-type': 'text/plain' },
    })
    expect(missing.statusCode).toBe(404)
    expect(missing.json().lg_code).toBe('LG_NOT_FOUND')
    const wrong = await app.inject({
      method: 'PUT',
      url: '/v1/query',
      payload: 'x',
      headers: { 'content-type': 'text/plain' },
    })
    expect(wrong.statusCode).toBe(405)
    expect(wrong.headers.allow).toBe('POST')
    expect((await app.inject({ method: 'DELETE', url: '/v1/collections' })).headers.allow).toBe('GET, HEAD')
  })

  test('unknown parameters in the query string', async () => {
    const reply = await app.inject({ method: 'GET', url: '/v1/collections?verbose=1' })
    expect(reply.statusCode).toBe(400)
    expect(reply.json()).toMatchObject({ lg_code: 'LG_UNKNOWN_FIELD', field: 'verbose' })
    const mixed = await post('{"vector":[1],"k":1}', json, '/v1/query?k=1')
    expect(mixed.statusCode).toBe(400)
  })

  test('nothing refused reached the gateway', () => {
    expect(gateway.asked).toEqual([])
  })
})
