import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { DuckDBInstance } from '@duckdb/node-api'
import { expect, test } from 'vitest'
import { openParquet } from '../../src/adapters/parquet.js'
import type { FileSystem } from '../../src/cache/file-system.js'
import { nodeFileSystem } from '../../src/cache/file-system.js'
import type { CachedCollection } from '../../src/cache/vector-cache.js'
import { seededRandom } from '../../src/core/clock.js'
import { backendId } from '../../src/core/generation.js'
import { ask, bruteForce, frozen, idsAndDistances, never, openCache } from '../cache/open-cache.js'
import { scratchDirectory } from '../cache/scratch-directory.js'
import { randomFile, ScriptedSource } from '../cache/scripted-source.js'

const random = seededRandom(19)
const dimension = 16
const vector = Float32Array.from({ length: dimension }, () => random())

function twoFiles(): ScriptedSource {
  const source = new ScriptedSource(dimension)
  source.files.set('a', randomFile('1', 1500, dimension, random))
  source.files.set('b', randomFile('1', 400, dimension, random, 10_000n))
  return source
}

/** A cache directory with `source` in it, and the paths of its files. */
async function primedDirectory(source: ScriptedSource) {
  const directory = await scratchDirectory()
  const { cache } = await openCache({ directory })
  await ask(cache, source.collection(), vector)
  await cache.settled()
  await cache.close()
  const [collection] = await readdir(join(directory, 'collections'))
  const folder = join(directory, 'collections', collection!)
  const files = (await readdir(folder)).sort()
  const segments = files.filter((name) => name.endsWith('.segment')).map((name) => join(folder, name))
  const codebook = join(folder, files.find((name) => name.endsWith('.codebook'))!)
  return { directory, segments, codebook, record: join(folder, 'record') }
}

async function flipBit(path: string, at: (size: number) => number): Promise<void> {
  const bytes = await readFile(path)
  bytes[at(bytes.length)]! ^= 0x10
  await writeFile(path, bytes)
}

const damages: Readonly<Record<string, (path: string, other: string) => Promise<void>>> = {
  'is empty': (path) => truncate(path, 0),
  'lost its second half': async (path) => truncate(path, (await readFile(path)).length >> 1),
  'lost its last byte': async (path) => truncate(path, (await readFile(path)).length - 1),
  'has more bytes at its end': async (path) => writeFile(path, Buffer.concat([await readFile(path), Buffer.alloc(64)])),
  'has a flipped bit in its magic': (path) => flipBit(path, () => 0),
  'has a flipped bit in its header': (path) => flipBit(path, () => 60),
  'has a flipped bit in its vectors': (path) => flipBit(path, (size) => size >> 2),
  'has a flipped bit in its codes': (path) => flipBit(path, (size) => size >> 1),
  'is of another format version': async (path) => {
    const bytes = await readFile(path)
    bytes.writeUInt32LE(bytes.readUInt32LE(8) + 1, 8)
    await writeFile(path, bytes)
  },
  'claims a section of terabytes, with a right checksum': async (path) => {
    const bytes = await readFile(path)
    const header = bytes.toString('utf8', 24, 24 + bytes.readUInt32LE(12))
    const claiming = header.replace(/("name":"ids","offset":\d+,"bytes":)\d+/, '$19000000000000')
    expect(claiming).not.toBe(header)
    const grown = Buffer.from(claiming, 'utf8')
    const start = Math.ceil((24 + Buffer.byteLength(header)) / 64) * 64
    const head = Buffer.alloc(Math.ceil((24 + grown.length) / 64) * 64)
    bytes.copy(head, 0, 0, 24)
    head.writeUInt32LE(grown.length, 12)
    head.writeUInt32LE(crc32(grown), 16)
    grown.copy(head, 24)
    await writeFile(path, Buffer.concat([head, bytes.subarray(start)]))
  },
  'is another segment’s': (path, other) => copyFile(other, path),
}

