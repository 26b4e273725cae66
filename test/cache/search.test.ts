import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { allowSlotCount } from '../../src/cache/allow-slots.js'
import { seededRandom } from '../../src/core/clock.js'
import type { Cell, Column } from '../../src/core/column.js'
import type { RowId } from '../../src/core/id.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import type { Predicate } from '../../src/core/predicate.js'
import { openPool } from '../../src/federation/pool.js'
import { ask, bruteForce, fresh, idsAndDistances, never, openCache } from './open-cache.js'
import { ScriptedSource } from './scripted-source.js'

const columns: readonly Column[] = [
  { name: 'group', type: { kind: 'int' } },
  { name: 'label', type: { kind: 'string' } },
]

const whole = {
  vector: Float32Array.of(0, 0, 0, 0),
  k: 3,
  contract: { kind: 'exact' },
  filter: null,
  distanceMax: Number.POSITIVE_INFINITY,
} as const

interface Row {
  readonly id: RowId
  readonly vector: readonly number[]
  readonly cells: readonly Cell[]
}

/** Rows on a coarse grid, so that equal distances are everywhere; ids unless repeated are distinct. */
function gridRows(count: number, dimension: number, seed: number, repeatIds: boolean): readonly Row[] {
  const random = seededRandom(seed)
  return Array.from({ length: count }, (_, i) => {
    const name = repeatIds ? Math.floor(random() * count) : (i * 7919) % count
    return {
      id: name % 4 === 0 ? `id-${name}` : BigInt(name),
      vector: Array.from({ length: dimension }, () => Math.floor(random() * 3) - 1),
      cells: [random() < 0.1 ? null : BigInt(Math.floor(random() * 10)), random() < 0.5 ? 'left' : 'right'],
    }
  })
}

/** The rows cut into files at these places; some of them deleted. */
function sourceOf(
  rows: readonly Row[],
  dimension: number,
  metric: Metric,
  cuts: readonly number[],
  deletedEvery: number,
) {
  const source = new ScriptedSource(dimension, metric)
  source.columns = columns
  const ends = [...cuts.map((cut) => cut % (rows.length + 1)), rows.length].sort((a, b) => a - b)
  let from = 0
  for (const [index, end] of ends.entries()) {
    const slice = rows.slice(from, end)
    const ordinals = Uint32Array.from(slice.flatMap((_, row) => ((from + row) % deletedEvery === 0 ? [row] : [])))
    source.files.set(`file-${String(index).padStart(2, '0')}`, {
      key: '1',
      ids: slice.map((row) => row.id),
      vectors: Float32Array.from(slice.flatMap((row) => row.vector)),
      cells: columns.map((_, column) => slice.map((row) => row.cells[column]!)),
      ...(ordinals.length === 0 ? {} : { deleted: { identity: `every ${deletedEvery} from ${from}`, ordinals } }),
    })
    from = end
  }
  return source
}

const shape = fc.record({
  seed: fc.nat(),
  count: fc.integer({ min: 1, max: 3000 }),
  dimension: fc.integer({ min: 1, max: 20 }),
  metric: fc.constantFrom(...metrics),
  k: fc.integer({ min: 1, max: 40 }),
  cuts: fc.array(fc.nat(3000), { maxLength: 4 }),
  deletedEvery: fc.integer({ min: 2, max: 6000 }),
})

test('law 3 and 6: ties, repeated ids, masks and any layout give what brute force gives', async () => {
  const { cache } = await openCache()
  let run = 0
  await fc.assert(
    fc.asyncProperty(shape, async ({ seed, count, dimension, metric, k, cuts, deletedEvery }) => {
      const source = sourceOf(gridRows(count, dimension, seed, true), dimension, metric, cuts, deletedEvery)
      const collection = source.collection(`run ${run++}`)
      const vector = Float32Array.from(gridRows(1, dimension, seed + 1, true)[0]!.vector)
      const answer = await ask(cache, collection, vector, fresh, k)
      expect(idsAndDistances(answer)).toEqual(bruteForce(source, vector, k))
      expect(answer.contract).toEqual({ kind: 'exact' })
      await cache.invalidate(collection.ref)
    }),
    { numRuns: 60 },
  )
})

