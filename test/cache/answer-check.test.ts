/** Law 6: what answers are audited by. The check must find every kind of wrong answer, and only wrong ones. */
import { expect, test } from 'vitest'
import type { VectorCacheHandle } from '../../src/cache/create-vector-cache.js'
import type {
  AnswerCheck,
  CheckedAnswer,
  PinnedVersion,
  ShardAnswer,
  ShardQuery,
} from '../../src/cache/vector-cache.js'
import { seededRandom } from '../../src/core/clock.js'
import type { Metric } from '../../src/core/metric.js'
import type { Predicate } from '../../src/core/predicate.js'
import { fresh, never, openCache } from './open-cache.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const dimension = 12
const all: Parameters<AnswerCheck['run']>[0] = { signal: never, from: 0, isEnough: () => false }

/** 4,000 rows in two files, every seventh of the first deleted, with a column `group` of ten values. */
function scripted(metric: Metric = 'l2'): ScriptedSource {
  const random = seededRandom(3)
  const source = new ScriptedSource(dimension, metric)
  source.columns = [{ name: 'group', type: { kind: 'int' } }]
  for (const [name, first] of [
    ['a', 0n],
    ['b', 2000n],
  ] as const) {
    const deleted =
      name === 'a'
        ? { identity: 'sevenths', ordinals: Uint32Array.from({ length: 286 }, (_, i) => i * 7).filter((i) => i < 2000) }
        : undefined
    const file = randomFile('1', 2000, dimension, random, first)
    const cells = [Array.from({ length: 2000 }, (_, i) => BigInt(i % 10))]
    source.files.set(name, deleted === undefined ? { ...file, cells } : { ...file, cells, deleted })
  }
  return source
}

const queryOf = (seed: number, fields: Partial<ShardQuery> = {}): ShardQuery => {
  const random = seededRandom(seed)
  return {
    vector: Float32Array.from({ length: dimension }, () => random() * 2 - 1),
    k: 10,
    contract: { kind: 'exact' },
    filter: null,
    distanceMax: Number.POSITIVE_INFINITY,
    ...fields,
  }
}

async function withPinned(
  source: ScriptedSource,
  use: (pinned: PinnedVersion, cache: VectorCacheHandle) => Promise<void>,
  options: { readonly clusteredRowsMin: number } = { clusteredRowsMin: 2000 },
): Promise<void> {
  const { cache } = await openCache(options)
  const first = await cache.pin(source.collection(), fresh, { signal: never })
  first.release()
  await cache.settled()
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  await use(pinned, cache)
  pinned.release()
}

async function check(
  pinned: PinnedVersion,
  query: ShardQuery,
  answer: ShardAnswer,
  options = all,
): Promise<CheckedAnswer> {
  const checked = await pinned.check(query, answer).run(options)
  expect(checked).not.toBeNull()
  return checked!
}

const filters: readonly (Predicate | null)[] = [
  null,
  { op: 'le', column: 'group', value: 4 },
  { op: 'eq', column: 'group', value: 11 },
]

test.each(['l2', 'cosine', 'dot'] as const)(
  'right answers are found right, under masks and filters (%s)',
  async (metric) => {
    await withPinned(scripted(metric), async (pinned) => {
      for (const [i, filter] of filters.entries())
        for (const k of [1, 10, 500, 5000]) {
          const query = queryOf(10 * i + k, { filter, k })
          const answer = await pinned.search(query, { signal: never })
          const checked = await check(pinned, query, answer)
          expect(checked).toMatchObject({ complete: true, rowsRead: 4000, missed: 0, wrong: [] })
          expect(checked.expected).toEqual(answer.hits)
        }
      const near = queryOf(99, { distanceMax: 0.9 * (metric === 'dot' ? -1 : 1) })
      const answer = await pinned.search(near, { signal: never })
      expect((await check(pinned, near, answer)).expected).toEqual(answer.hits)
    })
  },
)

test('a row that is missing is found, wherever the reading begins', async () => {
  await withPinned(scripted(), async (pinned) => {
    const query = queryOf(5)
    const answer = await pinned.search({ ...query, k: 11 }, { signal: never })
    for (let lost = 0; lost < 10; lost++)
      for (const from of [0, 0.4, 0.99]) {
        const hits = answer.hits.filter((_, index) => index !== lost)
        const checked = await check(pinned, query, { ...answer, hits }, { ...all, from })
        expect(checked).toMatchObject({ missed: 1, wrong: [] })
        expect(checked.expected).toEqual(answer.hits.slice(0, 10))
      }
    const short = await check(pinned, query, { ...answer, hits: [] })
    expect(short).toMatchObject({ missed: 10, wrong: [] })
  })
})

