import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/clock.js'
import { ask, bruteForce, fresh, idsAndDistances, never, openCache, searchExactly } from './open-cache.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(13)
const dimension = 8
const vector = Float32Array.from({ length: dimension }, () => random())

function directory(files: number, rows = 20): ScriptedSource {
  const source = new ScriptedSource(dimension)
  for (let i = 0; i < files; i++)
    source.files.set(
      `${String(i).padStart(3, '0')}.parquet`,
      randomFile('1', rows, dimension, random, BigInt(i * 10_000)),
    )
  return source
}

test('a refresh after one file was added to 100 pulls that file', async () => {
  const { cache } = await openCache()
  const source = directory(100)
  const collection = source.collection()
  await ask(cache, collection, vector)
  source.pulled.length = 0
  source.files.set('new.parquet', randomFile('1', 20, dimension, random, 5_000_000n))
  const refreshed = await cache.refresh(collection, { signal: never })
  expect(refreshed).toEqual({ generation: source.generation, changed: true, partsPulled: 1 })
  expect(source.pulled).toEqual(['new.parquet'])
  expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({ parts: 101, rows: 2020, primes: 1, refreshes: 1 })
})

test('a deleted file is gone from the next fresh answer and nothing is pulled', async () => {
  const { cache } = await openCache()
  const source = directory(5)
  const collection = source.collection()
  const [nearest] = (await ask(cache, collection, vector, fresh, 1)).hits
  source.pulled.length = 0
  source.files.delete(nearest!.part.split(' ')[0]!)
  const answer = await ask(cache, collection, vector, fresh, 100)
  expect(idsAndDistances(answer)).toEqual(bruteForce(source, vector, 100))
  expect(answer.hits.map((hit) => hit.part)).not.toContain(nearest!.part)
  expect(source.pulled).toEqual([])
})

test('law 2: a file replaced under the pull never yields a mixed answer', async () => {
  const { cache } = await openCache()
  const source = directory(3, 2500)
  const collection = source.collection()
  let replacements = 2
  source.onBatch = async (name, batch) => {
    if (name !== '001.parquet' || batch !== 1 || replacements === 0) return
    replacements--
    source.files.set('000.parquet', randomFile(`replaced ${replacements}`, 100, dimension, random, 70_000n))
    source.files.set(name, randomFile(`replaced ${replacements}`, 2200, dimension, random, 80_000n))
  }
  const answer = await ask(cache, collection, vector, fresh, 50)
  expect(answer.generation).toBe(source.generation)
  expect(idsAndDistances(answer)).toEqual(bruteForce(source, vector, 50))
  expect(cache.collectionStatistics(collection.ref).rows).toBe(100 + 2200 + 2500)
})

test('a source that changes under every pull is given up on, and answers once it rests', async () => {
  const { cache, pool } = await openCache()
  const source = directory(1, 2500)
  const collection = source.collection()
  let changes = 0
  source.onBatch = async (name, batch) => {
    if (batch === 1) source.files.set(name, randomFile(`change ${++changes}`, 2500, dimension, random))
  }
  const free = pool.bytesFree
  await expect(ask(cache, collection, vector)).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
  expect(changes).toBe(4)
  expect(pool.bytesFree, 'what was pulled in vain is freed').toBe(free)
  source.onBatch = async () => {}
  expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
})

test('law 7: rows under a delete mask never appear; the segment stays as it is', async () => {
  const { cache } = await openCache()
  const source = directory(2, 1500)
  const collection = source.collection()
  const before = await cache.pin(collection, fresh, { signal: never })
  const expectedBefore = bruteForce(source, vector)
  source.pulled.length = 0
  const [name, file] = [...source.files][0]!
  const gone = (await searchExactly(before, vector, 400)).hits.filter((hit) => hit.part.startsWith(name))
  const ordinals = Uint32Array.from(gone.map((hit) => hit.row)).sort()
  source.files.set(name, { ...file, deleted: { identity: 'mask 1', ordinals } })
  const after = await cache.pin(collection, fresh, { signal: never })
  expect(source.pulled).toEqual([])
  expect(after.rows).toBe(3000 - ordinals.length)
  expect(idsAndDistances(await searchExactly(after, vector))).toEqual(bruteForce(source, vector))
  const id = gone[0]!.id
  expect(await after.find(id, { signal: never })).toEqual([])
  expect(await before.find(id, { signal: never })).toHaveLength(1)
  expect(idsAndDistances(await searchExactly(before, vector)), 'the pinned version keeps its rows').toEqual(
    expectedBefore,
  )
  before.release()
  after.release()
})

test('a pinned version survives refreshes that drop it', async () => {
  const { cache } = await openCache()
  const source = directory(1, 1500)
  const collection = source.collection()
  const pinned = await cache.pin(collection, fresh, { signal: never })
  const expected = bruteForce(source, vector)
  for (let i = 0; i < 12; i++) {
    source.files.set('000.parquet', randomFile(`next ${i}`, 1500, dimension, random))
    await ask(cache, collection, vector)
  }
  expect(cache.history(collection.ref)).toHaveLength(13)
  expect(cache.history(collection.ref).filter(({ held }) => held)).toHaveLength(9)
  expect(cache.collectionStatistics(collection.ref).segmentsResident).toBe(10)
  expect(idsAndDistances(await searchExactly(pinned, vector))).toEqual(expected)
  pinned.release()
  expect(cache.collectionStatistics(collection.ref).segmentsResident).toBe(9)
})

test('an empty collection answers with no rows', async () => {
  const { cache } = await openCache()
  const source = directory(2, 0)
  const answer = await ask(cache, source.collection(), vector)
  expect(answer.hits).toEqual([])
  expect(answer.contract).toEqual({ kind: 'exact' })
})

test('invalidate drops everything; the next query primes again; a pinned version is not disturbed', async () => {
  const { cache, pool } = await openCache()
  const _free = pool.bytesFree
  const source = directory(2, 1500)
  const collection = source.collection()
  const pinned = await cache.pin(collection, fresh, { signal: never })
  await cache.invalidate(collection.ref)
  expect(cache.collectionStatistics(collection.ref)).toMatchObject({
    state: 'cold',
    generation: null,
    invalidations: 1,
  })
  expect(idsAndDistances(await searchExactly(pinned, vector))).toEqual(bruteForce(source, vector))
  pinned.release()
  await ask(cache, collection, vector)
  expect(source.counts.pull).toBe(4)
})

test('a source configured anew under the same name is read anew', async () => {
  const { cache } = await openCache()
  const source = directory(2, 1500)
  await ask(cache, source.collection(), vector)
  const cosine = new ScriptedSource(dimension, 'cosine')
  for (const [name, file] of source.files) cosine.files.set(name, file)
  expect(idsAndDistances(await ask(cache, cosine.collection(), vector))).toEqual(bruteForce(cosine, vector))
  cosine.configuration = 'other columns'
  await ask(cache, cosine.collection(), vector)
  expect(cosine.counts.pull).toBe(4)
})
