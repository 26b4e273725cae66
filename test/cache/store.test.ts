import { setTimeout } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import type { CollectionFiles } from '../../src/cache/collection-files.js'
import { type FileSystem, nodeFileSystem } from '../../src/cache/file-system.js'
import { openStore, type Store } from '../../src/cache/store.js'
import { backendId } from '../../src/core/generation.js'
import { never } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'

interface Opened {
  readonly store: Store
  readonly files: CollectionFiles
}

async function open(directory: string, options: Partial<{ fileSystem: FileSystem; bytesMax: number }> = {}) {
  const log = { info: () => {}, warn: () => {} }
  const store = await openStore({ directory, bytesMax: 2 ** 20, fileSystem: nodeFileSystem, log, ...options })
  onTestFinished(() => store.close())
  return { store, files: store.collection({ backend: backendId('b'), collection: 'c' }) } satisfies Opened
}

const write = (files: CollectionFiles, key: string): Promise<boolean> =>
  files.writeSegment(
    { key, rows: 0, idKind: 'int' },
    { sections: new Map([['ids', new Uint8Array(64)]]), originals: { bytes: 64, chunks: () => [new Uint8Array(64)] } },
    never,
  )

const isReadable = async (files: CollectionFiles, key: string): Promise<boolean> =>
  (await files.readSegment(key, async () => 'whole')) === 'whole'

const nothing = { segments: new Set<string>(), codebooks: new Set<string>() }

test('law 10: a file that took the place of an unwanted one is not removed in its stead', async () => {
  let whileRemoving = async (): Promise<void> => {}
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    rm: async (path, options) => {
      const run = whileRemoving
      whileRemoving = async () => {}
      await run()
      return nodeFileSystem.rm(path, options)
    },
  }
  const { files } = await open(await scratchDirectory(), { fileSystem })
  await write(files, 'a')
  await write(files, 'b')
  whileRemoving = async () => {
    await write(files, 'b')
    files.openOriginals('b')!.hold()
  }
  await files.retain(nothing)
  expect(files.hasSegment('a')).toBe(false)
  expect(await isReadable(files, 'b')).toBe(true)
})

test('what is written while a collection is removed stays, and what was there goes', async () => {
  let arrived = (): void => {}
  const isWriting = new Promise<void>((resolve) => {
    arrived = resolve
  })
  let release = (): void => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    async rename(from, to) {
      if (String(to).includes('new')) {
        arrived()
        await released
      }
      return nodeFileSystem.rename(from, to)
    },
  }
  const { store, files } = await open(await scratchDirectory(), { fileSystem })
  await write(files, 'old')
  const written = write(files, 'new')
  await isWriting
  await files.remove()
  release()
  expect(await written).toBe(true)
  expect(await isReadable(files, 'new')).toBe(true)
  expect(files.hasSegment('old')).toBe(false)
  expect(store.bytes).toBe(files.bytes)
})

test('law 10: a file is not put in place while the one before it is being removed', async () => {
  let moved = (): void => {}
  const inPlace = new Promise<void>((resolve) => {
    moved = resolve
  })
  const fileSystem: FileSystem = {
    ...nodeFileSystem,
    rm: async (path, options) => {
      await Promise.race([inPlace, setTimeout(100)]) // a removal that takes its time
      return nodeFileSystem.rm(path, options)
    },
    rename: async (from, to) => {
      await nodeFileSystem.rename(from, to)
      if (removing) moved()
    },
  }
  let removing = false
  const { files } = await open(await scratchDirectory(), { fileSystem })
  await write(files, 'a')
  removing = true
  const [, written] = await Promise.all([files.retain(nothing), write(files, 'a')])
  expect(written).toBe(true)
  expect(await isReadable(files, 'a')).toBe(true)
})

test('law 11: files written at a time stay within the disk budget together', async () => {
  const one = await open(await scratchDirectory())
  await write(one.files, 'a')
  const bytesMax = 1.5 * one.store.bytes
  const { store, files } = await open(await scratchDirectory(), { bytesMax })
  const written = await Promise.all(['a', 'b', 'c'].map((key) => write(files, key)))
  expect(written.filter((is) => is)).toHaveLength(1)
  expect(store.bytes).toBeLessThanOrEqual(bytesMax)
  expect(await write(files, 'd')).toBe(true)
})