for (const [damage, inflict] of Object.entries(damages)) {
  test(`law 10: a segment file that ${damage} is discarded and rebuilt from the source`, async () => {
    const source = twoFiles()
    const { directory, segments } = await primedDirectory(source)
    await inflict(segments[0]!, segments[1]!)
    source.counts.pull = 0
    const { cache, warnings } = await openCache({ directory })
    const collection = source.collection()
    expect(idsAndDistances(await ask(cache, collection, vector))).toEqual(bruteForce(source, vector))
    expect(cache.collectionStatistics(collection.ref)).toMatchObject({ segmentsDiscarded: 1, segmentsRestored: 1 })
    expect(source.counts.pull).toBe(1)
    expect(warnings).toEqual(['segment file is not usable; it is rebuilt from the source'])
    await cache.settled()
    await cache.close()
    const again = await openCache({ directory })
    await ask(again.cache, collection, vector)
    expect(source.counts.pull, 'the rebuilt file is good').toBe(1)
  })
}

for (const file of ['record', 'codebook'] as const) {
  test(`law 10: a damaged ${file} is discarded and everything rebuilt`, async () => {
    const source = twoFiles()
    const primed = await primedDirectory(source)
    await flipBit(primed[file], (size) => size - 10)
    source.counts.pull = 0
    const { cache, warnings } = await openCache({ directory: primed.directory })
    expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
    expect(source.counts.pull).toBe(2)
    expect(warnings).toHaveLength(1)
  })
}

test('a segment file lost while the source is away: frozen says so instead of answering short', async () => {
  const source = twoFiles()
  const { directory, segments } = await primedDirectory(source)
  await rename(segments[0]!, `${segments[0]!}-away`)
  source.files.clear()
  const { cache } = await openCache({ directory })
  await expect(ask(cache, source.collection(), vector, frozen)).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
})

test('law 10: what is no file where files are expected is passed over, and the source is read again', async () => {
  const source = twoFiles()
  const { directory, segments, codebook, record } = await primedDirectory(source)
  for (const path of [codebook, record]) {
    await rm(path)
    await mkdir(join(path, 'inside'), { recursive: true })
  }
  await symlink('nowhere', `${segments[0]!}.segment`)
  await mkdir(`${segments[1]!}.segment`)
  source.counts.pull = 0
  const { cache } = await openCache({ directory })
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  expect(source.counts.pull).toBe(2)
})

test('law 10: a damaged file on a disk that cannot be written is no obstacle', async () => {
  const source = twoFiles()
  const { directory, segments, record } = await primedDirectory(source)
  await flipBit(segments[0]!, (size) => size >> 1)
  await flipBit(record, (size) => size >> 1)
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    rm: async () => {
      throw Object.assign(new Error('read-only file system'), { code: 'EROFS', syscall: 'rm' })
    },
  }
  const { cache, warnings } = await openCache({ directory, fileSystem })
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  expect(warnings).toContain('an unusable cache file could not be removed')
})

test('what an interrupted write left is removed at the next start', async () => {
  const source = twoFiles()
  const { directory, record } = await primedDirectory(source)
  await writeFile(`${record}.tmp-1-1`, 'half')
  await openCache({ directory })
  const [collection] = await readdir(join(directory, 'collections'))
  expect((await readdir(join(directory, 'collections', collection!))).filter((name) => name.includes('.tmp-'))).toEqual(
    [],
  )
})

/** A file system whose disk has room for `bytes` more. */
function fillingUp(bytes: number): FileSystem {
  let room = bytes
  return {
    ...nodeFileSystem,
    async open(...args) {
      const file = await nodeFileSystem.open(...args)
      const write = file.write.bind(file) as (
        ...all: unknown[]
      ) => Promise<{ bytesWritten: number; buffer: Uint8Array }>
      const limited = async (buffer: Uint8Array, offset: number, length: number) => {
        room -= length
        if (room < 0)
          throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' })
        return write(buffer, offset, length)
      }
      return Object.assign(file, { write: limited as typeof file.write })
    },
  }
}

