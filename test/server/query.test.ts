import { describe, expect, test } from 'vitest'
import { fakeGateway, recordingGateway, sampleAnswer } from './fake-gateway.js'
import { testServer } from './test-server.js'

describe('POST /v1/query', () => {
  test('an RVF query becomes a Query over everything, exact, with a receipt', async () => {
    const gateway = recordingGateway()
    const reply = await testServer(gateway).inject({
      method: 'POST',
      url: '/v1/query',
      payload: { vector: [0.9, 0, 1e-3], k: 3, ef_search: 10 },
    })
    expect(reply.statusCode).toBe(200)
    expect(gateway.asked[0]).toMatchObject({
      target: { kind: 'vector', vector: Float32Array.of(0.9, 0, 1e-3) },
      k: 3,
      collections: null,
      recall: { kind: 'exact' },
      distanceMax: Infinity,
      deadlineMs: 10_000,
      receipt: 'summary',
    })
  })

  test('the reply keeps every digit of ids and rounds distances to float32', async () => {
    const reply = await testServer(recordingGateway(sampleAnswer)).inject({
      method: 'POST',
      url: '/v1/query',
      payload: { vector: [1], k: 2 },
    })
    expect(reply.headers['content-type']).toBe('application/json; charset=utf-8')
    expect(reply.body).toBe(
      '{"results":[{"id":18446744073709551615,"distance":0.01,"backend":"packages","collection":"main","metadata":{"section":"net","size":9007199254740993,"built":"2023-11-14T22:13:20.000000001Z"}},' +
        '{"id":"ünï \\"quoted\\"","distance":3.01,"backend":"packages","collection":"main","metadata":{"section":null,"size":1,"built":null},"vector":[0.9,0,1e-45]}],' +
        '"receipt":{"complete":false,"metric":"l2","k":2,"certificate":{"kind":"proven","miss_probability":0},"sources":[' +
        '{"backend":"packages","collection":"main","status":"ok","generation":"g1","witness":"ab","rows":2,"route":"cache","metric":"l2","certificate":{"kind":"proven","miss_probability":0},"freshness":{"checked_at":"2023-11-14T22:13:20.000Z","age_ms":3,"policy":"fresh"},"search_ms":0.123,"wait_ms":0,"bytes_scanned":24},' +
        '{"backend":"b","collection":"slow","status":"priming","reason":"the first pull is still running","retry_after_ms":1500},' +
        '{"backend":"c","collection":"gone","status":"failed","code":"LG_SOURCE_UNAVAILABLE","reason":"no \\"file\\""}]}}',
    )
  })

  test.each(['application/json; charset=utf-8', 'application/json;charset="UTF-8"'])(
    'takes JSON sent as %s',
    async (type) => {
      const reply = await testServer(recordingGateway()).inject({
        method: 'POST',
        url: '/v1/query',
        payload: '{"vector":[1],"k":1}',
        headers: { 'content-type': type },
      })
      expect(reply.statusCode).toBe(200)
    },
  )

  test('a failure nobody foresaw says nothing of its cause', async () => {
    const gateway = fakeGateway({
      search: async () => {
        throw new Error('secret path')
      },
    })
    const reply = await testServer(gateway).inject({ method: 'POST', url: '/v1/query', payload: { vector: [1], k: 2 } })
    expect(reply.statusCode).toBe(500)
    expect(reply.json()).toMatchObject({ lg_code: 'LG_INTERNAL', error: expect.stringContaining('internal error') })
    expect(reply.body).not.toContain('secret')
  })
})
