/** Collections that clusters are tried on, and left where they rule out too little. */
import { expect, test } from 'vitest'
import type { IndexKind } from '../../src/cache/vector-cache.js'
import { type Random, seededRandom } from '../../src/core/clock.js'
import { ask, bruteForce, fresh, idsAndDistances, never, openCache, searchExactly } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { ScriptedSource } from './scripted-source.js'
import { gaussian } from './training-fixture.js'

const dimension = 48
const rows = 6000

/** Every coordinate as likely as the others, around nothing. */
const shapeless = (count: number, random: Random): Float32Array =>
  Float32Array.from({ length: count * dimension }, () => gaussian(random))

/** Around 20 points. */
function islands(count: number, random: Random): Float32Array {
  const points = Array.from({ length: 20 }, () => shapeless(1, random))
  return shapeless(count, random).map(
    (value, i) => 0.3 * value + points[Math.floor(i / dimension) % points.length]![i % dimension]!,
  )
}

function sourceOf(vectors: Float32Array): ScriptedSource {
  const source = new ScriptedSource(dimension, 'l2')
  source.columns = [{ name: 'zero', type: { kind: 'int' } }]
  const ids = Array.from({ length: vectors.length / dimension }, (_, i) => BigInt(i))
  source.files.set('all', { key: '1', vectors, ids, cells: [ids.map(() => 0n)] })
  return source
}

/** What a settled collection reads for its queries, and how it is indexed. */
async function read(vectors: Float32Array, kind: IndexKind) {
  const { cache } = await openCache({ clusteredRowsMin: 2000 })
  const source = sourceOf(vectors)
  const collection = { ...source.collection(), index: kind }
  const query = vectors.subarray(0, dimension).map((value) => value + 0.1)
  expect(idsAndDistances(await ask(cache, collection, query))).toEqual(bruteForce(source, query))
  await cache.settled()
  const pinned = await cache.pin(collection, fresh, { signal: never })
  let bytes = 0
  for (let row = 0; row < 50; row++) {
    const vector = vectors.subarray(row * dimension, (row + 1) * dimension).map((value) => value + 0.1)
    const answer = await searchExactly(pinned, vector)
    expect(idsAndDistances(answer)).toEqual(bruteForce(source, vector))
    bytes += answer.bytesScanned
  }
  pinned.release()
  return { bytes, index: cache.collectionStatistics(collection.ref).index }
}

test('rows without structure are scanned as if no clusters had been asked for', async () => {
  const vectors = shapeless(rows, seededRandom(4))
  const auto = await read(vectors, 'auto')
  const flat = await read(vectors, 'flat')
  expect(auto.index).toMatchObject({ kind: 'flat', tried: { rows }, segments: { clustered: 0, flat: 1 } })
  expect(flat.index).toMatchObject({ kind: 'flat', tried: null })
  expect(auto.bytes).toBeLessThanOrEqual(1.05 * flat.bytes)
})

test('rows around points keep their clusters, and most rows are left out', async () => {
  const vectors = islands(rows, seededRandom(4))
  const auto = await read(vectors, 'auto')
  const flat = await read(vectors, 'flat')
  expect(auto.index).toMatchObject({ kind: 'clustered', segments: { clustered: 1, flat: 0 } })
  expect(auto.bytes).toBeLessThan(0.5 * flat.bytes)
})

test('clusters that were left are not tried again before there are four times the rows, also after a restart', async () => {
  const directory = await scratchDirectory()
  const random = seededRandom(4)
  const source = sourceOf(shapeless(rows, random))
  const collection = source.collection()
  const settle = async () => {
    const { cache, clock } = await openCache({ clusteredRowsMin: 2000, directory })
    clock.ms += 1000
    await ask(cache, collection, new Float32Array(dimension))
    await cache.settled()
    return { cache, index: () => cache.collectionStatistics(collection.ref).index }
  }
  const before = await settle()
  const { index } = before
  const tried = index()
  expect(tried).toMatchObject({ kind: 'flat', tried: { rows } })
  await before.cache.close()
  const after = await settle()
  expect(after.index()).toMatchObject({ kind: 'flat', tried: (tried as { tried: unknown }).tried })
  const grow = async (name: string, count: number) => {
    const ids = Array.from({ length: count }, (_, i) => `${name} ${i}`)
    source.files.set(name, { key: '1', vectors: shapeless(count, random), ids, cells: [ids.map(() => 0n)] })
    await after.cache.refresh(collection, { signal: never })
    await after.cache.settled()
  }
  await grow('twice as many', rows)
  expect(after.index()).toMatchObject({ kind: 'flat', tried: { rows } })
  await grow('four times as many', 2 * rows)
  expect(after.index()).toMatchObject({ kind: 'flat', tried: { rows: 4 * rows } })
})