test('a full disk: answers come from memory, nothing half-written stays, a restart pulls again', async () => {
  const directory = await scratchDirectory()
  const source = twoFiles()
  const { cache, warnings } = await openCache({ directory, fileSystem: fillingUp(100_000) })
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  await cache.settled()
  expect(warnings).toContain('segment file could not be written; it stays in memory only')
  expect(idsAndDistances(await ask(cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  await cache.close()
  const again = await openCache({ directory })
  expect(idsAndDistances(await ask(again.cache, source.collection(), vector))).toEqual(bruteForce(source, vector))
  expect(again.cache.collectionStatistics(source.collection().ref).segmentsDiscarded).toBe(0)
})

/** Primes a Parquet file and dies without warning in the middle of the second write to a segment file. */
const dyingChild = `
const [dist, directory, parquet] = process.argv.slice(1)
const load = (path) => import(dist + path)
const { openParquet } = await load('adapters/parquet.js')
const { ArenaPool } = await load('cache/arena.js')
const { createVectorCache } = await load('cache/create-vector-cache.js')
const { nodeFileSystem } = await load('cache/file-system.js')
const { openPool } = await load('federation/pool.js')
const { systemClock } = await load('core/clock.js')
const fileSystem = {
  ...nodeFileSystem,
  async open(path, flags) {
    const file = await nodeFileSystem.open(path, flags)
    if (!String(path).includes('.segment')) return file
    const write = file.write.bind(file)
    let writes = 0
    file.write = async (buffer, offset, length) => {
      if (++writes === 2) {
        await write(buffer, offset, length >> 1)
        process.kill(process.pid, 'SIGKILL')
      }
      return write(buffer, offset, length)
    }
    return file
  },
}
const cache = await createVectorCache({
  directory, pool: new ArenaPool({ bytesMax: 2 ** 28, scratchSlots: 1 }), diskBytesMax: 2 ** 28,
  executor: openPool({ workers: 0 }), clock: systemClock, random: () => 0.5, fileSystem,
  log: { info() {}, warn() {} },
})
const { signal } = new AbortController()
const adapter = openParquet({ name: 's', uri: parquet, options: {} })
const [info] = await adapter.listCollections({ signal })
const source = { ref: { backend: 's', collection: info.name }, adapter, info }
await cache.pin(source, { kind: 'current', consistency: { kind: 'fresh' } }, { signal })
await cache.settled()
`

test('kill -9 during a segment write: the next start takes the lock over and answers right', async () => {
  const directory = await scratchDirectory()
  const parquet = join(await scratchDirectory(), 'rows.parquet')
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(
    `COPY (SELECT i AS id, [i, i % 7, i % 11, 1]::FLOAT[] AS v FROM range(3000) rows(i)) TO '${parquet}' (FORMAT parquet)`,
  )
  connection.closeSync()
  const dist = new URL('../../dist/', import.meta.url).href
  const child = spawn(process.execPath, ['--input-type=module', '-e', dyingChild, dist, directory, parquet], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const [, signal] = await once(child, 'exit')
  expect(signal).toBe('SIGKILL')
  expect((await readdir(directory)).includes('lock.1'), 'the dead process left its lock').toBe(true)

  const adapter = openParquet({ name: 's', uri: parquet, options: {} })
  const [info] = await adapter.listCollections({ signal: never })
  const source: CachedCollection = { ref: { backend: backendId('s'), collection: info!.name }, adapter, info: info! }
  const { cache } = await openCache({ directory })
  const answer = await ask(cache, source, Float32Array.of(1505, 0, 9, 1), undefined, 1)
  expect(answer.hits).toMatchObject([{ id: 1505n }])
  await adapter.close()
})
