import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { GatewayError } from '../../src/core/errors.js'
import type { Answer, Receipt } from '../../src/federation/answer.js'
import type { CollectionPattern } from '../../src/federation/query.js'
import {
  idle,
  never,
  parseName,
  query,
  type ScriptedCollection,
  type ScriptedRow,
  scriptedGateway,
  settled,
  untilAborted,
} from './scripted-cache.js'

const rows = (...points: readonly (readonly [bigint | string, number])[]): ScriptedRow[] =>
  points.map(([id, x]) => ({ id, vector: [x, 0] }))
const a = (more: Partial<ScriptedCollection> = {}): ScriptedCollection => ({
  name: 'a/x',
  rows: rows([1n, 1], [2n, 2], [3n, 3]),
  ...more,
})
const b = (more: Partial<ScriptedCollection> = {}): ScriptedCollection => ({
  name: 'b/y',
  rows: rows(['one', 1], ['half', 0.5]),
  ...more,
})
const named = (...names: readonly string[]): readonly CollectionPattern[] => names.map(parseName)
const ids = (answer: Answer) => answer.results.map((result) => result.id)
const receiptOf = (answer: Answer): Receipt => answer.receipt!
const unavailable = new GatewayError('LG_SOURCE_UNAVAILABLE', 'the lake is closed', { retryAfterMs: 100 })
const fails = (error: GatewayError) => (): Promise<never> => Promise.reject(error)

async function codeOf(promise: Promise<unknown>): Promise<GatewayError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof GatewayError) return error
    throw error
  }
  throw new Error('expected an error')
}

async function answerTo(
  collections: readonly ScriptedCollection[],
  fields: Parameters<typeof query>[0] = {},
): Promise<Answer> {
  const { gateway, cache } = await scriptedGateway(collections)
  try {
    return await gateway.search(query(fields), { signal: idle })
  } finally {
    await settled()
    expect(cache.releases).toBe(cache.pins)
  }
}

describe('one merged answer', () => {
  test('law 3: hits of all collections in one total order', async () => {
    const answer = await answerTo([a(), b()], { k: 3 })
    expect(answer.results.map((result) => [result.backend, result.id, result.distance])).toEqual([
      ['b', 'half', 0.25],
      ['a', 1n, 1],
      ['b', 'one', 1],
    ])
    expect(receiptOf(answer)).toMatchObject({ complete: true, metric: 'l2', k: 3, certificate: { kind: 'proven' } })
  })

  test('law 2: the receipt names one generation, its witness and its age for each collection', async () => {
    const answer = await answerTo([a({ generation: 'g7' }), b({ freshness: 'remote' })])
    expect(receiptOf(answer).sources).toMatchObject([
      {
        backend: 'a',
        collection: 'x',
        status: 'ok',
        generation: 'g7',
        witness: 'w-g7',
        rows: 3,
        route: 'cache',
        freshness: { ageMs: 5, policy: 'fresh' },
      },
      { backend: 'b', collection: 'y', generation: 'g1', freshness: { policy: 'ttl 5000 ms' } },
    ])
  })

  test('a collection named twice, by pattern and by name, is searched once', async () => {
    const answer = await answerTo([a(), b()], { collections: named('a/*', 'a/x') })
    expect(ids(answer)).toEqual([1n, 2n, 3n])
  })

  test('no collection at all answers nothing, as an empty RVF store does', async () => {
    const answer = await answerTo([], { vector: [0, 0, 0, 0] })
    expect(answer.results).toEqual([])
    expect(receiptOf(answer)).toMatchObject({ complete: true, sources: [] })
  })

  test('an empty collection answers with no rows and disturbs none', async () => {
    const empty = { name: 'local/default', rows: [], dimension: 7, metric: 'cosine', writable: true } as const
    const answer = await answerTo([a(), { ...empty }])
    expect(ids(answer)).toEqual([1n, 2n, 3n])
    expect(receiptOf(answer)).toMatchObject({ complete: true, metric: 'l2' })
    expect(receiptOf(answer).sources[1]).toMatchObject({ status: 'ok', rows: 0 })
  })

  test('law 6: the certificate is the weakest of the shards, each of which has its own', async () => {
    const answer = await answerTo([a({ achieves: { kind: 'certified', missProbability: 1e-6 } }), b()])
    const receipt = receiptOf(answer)
    expect(receipt.certificate).toEqual({ kind: 'certified', missProbability: 1e-6 })
    expect(receipt.sources).toMatchObject([{ certificate: { kind: 'certified' } }, { certificate: { kind: 'proven' } }])
  })

  test('no receipt when none is wanted', async () => {
    expect((await answerTo([a()], { receipt: 'none' })).receipt).toBeNull()
  })
})