test('law 3: the same rows in other files give the same answer', async () => {
  const { cache } = await openCache()
  let run = 0
  await fc.assert(
    fc.asyncProperty(shape, fc.array(fc.nat(3000), { maxLength: 6 }), async (one, otherCuts) => {
      const { seed, count, dimension, metric, k, cuts, deletedEvery } = one
      const rows = gridRows(count, dimension, seed, false)
      const vector = Float32Array.from(gridRows(1, dimension, seed + 1, false)[0]!.vector)
      const answers = []
      for (const layout of [cuts, otherCuts]) {
        const collection = sourceOf(rows, dimension, metric, layout, deletedEvery).collection(`run ${run++}`)
        answers.push(idsAndDistances(await ask(cache, collection, vector, fresh, k)))
        await cache.invalidate(collection.ref)
      }
      expect(answers[0]).toEqual(answers[1])
    }),
    { numRuns: 40 },
  )
})

test('filters: the k nearest of the rows that pass; cells come back as they were', async () => {
  const { cache } = await openCache()
  const rows = gridRows(2500, 6, 5, false)
  const source = sourceOf(rows, 6, 'l2', [700, 1900], 9)
  const vector = Float32Array.from(gridRows(1, 6, 6, false)[0]!.vector)
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  for (let group = -1; group < 10; group++) {
    const filter: Predicate = {
      op: 'and',
      terms: [
        { op: 'eq', column: 'group', value: group },
        { op: 'eq', column: 'label', value: 'left' },
      ],
    }
    const query = { vector, k: 15, contract: { kind: 'exact' }, filter, distanceMax: Number.POSITIVE_INFINITY } as const
    // Many at once: more filters than a segment has bitmaps, each twice.
    const answers = await Promise.all([
      pinned.search(query, { signal: never }),
      pinned.search(query, { signal: never }),
    ])
    const passing = sourceOf(
      rows.filter((row, i) => i % 9 !== 0 && row.cells[0] === BigInt(group) && row.cells[1] === 'left'),
      6,
      'l2',
      [],
      1_000_000,
    )
    passing.files.forEach((file, name) => {
      const { deleted: _, ...live } = file
      passing.files.set(name, live)
    })
    for (const answer of answers) {
      expect(idsAndDistances(answer)).toEqual(bruteForce(passing, vector, 15))
      for (const { location } of answer.hits)
        expect([pinned.cell(location, 0), pinned.cell(location, 1)]).toEqual([BigInt(group), 'left'])
    }
  }
  pinned.release()
})

test('a search that cannot begin keeps no bitmap from others', async () => {
  const beginScan = (): never => {
    throw new Error('no scan begins')
  }
  const { cache } = await openCache({ executor: Object.assign(openPool({ workers: 0 }), { beginScan }) })
  const source = sourceOf(gridRows(500, 4, 3, false), 4, 'l2', [], 1000)
  const pinned = await cache.pin(source.collection('c'), fresh, { signal: never })
  for (let i = 0; i <= allowSlotCount; i++) {
    const filter: Predicate = { op: 'le', column: 'group', value: i }
    const query = { ...whole, filter }
    await pinned.search(query, { signal: never })
    expect(() => pinned.beginSearch(query, true)).toThrow('no scan begins')
  }
  pinned.release()
}, 5000)

test('more filters at a time than a segment has bitmaps wait for each other', async () => {
  const { cache } = await openCache()
  const rows = gridRows(1500, 4, 8, false)
  const source = sourceOf(rows, 4, 'l2', [500], 1_000_000)
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  const counts = await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      const filter: Predicate = { op: 'le', column: 'group', value: i - 5 }
      const query = {
        vector: new Float32Array(4),
        k: 1500,
        contract: { kind: 'exact' },
        filter,
        distanceMax: Number.POSITIVE_INFINITY,
      } as const
      return (await pinned.search(query, { signal: never })).hits.length
    }),
  )
  const deleted = 2 // row 0 of each file
  expect(
    counts.map(
      (count, i) =>
        count >= rows.filter(({ cells }) => cells[0] !== null && Number(cells[0]) <= i - 5).length - deleted,
    ),
  ).not.toContain(false)
  pinned.release()
})

test('distance_max is inclusive', async () => {
  const { cache } = await openCache()
  const source = new ScriptedSource(1)
  source.files.set('a', { key: '1', ids: [1n, 2n, 3n], vectors: Float32Array.of(1, 2, 3) })
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  const query = { vector: Float32Array.of(0), k: 3, contract: { kind: 'exact' }, filter: null, distanceMax: 4 } as const
  expect((await pinned.search(query, { signal: never })).hits.map(({ id }) => id)).toEqual([1n, 2n])
  pinned.release()
})
