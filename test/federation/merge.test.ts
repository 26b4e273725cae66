import fc from 'fast-check'
import { expect, test } from 'vitest'
import { backendId } from '../../src/core/generation.js'
import { compareHits, type Hit } from '../../src/core/hit.js'
import { certificateOf, weakest } from '../../src/federation/certificate.js'
import { fuseRanks, mergeTopK } from '../../src/federation/merge.js'

/** Few values each, so that ties reach to the end of the order. */
const hit: fc.Arbitrary<Hit> = fc.record({
  distance: fc.constantFrom(0, 0.5, 1),
  backend: fc.constantFrom('a', 'b').map(backendId),
  collection: fc.constantFrom('x', 'y'),
  id: fc.constantFrom(1n, 2n, '1', 'z'),
  part: fc.constantFrom('p', 'q'),
  row: fc.nat(3),
})
/** Not compareHits, so that this finds a comparator that calls different rows equal. */
const nameOf = ({ backend, collection, id, part, row }: Hit): string =>
  [backend, collection, typeof id, id, part, row].join(' ')
/** Shards as they come: each in total order, no row in two of them. */
const shards = fc
  .uniqueArray(hit, { maxLength: 40, selector: nameOf })
  .chain((hits) => fc.array(fc.nat(4), { minLength: hits.length, maxLength: hits.length }).map((to) => split(hits, to)))

const split = (hits: readonly Hit[], to: readonly number[]): Hit[][] =>
  [0, 1, 2, 3, 4].map((shard) => hits.filter((_, i) => to[i] === shard).sort(compareHits))

test('law 3: merged equals sorted and sliced', () => {
  fc.assert(
    fc.property(shards, fc.nat(25), (lists, k) => {
      expect(mergeTopK(lists, k)).toEqual(lists.flat().sort(compareHits).slice(0, k))
    }),
  )
})

test('law 3: the order of the shards does not matter, ties included', () => {
  fc.assert(
    fc.property(shards, fc.nat(25), (lists, k) => {
      expect(mergeTopK(lists.toReversed(), k)).toEqual(mergeTopK(lists, k))
    }),
  )
})

test('law 3: merging merged shards is merging them all', () => {
  fc.assert(
    fc.property(shards, fc.nat(25), (lists, k) => {
      const [first = [], ...rest] = lists
      expect(mergeTopK([first, mergeTopK(rest, k)], k)).toEqual(mergeTopK(lists, k))
    }),
  )
})

test('law 3: fused ranks do not depend on the order of the rankings', () => {
  fc.assert(
    fc.property(shards, fc.nat(25), (lists, k) => {
      expect(fuseRanks(lists.toReversed(), k)).toEqual(fuseRanks(lists, k))
    }),
  )
})

test('law 9: fusion goes by rank, whatever the distances', () => {
  const near = (id: bigint, distance: number, backend: string): Hit => ({
    distance,
    backend: backendId(backend),
    collection: 'c',
    id,
    part: 'p',
    row: 0,
  })
  const fused = fuseRanks(
    [
      [near(1n, 500, 'b'), near(2n, 501, 'b')],
      [near(3n, 0.1, 'a'), near(4n, 0.2, 'a')],
    ],
    3,
  )
  expect(fused.map((hit) => hit.id)).toEqual([3n, 1n, 4n])
})

test('law 6: a merge claims no more than its weakest shard', () => {
  const proven = certificateOf({ contract: { kind: 'exact' }, recallExpected: null })
  const certified = (missProbability: number) =>
    certificateOf({ contract: { kind: 'certified', missProbability }, recallExpected: null })
  const target = (recall: number, recallExpected: number | null) =>
    certificateOf({ contract: { kind: 'target', recall }, recallExpected })
  expect(weakest([])).toEqual({ kind: 'proven' })
  expect(weakest([proven, proven])).toEqual({ kind: 'proven' })
  expect(weakest([proven, certified(1e-6), certified(1e-3)])).toEqual({ kind: 'certified', missProbability: 1e-3 })
  expect(weakest([target(0.9, null), certified(0.5), proven])).toEqual({
    kind: 'target',
    recallTarget: 0.9,
    recallExpected: 0.9,
  })
  expect(weakest([target(0.99, null), target(0.9, null)])).toEqual(target(0.9, null))
  expect(weakest([target(0.9, 0.92), target(0.9, 0.94)])).toEqual(target(0.9, 0.92))
})
