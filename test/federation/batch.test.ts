import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { GatewayError } from '../../src/core/errors.js'
import type { Answer } from '../../src/federation/answer.js'
import {
  clock,
  idle,
  parseName,
  query,
  type ScriptedCollection,
  scriptedGateway,
  settled,
  untilAborted,
} from './scripted-cache.js'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

const collection = (more: Partial<ScriptedCollection> = {}): ScriptedCollection => ({
  name: 'a/x',
  rows: [
    { id: 1n, vector: [1, 0] },
    { id: 2n, vector: [2, 0] },
  ],
  ...more,
})
const generationsOf = (answers: readonly (Answer | GatewayError)[]): unknown[] =>
  answers.map((answer) =>
    answer instanceof GatewayError
      ? answer.code
      : answer.receipt!.sources.map((source) => source.status === 'ok' && source.generation),
  )

test('law 2: all queries of a batch see one generation, though the source moves on meanwhile', async () => {
  const moving = collection()
  let generation = 0
  moving.pinning = async () => {
    generation += 1
    moving.generation = `g${generation}`
  }
  const { gateway, cache } = await scriptedGateway([moving])
  const answers = await gateway.searchBatch(
    Array.from({ length: 50 }, (_, i) => query({ vector: [i, 0] })),
    { signal: idle },
  )
  expect(new Set(generationsOf(answers).map(String))).toEqual(new Set(['g1']))
  expect(cache.pins).toBe(1)
  await settled()
  expect(cache.releases).toBe(1)
})

test('the strictest query decides how fresh the shared generation is', async () => {
  const wanted: unknown[] = []
  const { gateway } = await scriptedGateway([
    collection({
      pinning: async (version) => {
        wanted.push(version)
      },
    }),
  ])
  const consistencies = [{ kind: 'frozen' }, { kind: 'ttl', ttlMs: 9 }, { kind: 'ttl', ttlMs: 5 }] as const
  await gateway.searchBatch(
    consistencies.map((consistency) => query({ consistency })),
    { signal: idle },
  )
  expect(wanted).toEqual([{ kind: 'current', consistency: { kind: 'ttl', ttlMs: 5 } }])
})

test('one query that cannot be answered does not spoil the others', async () => {
  const { gateway } = await scriptedGateway([collection()])
  const answers = await gateway.searchBatch(
    [query(), query({ collections: [parseName('a/none')] }), query({ vector: [1, 2, 3] }), query({ k: 1 })],
    { signal: idle },
  )
  expect(generationsOf(answers)).toEqual([['g1'], 'LG_COLLECTION_NOT_FOUND', 'LG_DIMENSION_MISMATCH', ['g1']])
  expect(await gateway.searchBatch([], { signal: idle })).toEqual([])
})

test('law 4: each query has its own deadline, from the start of the batch', async () => {
  const slow = collection({
    name: 'b/slow',
    searching: ({ k }, signal) => (k === 1 ? untilAborted(k, signal) : Promise.resolve()),
  })
  const { gateway, cache } = await scriptedGateway([slow])
  const answering = gateway.searchBatch([query({ k: 1, deadlineMs: 20 }), query({ k: 2, deadlineMs: 5000 })], {
    signal: idle,
  })
  await settled()
  vi.advanceTimersByTime(20)
  expect(generationsOf(await answering)).toEqual(['LG_DEADLINE_EXCEEDED', ['g1']])
  await settled()
  expect(cache.releases).toBe(cache.pins)
})

test('law 4: the caller going away cancels the whole batch and leaves no pin', async () => {
  const { gateway, cache } = await scriptedGateway([collection({ searching: untilAborted })])
  const caller = new AbortController()
  const answering = gateway.searchBatch([query(), query()], { signal: caller.signal })
  answering.catch(() => undefined)
  await settled()
  caller.abort()
  await expect(answering).rejects.toMatchObject({ code: 'LG_CANCELLED' })
  await settled()
  expect(cache.pins).toBe(1)
  expect(cache.releases).toBe(1)
})

test('law 4: a batch whose queries never wait lets others have their turn, so that it can be cancelled', async () => {
  const caller = new AbortController()
  let searched = 0
  const busy = collection({
    searching: () => {
      searched++
      if (searched === 1) setImmediate(() => caller.abort())
      clock.nowMs += 2
      return Promise.resolve()
    },
  })
  const { gateway } = await scriptedGateway([busy])
  const queries = Array.from({ length: 500 }, () => query())
  await expect(gateway.searchBatch(queries, { signal: caller.signal })).rejects.toMatchObject({ code: 'LG_CANCELLED' })
  expect(searched).toBeLessThan(queries.length)
})