test('hits that are not what they say are named', async () => {
  await withPinned(scripted(), async (pinned) => {
    const filter = filters[1]!
    const query = queryOf(6, { filter })
    const answer = await pinned.search(query, { signal: never })
    const unfiltered = await pinned.search(queryOf(6, { k: 50 }), { signal: never })
    const other = unfiltered.hits.find(({ row }) => row % 10 > 4)!
    const dead = { segment: 0, position: 7 }
    const deadHit = { id: pinned.id(dead), part: answer.hits.find(({ part }) => part.startsWith('a'))!.part, row: 7 }
    const { distance: awayOfDead } = (
      await check(pinned, queryOf(6, { filter: null }), {
        ...answer,
        hits: [{ ...answer.hits[0]!, location: dead }],
      })
    ).wrong.map(({ reason }) => ({ distance: Number(/is (\S+),/.exec(reason)![1]) }))[0]!
    const faults = [
      [{ ...answer.hits[0]!, distance: answer.hits[0]!.distance * 0.9 }, /^its distance is/],
      [{ ...answer.hits[0]!, id: -1n }, /another id/],
      [other, /filter/],
      [{ ...deadHit, distance: awayOfDead, location: dead }, /deleted/],
    ] as const
    for (const [hit, reason] of faults) {
      const { wrong, missed } = await check(pinned, query, { ...answer, hits: [hit, ...answer.hits.slice(1)] })
      expect(wrong[0]).toEqual({ hit: 0, reason: expect.stringMatching(reason) })
      expect(missed).toBe(1)
    }
    const far = { ...query, distanceMax: answer.hits[4]!.distance }
    expect((await check(pinned, far, answer)).wrong.map(({ hit }) => hit)).toEqual([5, 6, 7, 8, 9])
    const twice = [answer.hits[0]!, answer.hits[0]!, ...answer.hits.slice(1, 9)]
    expect((await check(pinned, query, { ...answer, hits: twice })).wrong).toEqual([
      { hit: 1, reason: 'it is not behind the hit before it' },
    ])
    const turned = [answer.hits[1]!, answer.hits[0]!, ...answer.hits.slice(2)]
    expect((await check(pinned, query, { ...answer, hits: turned })).wrong.map(({ hit }) => hit)).toEqual([1])
    const more = await check(pinned, { ...query, k: 9 }, answer)
    expect(more.wrong).toEqual([{ hit: 9, reason: 'it is more than was asked for' }])
  })
})

test('what is enough ends the reading, and can only convict', async () => {
  const use = async (pinned: PinnedVersion): Promise<void> => {
    const query = queryOf(7)
    const answer = await pinned.search(query, { signal: never })
    const some = { ...all, isEnough: (values: number) => values > 0 }
    // A stretch is more than a segment of so few rows.
    expect(await check(pinned, query, answer, some)).toMatchObject({ complete: false, rowsRead: 2000, missed: 0 })
    const missed = await Promise.all(
      [0, 0.5].map(async (from) => (await check(pinned, query, { ...answer, hits: [] }, { ...some, from })).missed),
    )
    // Of either half the best ten, so none of them is more than there are.
    expect(missed).toEqual([10, 10])
  }
  // Rows that get clusters are joined into one segment.
  await withPinned(scripted(), use, { clusteredRowsMin: 1e9 })
})

test('runs after the release while the rows are in memory, and holds nothing before', async () => {
  const source = scripted()
  await withPinned(source, async (pinned, cache) => {
    const query = queryOf(8)
    const answer = await pinned.search(query, { signal: never })
    const later = pinned.check(query, answer)
    query.vector.fill(0) // borrowed
    expect((await later.run(all))?.missed).toBe(0)
    await cache.invalidate(source.collection().ref)
    expect((await later.run(all))?.missed, 'still pinned').toBe(0)
    const other = await cache.pin(source.collection(), fresh, { signal: never })
    const ofOther = other.check(queryOf(8), await other.search(queryOf(8), { signal: never }))
    other.release()
    expect((await ofOther.run(all))?.missed).toBe(0)
    await cache.invalidate(source.collection().ref)
    expect(await ofOther.run(all)).toBeNull()
  })
})

test('ends with its signal', async () => {
  await withPinned(scripted(), async (pinned) => {
    const query = queryOf(9)
    const answer = await pinned.search(query, { signal: never })
    const ending = new AbortController()
    const isEnough = (): boolean => {
      ending.abort(new Error('enough'))
      return false
    }
    const stop = { ...all, signal: ending.signal, isEnough }
    await expect(pinned.check(query, answer).run(stop)).rejects.toThrow('enough')
  })
})