describe('which collections', () => {
  test('an unknown one is refused with the nearest name', async () => {
    const error = await codeOf(answerTo([a(), b()], { collections: named('a/xx') }))
    expect(error.code).toBe('LG_COLLECTION_NOT_FOUND')
    expect(error.message).toContain('"a/xx"')
    expect(error.message).toContain('did you mean "a/x"')
    expect((await codeOf(answerTo([a()], { collections: named('q/x') }))).code).toBe('LG_COLLECTION_NOT_FOUND')
  })

  test('law 9: all of different metrics or models are refused by name before anything is pulled', async () => {
    for (const other of [b({ metric: 'cosine' }), b({ model: 'minilm' })]) {
      const { gateway, cache } = await scriptedGateway([a(), other])
      const error = await codeOf(gateway.search(query(), { signal: idle }))
      expect(error.code).toBe('LG_MIXED_SPACES')
      expect(error.message).toMatch(/a\/x .*b\/y/)
      expect(cache.pins).toBe(0)
    }
  })

  test('law 9: dimensions that only a pull tells are refused the same way', async () => {
    const wide = b({ rows: [{ id: 1n, vector: [1, 2, 3] }] })
    for (const vector of [
      [0, 0],
      [0, 0, 0],
    ])
      expect((await codeOf(answerTo([a(), wide], { vector }))).code).toBe('LG_MIXED_SPACES')
  })

  test('law 9: what is named is refused for a wrong dimension, with both numbers', async () => {
    const error = await codeOf(answerTo([a()], { collections: named('a/x'), vector: [1, 2, 3] }))
    expect(error).toMatchObject({ code: 'LG_DIMENSION_MISMATCH', field: 'vector' })
    expect(error.message).toBe('vector: expected 2 numbers for a/x, got 3')
  })

  test('a query of another dimension than every collection is a mismatch, not a mixture', async () => {
    expect((await codeOf(answerTo([a(), b()], { vector: [1] }))).code).toBe('LG_DIMENSION_MISMATCH')
  })

  test('law 9: named collections of different metrics need fusion, which says so', async () => {
    const collections = [a(), b({ metric: 'cosine' })]
    expect((await codeOf(answerTo(collections, { collections: named('a/x', 'b/y') }))).code).toBe('LG_MIXED_SPACES')
    const answer = await answerTo(collections, { fusion: 'rrf' })
    expect(ids(answer)).toEqual([1n, 'half', 2n, 'one', 3n])
    const receipt = receiptOf(answer)
    expect(receipt).toMatchObject({ metric: null, certificate: { kind: 'fused' } })
    expect(receipt.sources).toMatchObject([{ metric: 'l2' }, { metric: 'cosine' }])
  })

  test('fusion of one space is an ordinary merge and claims what it may', async () => {
    const answer = await answerTo([a(), b()], { fusion: 'rrf' })
    expect(ids(answer)).toEqual(['half', 1n, 'one', 2n, 3n])
    expect(receiptOf(answer).certificate).toEqual({ kind: 'proven' })
  })
})

describe('law 5: sources that do not answer', () => {
  test('a failing one is named and the others answer', async () => {
    const answer = await answerTo([a({ pinning: fails(unavailable) }), b()])
    expect(ids(answer)).toEqual(['half', 'one'])
    expect(receiptOf(answer)).toMatchObject({ complete: false })
    expect(receiptOf(answer).sources[0]).toEqual({
      backend: 'a',
      collection: 'x',
      status: 'failed',
      code: 'LG_SOURCE_UNAVAILABLE',
      reason: 'the lake is closed',
      retryAfterMs: 100,
    })
  })

  test('a search that fails is no different', async () => {
    const answer = await answerTo([a({ searching: fails(unavailable) }), b()])
    expect(receiptOf(answer).sources[0]).toMatchObject({ status: 'failed', reason: 'the lake is closed' })
  })

  test('when all fail, the error is that of the first in order', async () => {
    const late = async (): Promise<never> => {
      await settled()
      throw unavailable
    }
    const badFilter = new GatewayError('LG_INVALID_REQUEST', 'filter.year: no such column', { field: 'filter.year' })
    expect(await codeOf(answerTo([a({ pinning: late }), b({ searching: fails(badFilter) })]))).toBe(unavailable)
    expect(await codeOf(answerTo([a({ searching: fails(badFilter) })]))).toBe(badFilter)
  })

  test('require_complete turns it into an error that names which and why', async () => {
    const error = await codeOf(answerTo([a({ pinning: fails(unavailable) }), b()], { requireComplete: true }))
    expect(error.code).toBe('LG_INCOMPLETE')
    expect(error.message).toContain('a/x (the lake is closed)')
  })
})

