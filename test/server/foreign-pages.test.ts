import { expect, test } from 'vitest'
import { fakeGateway } from './fake-gateway.js'
import { testServer } from './test-server.js'

const invalidating = () => {
  const done: string[] = []
  const gateway = fakeGateway({
    invalidate: async (ref) => {
      done.push(ref.collection)
    },
  })
  return { gateway, done }
}

const post = { method: 'POST', url: '/v1/collections/a/b/invalidate' } as const

test.each([
  ['of another site', { host: '127.0.0.1:8080', origin: 'https://evil.example' }, 'origin'],
  ['of another port', { host: 'localhost:8080', origin: 'http://localhost:3000' }, 'origin'],
  ['without an origin of its own', { host: 'localhost:8080', origin: 'null' }, 'origin'],
  ['that made its name point here', { host: 'evil.example', origin: 'http://evil.example' }, 'host'],
  ['that made its name look like an address', { host: '127.0.0.1.evil.example:8080' }, 'host'],
])('a page %s is refused', async (_, headers, field) => {
  const { gateway, done } = invalidating()
  const reply = await testServer(gateway).inject({ ...post, headers })
  expect(reply.statusCode).toBe(403)
  expect(reply.json()).toMatchObject({ lg_code: 'LG_FORBIDDEN', field })
  expect(done).toEqual([])
})

test.each([
  ['no browser', { host: '127.0.0.1:8080' }],
  ['IPv6', { host: '[::1]:8080', origin: 'http://[::1]:8080' }],
  ['its own page', { host: 'localhost:8080', origin: 'http://localhost:8080' }],
  ['its own page behind a proxy', { host: '127.0.0.1', origin: 'https://x.example', 'sec-fetch-site': 'same-origin' }],
])('%s is answered', async (_, headers) => {
  const { gateway, done } = invalidating()
  expect((await testServer(gateway).inject({ ...post, headers })).statusCode).toBe(200)
  expect(done).toEqual(['b'])
})

test('with the second consent every host name is answered, pages of other origins are still refused', async () => {
  const app = testServer(invalidating().gateway, { anyHost: true })
  const status = async (headers: Record<string, string>) => (await app.inject({ ...post, headers })).statusCode
  expect(await status({ host: 'search.example' })).toBe(200)
  expect(await status({ host: 'search.example', origin: 'https://search.example' })).toBe(200)
  expect(await status({ host: 'search.example', origin: 'https://evil.example' })).toBe(403)
})

test('a compressed body is refused by its header', async () => {
  const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
  const reply = await testServer(fakeGateway()).inject({ method: 'POST', url: '/v1/query', headers, payload: '{}' })
  expect(reply.statusCode).toBe(415)
  expect(reply.json()).toMatchObject({ lg_code: 'LG_UNSUPPORTED_MEDIA_TYPE', field: 'content-encoding' })
})
