import { readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { composeRecord, parseRecord } from '../../src/cache/collection-record.js'
import type { FirstStage } from '../../src/cache/executor.js'
import { tuneScans } from '../../src/cache/tune-scans.js'
import { type Tuning, tunedScan } from '../../src/cache/tuning.js'
import type { PinnedVersion } from '../../src/cache/vector-cache.js'
import { type Random, seededRandom } from '../../src/core/clock.js'
import type { RecallContract } from '../../src/core/contract.js'
import { partKey } from '../../src/core/generation.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import type { Predicate } from '../../src/core/predicate.js'
import { fresh, never, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { ScriptedSource } from './scripted-source.js'
import { gaussian } from './training-fixture.js'

const dimension = 24
const rows = 6000
const k = 10

/** No natural clusters: neighbours are spread over many of them. */
const cloud = (count: number, random: Random): Float32Array =>
  Float32Array.from({ length: count * dimension }, () => gaussian(random))

function cloudSource(metric: Metric, vectors = cloud(rows, seededRandom(8))): ScriptedSource {
  const source = new ScriptedSource(dimension, metric)
  const ids = Array.from({ length: rows }, (_, i) => BigInt(i))
  source.columns = [{ name: 'island', type: { kind: 'int' } }]
  source.files.set('cloud', { key: '1', vectors, ids, cells: [ids.map((id) => id % 2n)] })
  return source
}

/** Two clouds, by the column `island`, and some rows so far out that hardly any query is farther from its neighbours. */
function islands(): ScriptedSource {
  const vectors = cloud(rows, seededRandom(8))
  for (let row = 0; row < rows; row++)
    for (let i = row * dimension; i < (row + 1) * dimension; i++)
      if (row % 20 === 0) vectors[i]! *= 6
      else if (row % 2 === 1) vectors[i]! += 1.5
  return cloudSource('l2', vectors)
}

/** Of the same cloud, but rows of it: 200 that are `scale` times as far out. */
function queriesOf(scale = 1): Float32Array[] {
  const vectors = cloud(200, seededRandom(9)).map((value) => value * scale)
  return Array.from({ length: 200 }, (_, i) => vectors.subarray(i * dimension, (i + 1) * dimension))
}

const ask = (pinned: PinnedVersion, vector: Float32Array, contract: RecallContract, filter: Predicate | null = null) =>
  pinned.search({ vector, k, contract, filter, distanceMax: Number.POSITIVE_INFINITY }, { signal: never })

/** Mean share of the true neighbours that answers have, and the least that they expect. */
async function recallOf(pinned: PinnedVersion, queries: readonly Float32Array[], recall: number, filter?: Predicate) {
  let found = 0
  let expected = 1
  for (const query of queries) {
    const truth = await ask(pinned, query, { kind: 'exact' }, filter)
    const answer = await ask(pinned, query, { kind: 'target', recall }, filter)
    const last = truth.hits.at(-1)!.distance
    found += answer.hits.filter(({ distance }) => distance <= last).length / truth.hits.length
    expected = Math.min(expected, answer.recallExpected ?? 1)
  }
  return { found: found / queries.length, expected }
}

/** A collection whose index is as good as it gets, pinned. */
async function settle(source: ScriptedSource, directory?: string) {
  const { cache } = await openCache({ clusteredRowsMin: 2000, ...(directory !== undefined && { directory }) })
  const collection = source.collection()
  const pin = () => cache.pin(collection, fresh, { signal: never })
  const first = await pin()
  first.release()
  await cache.settled()
  const { tuning } = cache.collectionStatistics(collection.ref).index
  return { cache, pinned: await pin(), tuning: tuning! }
}

test.each(metrics)('law 6: a target is reached, and what is expected (%s)', async (metric) => {
  const { pinned, tuning } = await settle(cloudSource(metric))
  expect(tuning).toMatchObject({ rows, segments: 1, queries: Math.ceil(rows / 16) })
  expect(tuning.gaps.map(({ recall }) => recall)).toEqual([0.9, 0.95, 0.99])
  expect(tuning.gaps[0]!.gap).toBeLessThan(Number.POSITIVE_INFINITY)
  for (const target of [0.5, 0.8, 0.9]) {
    const { found, expected } = await recallOf(pinned, queriesOf(), target)
    expect(found).toBeGreaterThanOrEqual(expected)
    expect(expected).toBeGreaterThanOrEqual(target)
    // Otherwise it was no target that was tested.
    if (target < 0.9) expect(found).toBeLessThan(1)
  }
  pinned.release()
})

test('law 6: a target is reached among rows that pass a filter, however far they are', async () => {
  const { pinned } = await settle(islands())
  const filter: Predicate = { op: 'eq', column: 'island', value: 1n }
  for (const target of [0.5, 0.9])
    expect((await recallOf(pinned, queriesOf(), target, filter)).found).toBeGreaterThanOrEqual(target)
  pinned.release()
})

/** That a target finds what it finds under a filter, for which no cluster is left. 1-bit codes may miss a few more of a second scan. */
async function expectAllClusters(pinned: PinnedVersion, queries: readonly Float32Array[]): Promise<void> {
  const every: Predicate = { op: 'in', column: 'island', values: [0n, 1n] }
  const { found } = await recallOf(pinned, queries, 0.5)
  expect(found).toBeGreaterThan((await recallOf(pinned, queries, 0.5, every)).found - 0.1)
}

test('law 6: a query that is farther from its neighbours than any row is asked of all clusters', async () => {
  const { pinned, tuning } = await settle(cloudSource('l2'))
  const [query] = queriesOf(3)
  expect((await ask(pinned, query!, { kind: 'exact' })).hits.at(-1)!.distance).toBeGreaterThan(
    tuning.recalls.find((measured) => measured.k === k)!.distanceMax,
  )
  await expectAllClusters(pinned, queriesOf(3))
  pinned.release()
})

test('law 6: dot: a query that points away from all rows is asked of all clusters', async () => {
  const { pinned } = await settle(
    cloudSource(
      'dot',
      cloud(rows, seededRandom(8)).map((value) => value + 3),
    ),
  )
  const shifted = (by: number) => queriesOf().map((query) => query.map((value) => value + by))
  await expectAllClusters(pinned, shifted(-3))
  expect((await recallOf(pinned, shifted(3), 0.5)).found).toBeLessThan(1)
  pinned.release()
})

/** Clouds around 40 points, of rows whose norms differ. */
function longAndShort(count: number, random: Random, points: Float32Array): Float32Array {
  const vectors = new Float32Array(count * dimension)
  for (let row = 0; row < count; row++) {
    const point = Math.floor(random() * (points.length / dimension)) * dimension
    const length = Math.exp(0.5 * gaussian(random))
    for (let i = 0; i < dimension; i++) vectors[row * dimension + i] = length * (points[point + i]! + gaussian(random))
  }
  return vectors
}

test('law 6: dot: a target is reached where norms differ, and by a query of any length with the same rows', async () => {
  const points = cloud(40, seededRandom(11))
  const { pinned, tuning } = await settle(cloudSource('dot', longAndShort(rows, seededRandom(8), points)))
  expect(tuning.gaps[0]!.gap).toBeLessThan(Number.POSITIVE_INFINITY)
  const drawn = longAndShort(200, seededRandom(9), points)
  const queries = Array.from({ length: 200 }, (_, i) => drawn.subarray(i * dimension, (i + 1) * dimension))
  for (const target of [0.5, 0.8, 0.9]) {
    const { found, expected } = await recallOf(pinned, queries, target)
    expect(found).toBeGreaterThanOrEqual(expected)
    expect(expected).toBeGreaterThanOrEqual(target)
    if (target === 0.5) expect(found).toBeLessThan(1)
  }
  for (const query of queries.slice(0, 20)) {
    const rowsOf = async (scale: number) => {
      const answer = await ask(
        pinned,
        query.map((value) => value * scale),
        { kind: 'target', recall: 0.8 },
      )
      return answer.hits.map(({ location }) => location.position)
    }
    // A power of two changes no digit.
    expect(await rowsOf(2 ** -20)).toEqual(await rowsOf(1))
  }
  const zero = await ask(pinned, new Float32Array(dimension), { kind: 'target', recall: 0.5 })
  expect(zero.hits.map(({ distance }) => distance)).toEqual(Array(k).fill(0))
  pinned.release()
})

const everyOther = Uint32Array.from({ length: rows / 2 }, (_, i) => 2 * i)
const allButFew = Uint32Array.from({ length: rows }, (_, i) => i).filter((i) => i % 100 !== 7)

test.each([
  { which: 'every other row', ordinals: everyOther, queries: Math.ceil(rows / 16) },
  { which: 'all but 60 rows', ordinals: allButFew, queries: 60 },
])('law 6: measured on rows that are left when $which is deleted', async ({ ordinals, queries }) => {
  const source = cloudSource('l2')
  source.files.set('cloud', { ...source.files.get('cloud')!, deleted: { identity: 'm', ordinals } })
  const { pinned, tuning } = await settle(source)
  expect(tuning.queries).toBe(queries)
  for (const { us } of tuning.costs) expect(us).toBeGreaterThan(0)
  for (const { distanceMax } of tuning.recalls) expect(distanceMax).toBeGreaterThan(0)
  expect((await recallOf(pinned, queriesOf(), 0.8)).found).toBeGreaterThanOrEqual(0.8)
  pinned.release()
})

test('a collection that lost a fifth of its rows is measured again, one that lost a tenth is not', async () => {
  const source = cloudSource('l2')
  const { cache, pinned, tuning } = await settle(source)
  pinned.release()
  const afterDeleting = async (count: number) => {
    const ordinals = Uint32Array.from({ length: count }, (_, i) => i)
    source.files.set('cloud', { ...source.files.get('cloud')!, deleted: { identity: `first ${count}`, ordinals } })
    await cache.refresh(source.collection(), { signal: never })
    await cache.settled()
    return cache.collectionStatistics(source.collection().ref).index.tuning!
  }
  expect(await afterDeleting(rows / 10)).toEqual(tuning)
  expect((await afterDeleting(rows / 5)).rows).toBe(rows - rows / 5)
})

test('where every row is deleted nothing is measured', async () => {
  const source = cloudSource('l2')
  const ordinals = Uint32Array.from({ length: rows }, (_, i) => i)
  source.files.set('cloud', { ...source.files.get('cloud')!, deleted: { identity: 'm', ordinals } })
  const { pinned, tuning } = await settle(source)
  expect(tuning).toBeNull()
  pinned.release()
})

test('a restart keeps what was measured; a collection grown by a quarter is measured again', async () => {
  const directory = await scratchDirectory()
  const source = cloudSource('l2')
  const before = await settle(source, directory)
  before.pinned.release()
  await before.cache.close()
  const after = await settle(source, directory)
  expect(after.tuning).toEqual(before.tuning)
  after.pinned.release()
  const more = cloud(rows / 4, seededRandom(10))
  const ids = Array.from({ length: rows / 4 }, (_, i) => BigInt(rows + i))
  source.files.set('more', { key: '1', vectors: more, ids, cells: [ids.map(() => 0n)] })
  await after.cache.refresh(source.collection(), { signal: never })
  await after.cache.settled()
  const { tuning } = after.cache.collectionStatistics(source.collection().ref).index
  expect(tuning).toMatchObject({ rows: 1.25 * rows, segments: 2 })
})

test.each([
  ['which clusters can be left for dot', { recalls: [] }],
  ['how long targets take', { targets: undefined as unknown as [] }],
])('a restart measures what an earlier version did not: %s', async (_, lacking) => {
  const directory = await scratchDirectory()
  const before = await settle(cloudSource('dot'), directory)
  before.pinned.release()
  await before.cache.close()
  const [name] = (await readdir(directory, { recursive: true })).filter((file) => basename(file) === 'record')
  const record = parseRecord(await readFile(join(directory, name!)))
  const codebooks = record.codebooks.map((codebook) => ({
    ...codebook,
    tuning: codebook.tuning && { ...codebook.tuning, ...lacking },
  }))
  await writeFile(join(directory, name!), composeRecord({ ...record, codebooks }))
  const after = await settle(cloudSource('dot'), directory)
  expect(after.tuning.recalls.map((measured) => measured.k)).toEqual([1, 10, 100])
  expect(after.tuning.targets).toHaveLength(6)
  after.pinned.release()
})

const points = [
  { gap: 2, recall: 0.5 },
  { gap: 4, recall: 0.9 },
  { gap: 8, recall: 0.95 },
]
const way = (first: FirstStage, leavesClusters: boolean) => ({ first, leavesClusters, us: leavesClusters ? 9 : 10 })
const measured: Tuning = {
  atMs: 0,
  rows: 10_000,
  segments: 1,
  queries: 100,
  costs: [
    { first: 'prefix', us: 10 },
    { first: 'bits', us: 20 },
    { first: 'bytes', us: 30 },
  ],
  recalls: [
    { k: 1, distanceMax: 3, points: points.map(({ gap, recall }) => ({ gap: gap * 1.25, recall })) },
    { k: 10, distanceMax: 5, points },
  ],
  targets: [{ k: 10, recall: 0.9, ways: [way('prefix', true), way('prefix', false)] }],
}

test('the cheapest way that the contract allows is taken', () => {
  const bitsAreCheapest = { ...measured, costs: [{ first: 'bits', us: 5 } as const, ...measured.costs] }
  expect(tunedScan(measured, { kind: 'certified', missProbability: 0.1 }, 10, true).choice).toEqual({
    first: 'prefix',
    gap: Number.POSITIVE_INFINITY,
  })
  expect(tunedScan(bitsAreCheapest, { kind: 'certified', missProbability: 0.1 }, 10, true).choice.first).toBe('bits')
  expect(tunedScan(bitsAreCheapest, { kind: 'exact' }, 10, true).choice.first).toBe('prefix')
})

test('a target takes the least gap that finds enough for as many neighbours', () => {
  const target = (recall: number, k = 10, tuning = measured, mayProbe = true) =>
    tunedScan(tuning, { kind: 'target', recall }, k, mayProbe)
  expect(target(0.9)).toMatchObject({ choice: { first: 'prefix' }, recall: 0.9, distanceMax: 5 })
  expect(target(0.9).choice.gap).toBeCloseTo(4)
  expect(target(0.7).choice.gap, 'between two that were measured').toBeCloseTo(3)
  expect(target(0.1).choice.gap, 'none smaller was measured').toBeCloseTo(2)
  expect(target(0.9, 5), 'fewer neighbours than were measured').toMatchObject({ distanceMax: 3 })
  expect(target(0.9, 5).choice.gap).toBeCloseTo(5)
  expect(target(0.96), 'nothing found so much').toMatchObject({
    choice: { gap: Number.POSITIVE_INFINITY },
    recall: 1,
  })
  expect(target(0.5, 11), 'more neighbours than were measured').toMatchObject({
    choice: { gap: Number.POSITIVE_INFINITY },
    recall: 1,
  })
  expect(target(0.9, 10, measured, false).choice.gap).toBe(Number.POSITIVE_INFINITY)
  expect(target(0.9, 10, { ...measured, recalls: [] }).choice.gap).toBe(Number.POSITIVE_INFINITY)
  const bits = { ...measured, targets: [{ k: 10, recall: 0.5, ways: [way('bits', true), way('bits', false)] }] }
  expect(target(0.5, 10, bits).choice.gap, 'a quarter of the misses is left to 1-bit codes').toBeCloseTo(2.625)
})

test('a target is answered in the way that was fastest for the likest one', () => {
  const targets = [
    { k: 10, recall: 0.9, ways: [way('prefix', true), way('bits', false)] },
    { k: 10, recall: 0.99, ways: [way('prefix', false), way('bits', false)] },
    { k: 100, recall: 0.9, ways: [way('bits', false), way('prefix', false)] },
  ]
  const choice = (recall: number, k: number, mayProbe = true) =>
    tunedScan({ ...measured, targets }, { kind: 'target', recall }, k, mayProbe).choice
  const all = Number.POSITIVE_INFINITY
  expect(choice(0.9, 10)).toEqual({ first: 'prefix', gap: 4 })
  expect(choice(0.9, 10, false), 'a filter').toEqual({ first: 'bits', gap: all })
  expect(choice(0.96, 10), 'no gap finds so much').toEqual({ first: 'bits', gap: all })
  expect(choice(0.98, 10)).toEqual({ first: 'prefix', gap: all })
  expect(choice(0.9, 100)).toEqual({ first: 'bits', gap: all })
  expect(choice(0.9, 1)).toMatchObject({ first: 'prefix' })
  const hardly = [{ k: 10, recall: 0.9, ways: [{ ...way('prefix', true), us: 9.7 }, way('bits', false)] }]
  expect(tunedScan({ ...measured, targets: hardly }, { kind: 'target', recall: 0.9 }, 10, true).choice.gap).toBe(all)
})

test('ways of targets are timed where neighbours are far, and gaps that save nothing are not used', async () => {
  const near = { vector: Float32Array.of(1), row: { segment: 0, position: 0 } }
  const far = { ...near, vector: Float32Array.of(2) }
  const { recalls, targets } = await tuneScans(
    [...Array.from({ length: 128 }, () => near), ...Array.from({ length: 64 }, () => far)],
    {
      firsts: ['bytes', 'bits'],
      metric: 'l2',
      clustered: true,
      rows: 500,
      // A gap of 3 finds all ten neighbours, which are at up to 10 or 20. It saves time where they are near.
      search: async (query, { first, gap }) => ({
        hits: Array.from({ length: query.k - 1 }, (_, i) => ({
          distance: gap < 3 ? 1000 : query.vector[0]! * (i + 1),
          id: BigInt(i),
          part: partKey('p'),
          row: i,
          location: { segment: 0, position: i + 1 },
        })),
        contract: query.contract,
        recallExpected: null,
        rowsScanned: 0,
        bytesScanned: 0,
        searchMs: (first === 'bits' ? 2 : 1) + (gap === Number.POSITIVE_INFINITY ? 0 : query.vector[0]! - 1.5),
        waitMs: 0,
      }),
    },
  )
  expect(recalls[1]!.points.find(({ recall }) => recall > 0.9)!.gap).toBeCloseTo(3)
  expect(targets.map(({ k, recall }) => [k, recall])).toEqual([0.9, 0.95, 0.99].map((recall) => [10, recall]))
  for (const { ways } of targets)
    expect(ways).toEqual([
      { first: 'bytes', leavesClusters: false, us: 1000 },
      { first: 'bytes', leavesClusters: true, us: 1500 },
      { first: 'bits', leavesClusters: false, us: 2000 },
      { first: 'bits', leavesClusters: true, us: 2500 },
    ])
})