describe('law 4: deadlines and cancellation', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
  afterEach(() => void vi.useRealTimers())

  /** Asks, lets everything that can answer do so, then lets the deadline pass. */
  async function until(
    deadlineMs: number,
    collections: readonly ScriptedCollection[],
    fields: Parameters<typeof query>[0] = {},
  ) {
    const { gateway, cache } = await scriptedGateway(collections)
    const answering = gateway.search(query({ deadlineMs, ...fields }), { signal: idle })
    answering.catch(() => undefined)
    await settled()
    vi.advanceTimersByTime(deadlineMs)
    return { answering, cache }
  }

  test.each([
    ['a pull that notices', { pinning: untilAborted }],
    ['a pull that does not', { pinning: never }],
    ['a search that notices', { searching: untilAborted }],
    ['a search that does not', { searching: never }],
  ])('%s is cut off and named; the others answer', async (_, hanging) => {
    const { answering } = await until(50, [a(hanging), b()])
    const answer = await answering
    expect(ids(answer)).toEqual(['half', 'one'])
    expect(receiptOf(answer)).toMatchObject({ complete: false })
    expect(receiptOf(answer).sources[0]).toEqual({
      backend: 'a',
      collection: 'x',
      status: 'skipped',
      reason: 'deadline',
      retryAfterMs: null,
    })
  })

  test('a first pull that outlasts it is priming, with when to ask again', async () => {
    const priming = a({ pinning: untilAborted, primingRetryMs: 700 })
    const { answering } = await until(50, [priming, b()])
    expect(receiptOf(await answering).sources[0]).toEqual({
      backend: 'a',
      collection: 'x',
      status: 'priming',
      retryAfterMs: 700,
    })
    const alone = await until(50, [priming])
    expect(await codeOf(alone.answering)).toMatchObject({ code: 'LG_PRIMING', retryAfterMs: 700 })
    const row = await until(50, [priming], { target: { kind: 'row', collection: parseName('a/x'), id: 1n } })
    expect(await codeOf(row.answering)).toMatchObject({ code: 'LG_PRIMING', retryAfterMs: 700 })
    const whole = await until(50, [priming, b()], { requireComplete: true })
    expect(await codeOf(whole.answering)).toMatchObject({ code: 'LG_INCOMPLETE', retryAfterMs: 700 })
  })

  test('when nothing answered in time it is an error', async () => {
    const { answering } = await until(50, [a({ pinning: never })])
    const error = await codeOf(answering)
    expect(error.code).toBe('LG_DEADLINE_EXCEEDED')
    expect(error.message).toContain('a/x')
    expect(error.message).toContain('50 ms')
  })

  test('a pin and a search that end late are released', async () => {
    let finish = (): void => undefined
    const late = (): Promise<void> => new Promise((resolve) => (finish = resolve))
    for (const slow of [{ pinning: late }, { searching: late }]) {
      const { answering, cache } = await until(50, [a(slow)])
      await codeOf(answering)
      // A search under way reads memory that its pin keeps in place.
      expect(cache.releases).toBe(0)
      finish()
      await settled()
      expect(cache.pins).toBe(1)
      expect(cache.releases).toBe(1)
    }
  })

  test('a slow shard beside a fast one: nobody waits longer than the deadline, nothing stays pinned', async () => {
    const { answering, cache } = await until(50, [a({ searching: untilAborted }), b()])
    await answering
    await settled()
    expect(cache.pins).toBe(2)
    expect(cache.releases).toBe(2)
  })

  test('more hanging collections than run side by side do not hold up those that are resident', async () => {
    const hanging = Array.from({ length: 100 }, (_, i) => a({ name: `a/${i}`, pinning: never }))
    const { answering } = await until(50, [...hanging, b({ state: 'ready' })])
    expect(ids(await answering)).toEqual(['half', 'one'])
  })

  test('more hanging collections than run side by side do not hold up another source, resident or not', async () => {
    const hanging = Array.from({ length: 100 }, (_, i) => a({ name: `a/${i}`, pinning: never }))
    const { answering } = await until(50, [...hanging, b({ state: 'cold' })])
    expect(ids(await answering)).toEqual(['half', 'one'])
  })

  test('the caller going away is a cancellation, even when others had answered', async () => {
    const { gateway, cache } = await scriptedGateway([a({ searching: untilAborted }), b()])
    const caller = new AbortController()
    const answering = gateway.search(query(), { signal: caller.signal })
    await settled()
    caller.abort()
    expect((await codeOf(answering)).code).toBe('LG_CANCELLED')
    await settled()
    expect(cache.releases).toBe(cache.pins)
    expect((await codeOf(gateway.search(query(), { signal: caller.signal }))).code).toBe('LG_CANCELLED')
  })
})

