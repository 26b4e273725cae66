import { closeSync, openSync, renameSync, statSync, writeSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Allocation } from '../../src/cache/arena.js'
import { type FileSystem, nodeFileSystem } from '../../src/cache/file-system.js'
import { seededRandom } from '../../src/core/clock.js'
import { deferred } from '../server/deferred.js'
import { ask, bruteForce, idsAndDistances, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(5)
const dimension = 64
const randomQuery = (): Float32Array => Float32Array.from({ length: dimension }, () => random() - 0.5)

function sourceOf(rows: readonly number[]): ScriptedSource {
  const source = new ScriptedSource(dimension)
  for (const [i, count] of rows.entries())
    source.files.set(`f${i}`, randomFile('1', count, dimension, random, BigInt(i * 100_000)))
  return source
}

/** Once armed, writes of segments wait until the gate opens, and are then done before anything else is. */
function gatedFiles(
  gate: { readonly armed: boolean; readonly opened: Promise<void> },
  onWaiting: () => void,
): FileSystem {
  const open = async (path: string, flags: string): Promise<FileHandle> => {
    if (!gate.armed || (flags !== 'wx' && !statSync(path).isDirectory())) return nodeFileSystem.open(path, flags)
    const file = openSync(path, flags)
    let waits = path.includes('.segment')
    const handle: Partial<FileHandle> = {
      write: (async (bytes: Uint8Array, offset: number, length: number, position: number) => {
        if (waits) {
          waits = false
          onWaiting()
          await gate.opened
        }
        return { bytesWritten: writeSync(file, bytes, offset, length, position), buffer: bytes }
      }) as FileHandle['write'],
      sync: async () => undefined,
      close: async () => closeSync(file),
    }
    return handle as FileHandle
  }
  const rename: FileSystem['rename'] = async (from, to) => renameSync(from, to)
  return { ...nodeFileSystem, open: open as FileSystem['open'], rename }
}

test('laws 6 and 10: a segment that moves while it is written can be read from its file afterwards', async () => {
  const opened = deferred()
  const gate = { armed: false, opened: opened.promise }
  const waiting = deferred()
  const { cache, pool, warnings } = await openCache({
    directory: await scratchDirectory(),
    memoryBytesMax: 30 * 2 ** 20,
    fileSystem: gatedFiles(gate, waiting.resolve),
  })
  const big = sourceOf([30_000])
  await ask(cache, big.collection('big'), randomQuery())
  await cache.stored()

  gate.armed = true
  const source = sourceOf([20_000])
  const collection = source.collection('moving')
  await ask(cache, collection, randomQuery())
  await waiting.promise
  // What is beside it goes, so that it moves; its vectors are copied last.
  const invalidated = cache.invalidate(big.collection('big').ref)
  const allocateTogether = pool.allocateTogether.bind(pool)
  const contentOf = pool.contentOf.bind(pool)
  const found = deferred()
  pool.contentOf = (arena) => {
    const content = contentOf(arena)
    if (content.sparse) found.resolve()
    return content
  }
  let moves = 0
  pool.allocateTogether = ((sizes: readonly number[], avoid?: ReadonlySet<number>) => {
    const pieces = allocateTogether(sizes, avoid) as [Allocation, Allocation]
    if (avoid === undefined || avoid.size === 0) return pieces
    const [block, originals] = pieces
    moves++
    const u8 = (): Uint8Array => {
      opened.resolve()
      return originals.u8()
    }
    return [block, { ...originals, u8 }]
  }) as typeof pool.allocateTogether
  source.files.set('f0', { ...source.files.get('f0')!, deleted: { identity: '1', ordinals: Uint32Array.of(7) } })
  await ask(cache, collection, randomQuery())
  await found.promise
  // If it moves at once, that opens the gate in the middle of it.
  for (let turn = 0; turn < 50; turn++) await setImmediate()
  opened.resolve()
  await invalidated
  await cache.stored()
  expect(moves).toBe(1)

  // Its vectors leave memory.
  const other = sourceOf(Array.from({ length: 13 }, () => 5000))
  await ask(cache, other.collection('other'), randomQuery())
  expect(cache.collectionStatistics(collection.ref).memoryBytes).toBeLessThan(20_000 * dimension * 4)
  const query = randomQuery()
  expect(idsAndDistances(await ask(cache, collection, query))).toEqual(bruteForce(source, query))
  expect(warnings.filter((warning) => warning.includes('segment'))).toEqual([])
})
