import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { VectorCacheHandle } from '../../src/cache/create-vector-cache.js'
import type { RowLocation } from '../../src/cache/vector-cache.js'
import { seededRandom } from '../../src/core/clock.js'
import type { Predicate } from '../../src/core/predicate.js'
import { ask, bruteForce, fresh, idsAndDistances, never, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, type ScriptedFile, ScriptedSource } from './scripted-source.js'

const dimension = 8
const random = seededRandom(29)
const queries = Array.from({ length: 6 }, () => Float32Array.from({ length: dimension }, () => random() * 2 - 1))

/** Files of a few rows with text and numbers; ids repeat between files, and so do vectors. */
function addSmallFile(source: ScriptedSource, name: string, rows: number): void {
  const ids = Array.from({ length: rows }, () => {
    const id = Math.floor(random() * 200)
    return id % 3 === 0 ? BigInt(id) : `id ${id}`
  })
  const vectors = Float32Array.from({ length: rows * dimension }, () => Math.round(random() * 2 - 1))
  const cells = [ids.map((_, row) => `${name} row ${row}`), ids.map(() => BigInt(Math.floor(random() * 10)))]
  source.files.set(name, { key: '1', ids, vectors, cells })
}

function sourceOfSmallFiles(count: number): ScriptedSource {
  const source = new ScriptedSource(dimension)
  source.columns = [
    { name: 'text', type: { kind: 'string' } },
    { name: 'number', type: { kind: 'int' } },
  ]
  for (let i = 0; i < count; i++) addSmallFile(source, `small ${i}`, 1 + Math.floor(random() * 9))
  return source
}

async function expectExact(cache: VectorCacheHandle, source: ScriptedSource, wanted = fresh): Promise<void> {
  for (const query of queries) {
    const answer = await ask(cache, source.collection(), query, wanted, 20)
    expect(idsAndDistances(answer)).toEqual(bruteForce(source, query, 20))
  }
}

/** Everything a caller can read of the answers: values, filters, look-ups by id, parts and rows. */
async function read(cache: VectorCacheHandle, source: ScriptedSource) {
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  const cellsAt = (location: RowLocation) => [pinned.cell(location, 0), pinned.cell(location, 1)]
  try {
    const filter: Predicate = { op: 'lt', column: 'number', value: 3 }
    const answers = []
    for (const vector of queries)
      for (const only of [null, filter]) {
        const options = { vector, k: 15, contract: { kind: 'exact' }, distanceMax: Number.POSITIVE_INFINITY } as const
        const { hits } = await pinned.search({ ...options, filter: only }, { signal: never })
        for (const { id, distance, part, row, location } of hits)
          answers.push([
            id,
            distance,
            part,
            row,
            ...cellsAt(location),
            pinned.id(location),
            (await pinned.vectors([location], { signal: never }))[0],
          ])
      }
    const found = await pinned.find(33n, { signal: never })
    return { rows: pinned.rows, answers, found: found.map(cellsAt) }
  } finally {
    pinned.release()
  }
}

const residents = (cache: VectorCacheHandle, source: ScriptedSource): number =>
  cache.collectionStatistics(source.collection().ref).segmentsResident

test('law 3: many small parts become one segment, and nothing that can be read of them changes', async () => {
  const source = sourceOfSmallFiles(300)
  const deleted = { identity: 'm', ordinals: Uint32Array.of(0, 2) }
  for (const name of ['small 7', 'small 8']) source.files.set(name, { ...source.files.get(name)!, deleted })
  const { cache } = await openCache()
  const pinned = await cache.pin(source.collection(), fresh, { signal: never })
  expect(residents(cache, source)).toBe(300)
  const before = await read(cache, source)
  await cache.settled()
  pinned.release()
  expect(residents(cache, source)).toBe(1)
  expect(await read(cache, source)).toEqual(before)
  await expectExact(cache, source)
  expect(cache.collectionStatistics(source.collection().ref)).toMatchObject({ parts: 300, partsPulled: 300 })
})

