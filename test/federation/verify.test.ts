import { describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/core/errors.js'
import type { Receipt } from '../../src/federation/answer.js'
import type { Gateway } from '../../src/federation/gateway.js'
import type { Query } from '../../src/federation/query.js'
import { idle, parseName, query, type ScriptedCollection, scriptedGateway } from './scripted-cache.js'

const collections = (): ScriptedCollection[] => [
  {
    name: 'a/x',
    rows: [
      { id: 18_446_744_073_709_551_615n, vector: [0.1, 0] },
      { id: '1', vector: [2, 0] },
    ],
  },
  { name: 'b/y', rows: [{ id: 1n, vector: [1, 0] }] },
]
/** As the server does: what the receipt repeats is all there is. */
const parse = (request: unknown): Query => {
  const { vector, k } = request as { readonly vector: readonly number[]; readonly k: number }
  return query({ vector, k })
}
const claimOf = ({ request, digest, sources }: Receipt) => ({ request: request!, digest: digest!, sources })

async function fullReceipt(gateway: Gateway, fields: Parameters<typeof query>[0] = {}): Promise<Receipt> {
  const answer = await gateway.search(query({ vector: [0.3, 0], receipt: 'full', ...fields }), { signal: idle })
  return answer.receipt!
}

describe('full receipts', () => {
  test('repeat the request and carry a digest; summaries do not', async () => {
    const { gateway } = await scriptedGateway(collections())
    const receipt = await fullReceipt(gateway)
    expect(receipt.request).toEqual({ vector: [Math.fround(0.3), 0], k: 10 })
    expect(receipt.digest).toMatch(/^[0-9a-f]{64}$/)
    expect((await gateway.search(query(), { signal: idle })).receipt).toMatchObject({ request: null, digest: null })
  })

  test('the digest changes with the request, a generation, an id and a distance', async () => {
    const digest = async (change: (scripted: ScriptedCollection[]) => void, fields = {}): Promise<string> => {
      const scripted = collections()
      change(scripted)
      return (await fullReceipt((await scriptedGateway(scripted)).gateway, fields)).digest!
    }
    const digests = await Promise.all([
      digest(() => undefined),
      digest(() => undefined, { k: 9 }),
      digest(([a]) => Object.assign(a!, { generation: 'g2' })),
      digest(([a]) => Object.assign(a!, { rows: [{ ...a!.rows[0]!, id: 5n }, a!.rows[1]!] })),
      digest(([a]) => Object.assign(a!, { rows: [{ ...a!.rows[0]!, vector: [0.2, 0] }, a!.rows[1]!] })),
    ])
    expect(new Set(digests).size).toBe(digests.length)
  })

  test('cover distances that float32 cannot hold', async () => {
    const digest = async (length: number): Promise<string> => {
      const { gateway } = await scriptedGateway([{ name: 'a/x', rows: [{ id: 1n, vector: [length, 0] }] }])
      return (await fullReceipt(gateway)).digest!
    }
    expect(await digest(1e30)).not.toBe(await digest(2e30))
  })

  test('a row is repeated as the vector that was searched for', async () => {
    const { gateway } = await scriptedGateway(collections())
    const target = { kind: 'row', collection: parseName('b/y'), id: 1n } as const
    expect((await fullReceipt(gateway, { target })).request).toEqual({ vector: [1, 0], k: 10 })
  })
})

describe('verify', () => {
  test('law 2: runs at the generations of the receipt, though the source has moved on', async () => {
    const [a, b] = collections()
    const { gateway } = await scriptedGateway([a!, b!])
    const receipt = await fullReceipt(gateway)
    const held = { g1: a!.rows }
    Object.assign(a!, { generation: 'g2', rows: [{ id: 7n, vector: [0.3, 0] }], held })
    const expected = { matches: true, digest: receipt.digest, expected: receipt.digest, reason: null }
    expect(await gateway.verify(claimOf(receipt), parse, { signal: idle })).toEqual(expected)
  })

  test('an incomplete answer is verified over what answered', async () => {
    const [a, b] = collections()
    a!.pinning = () => Promise.reject(new GatewayError('LG_SOURCE_UNAVAILABLE', 'down'))
    const { gateway } = await scriptedGateway([a!, b!])
    const receipt = await fullReceipt(gateway)
    expect(receipt.complete).toBe(false)
    delete a!.pinning
    expect(await gateway.verify(claimOf(receipt), parse, { signal: idle })).toMatchObject({ matches: true })
  })

  test('says that rows or distances differ', async () => {
    const [a, b] = collections()
    const { gateway } = await scriptedGateway([a!, b!])
    const receipt = await fullReceipt(gateway)
    Object.assign(b!, { rows: [{ id: 1n, vector: [1.5, 0] }] })
    const verdict = await gateway.verify(claimOf(receipt), parse, { signal: idle })
    expect(verdict).toMatchObject({ matches: false, expected: receipt.digest })
    expect(verdict.reason).toContain('other rows or distances')
  })

  test('says that a generation or a collection is gone', async () => {
    const [a, b] = collections()
    const { gateway } = await scriptedGateway([a!, b!])
    const receipt = await fullReceipt(gateway)
    Object.assign(a!, { generation: 'g2' })
    const expired = await gateway.verify(claimOf(receipt), parse, { signal: idle })
    expect(expired).toMatchObject({ matches: false, digest: '' })
    expect(expired.reason).toContain('g1 is not held')
    const elsewhere = await scriptedGateway([b!])
    const missing = await elsewhere.gateway.verify(claimOf(receipt), parse, { signal: idle })
    expect(missing.reason).toContain('a/x')
  })

  test('what may be decided later is an error, not a verdict', async () => {
    const [a, b] = collections()
    const { gateway } = await scriptedGateway([a!, b!])
    const receipt = await fullReceipt(gateway)
    a!.pinning = () => Promise.reject(new GatewayError('LG_SOURCE_UNAVAILABLE', 'down'))
    await expect(gateway.verify(claimOf(receipt), parse, { signal: idle })).rejects.toMatchObject({
      code: 'LG_INCOMPLETE',
    })
  })

  test.each([
    ['digest', { digest: 'x'.repeat(64) }],
    ['sources[0]', { sources: [null] }],
    ['sources[0].status', { sources: [{ backend: 'a', collection: 'x' }] }],
    ['sources[0].backend', { sources: [{ backend: 7, collection: 'x', status: 'ok', generation: 'g1' }] }],
    ['sources[0].collection', { sources: [{ backend: 'a', collection: '*', status: 'ok', generation: 'g1' }] }],
    ['sources[0].generation', { sources: [{ backend: 'a', collection: 'x', status: 'ok', generation: {} }] }],
    [
      'sources[0].generation',
      { sources: [{ backend: 'a', collection: 'x', status: 'ok', generation: 'g'.repeat(100_000) }] },
    ],
    ['sources', { sources: new Array(20_000).fill({}) }],
    ['sources[1]', { sources: new Array(2).fill({ backend: 'a', collection: 'x', status: 'ok', generation: 'g1' }) }],
  ])('a hostile receipt is refused by its field: %s', async (field, change) => {
    const { gateway } = await scriptedGateway(collections())
    const receipt = claimOf(await fullReceipt(gateway))
    await expect(gateway.verify({ ...receipt, ...change }, parse, { signal: idle })).rejects.toMatchObject({
      code: 'LG_INVALID_REQUEST',
      field: `receipt.${field}`,
    })
  })

  test('a receipt that answers from what its request does not name is not believed', async () => {
    const { gateway } = await scriptedGateway(collections())
    const receipt = claimOf(await fullReceipt(gateway))
    const narrow = (): Query => query({ vector: [0.3, 0], collections: [parseName('a/*')] })
    const verdict = await gateway.verify(receipt, narrow, { signal: idle })
    expect(verdict.matches).toBe(false)
    expect(verdict.reason).toContain('b/y')
  })
})