describe('rows, versions and columns', () => {
  const columns = [
    { name: 'title', type: { kind: 'string' } },
    { name: 'year', type: { kind: 'int' } },
  ] as const
  const books = b({
    columns,
    rows: [
      { id: 'p', vector: [0, 1], cells: ['Pale Fire', 1962n] },
      { id: 'q', vector: [0, 2], cells: [null, 1990n] },
    ],
  })
  const fieldsOf = (answer: Answer) =>
    answer.results.map((result) => result.metadata?.map((field) => [field.name, field.value]) ?? null)

  test('every column when none is selected; null where there are none', async () => {
    const novel = [
      ['title', 'Pale Fire'],
      ['year', 1962n],
    ]
    expect(fieldsOf(await answerTo([books, a()], { k: 2 }))).toEqual([null, novel])
  })

  test('selected columns in the order selected; collections without them answer too', async () => {
    const answer = await answerTo([books, a()], { select: ['year'], k: 3 })
    expect(fieldsOf(answer)).toContainEqual([['year', 1962n]])
    expect(fieldsOf(answer)).toContainEqual(null)
    expect(fieldsOf(await answerTo([books], { select: [] }))).toEqual([null, null])
    expect(fieldsOf(await answerTo([books], { select: ['year', 'title'], k: 1 }))).toEqual([
      [
        ['year', 1962n],
        ['title', 'Pale Fire'],
      ],
    ])
  })

  test('a column that no collection has is refused by name', async () => {
    const error = await codeOf(answerTo([books, a()], { select: ['title', 'yaer'] }))
    expect(error).toMatchObject({ code: 'LG_INVALID_REQUEST', field: 'select[1]' })
    expect(error.message).toContain('did you mean "year"')
  })

  test('nearest to a row: its own vector in the version searched', async () => {
    const target = { kind: 'row', collection: parseName('a/x'), id: 2n } as const
    const answer = await answerTo([a()], { target, k: 2, includeVectors: true })
    expect(answer.results[0]).toMatchObject({ id: 2n, distance: 0, vector: Float32Array.of(2, 0) })
    const missing = await codeOf(answerTo([a()], { target: { ...target, id: '2' } }))
    expect(missing).toMatchObject({ code: 'LG_ROW_NOT_FOUND', field: 'row' })
    expect(missing.message).toContain('no row "2"')
  })

  test('law 2: the row and the search share one pin', async () => {
    const { gateway, cache } = await scriptedGateway([a()])
    await gateway.search(query({ target: { kind: 'row', collection: parseName('a/x'), id: 2n } }), { signal: idle })
    expect(cache.pins).toBe(1)
  })

  test('as_of: the most specific entry decides, and one that names nothing is refused', async () => {
    const old = { held: { g0: rows([9n, 0]) } }
    const at = (generation: string) => ({ kind: 'generation', generation }) as const
    const asOf = [
      { pattern: { backend: 'a', collection: '*' }, at: at('g1') },
      { pattern: { backend: 'a', collection: 'x' }, at: at('g0') },
    ]
    const answer = await answerTo([a(old)], { asOf })
    expect(ids(answer)).toEqual([9n])
    expect(receiptOf(answer).sources[0]).toMatchObject({
      generation: 'g0',
      freshness: { policy: 'as_of generation g0' },
    })
    const idleAsOf = await codeOf(answerTo([a(old)], { asOf: [{ pattern: parseName('b/y'), at: at('g0') }] }))
    expect(idleAsOf).toMatchObject({ code: 'LG_INVALID_REQUEST', field: 'as_of.b/y' })
    const gone = await codeOf(answerTo([a(old)], { asOf: [{ pattern: null, at: at('g-1') }] }))
    expect(gone.code).toBe('LG_GENERATION_EXPIRED')
  })
})