test('law 7: parts leave a joined segment, lose rows, come back, and older generations still have them', async () => {
  const source = sourceOfSmallFiles(40)
  const { cache } = await openCache()
  await expectExact(cache, source)
  await cache.settled()
  expect(residents(cache, source)).toBe(1)
  const first = { generation: source.generation, expected: queries.map((query) => bruteForce(source, query, 20)) }
  const gone: [string, ScriptedFile][] = []
  for (const name of ['small 3', 'small 30', 'small 17']) {
    gone.push([name, source.files.get(name)!])
    source.files.delete(name)
  }
  const kept = source.files.get('small 9')!
  source.files.set('small 9', { ...kept, deleted: { identity: 'one', ordinals: Uint32Array.of(0) } })
  await expectExact(cache, source)
  for (let i = 0; i < 12; i++) addSmallFile(source, `later ${i}`, 5)
  await expectExact(cache, source)
  await cache.settled()
  await expectExact(cache, source)
  for (const [name, file] of gone) source.files.set(name, file)
  await expectExact(cache, source)
  await cache.settled()
  await expectExact(cache, source)
  for (const [i, query] of queries.entries()) {
    const wanted = { kind: 'generation', generation: first.generation } as const
    const answer = await ask(cache, source.collection(), query, wanted, 20)
    expect(idsAndDistances(answer)).toEqual(first.expected[i])
  }
})

test('a part that was forgotten and pulled again is not returned twice', async () => {
  const source = sourceOfSmallFiles(20)
  const { cache } = await openCache()
  await expectExact(cache, source)
  await cache.settled()
  const gone = source.files.get('small 4')!
  source.files.delete('small 4')
  // So many generations later none that is held has the part.
  for (let i = 0; i < 10; i++) {
    source.files.set('changing', randomChanging(i))
    await ask(cache, source.collection(), queries[0]!)
  }
  source.pulled.length = 0
  source.files.set('small 4', gone)
  await expectExact(cache, source)
  expect(source.pulled).toEqual(['small 4'])
  await cache.settled()
  await expectExact(cache, source)

  function randomChanging(i: number): ScriptedFile {
    const file = randomFile(`${i}`, 2, dimension, random, 1000n)
    return {
      ...file,
      cells: [
        ['a', 'b'],
        [1n, 2n],
      ],
    }
  }
})

test('law 10: joined segments survive a restart, and a broken one is pulled again part by part', async () => {
  const directory = await scratchDirectory()
  const source = sourceOfSmallFiles(50)
  const first = await openCache({ directory })
  await expectExact(first.cache, source)
  await first.cache.settled()
  await first.cache.close()
  const [collection] = await readdir(join(directory, 'collections'))
  const folder = join(directory, 'collections', collection!)
  const files = (await readdir(folder)).filter((name) => name.endsWith('.segment'))
  expect(files).toHaveLength(1)
  source.counts.pull = 0
  const second = await openCache({ directory })
  await expectExact(second.cache, source)
  expect(source.counts.pull).toBe(0)
  expect(residents(second.cache, source)).toBe(1)
  await second.cache.close()
  const path = join(folder, files[0]!)
  const bytes = await readFile(path)
  bytes[bytes.length >> 3]! ^= 1
  await writeFile(path, bytes)
  const third = await openCache({ directory })
  await expectExact(third.cache, source)
  expect(source.counts.pull).toBe(50)
  await third.cache.settled()
  await expectExact(third.cache, source)
  expect(residents(third.cache, source)).toBe(1)
})

test('a stream of small parts is joined again and again', async () => {
  const source = sourceOfSmallFiles(0)
  const { cache } = await openCache()
  let most = 0
  for (let i = 0; i < 120; i++) {
    addSmallFile(source, `part ${i}`, 4)
    await ask(cache, source.collection(), queries[0]!)
    await cache.settled()
    most = Math.max(most, residents(cache, source))
  }
  await expectExact(cache, source)
  expect(most).toBeLessThan(40)
})
