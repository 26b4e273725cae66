import type { Stats } from 'node:fs'
import * as nodeFileSystem from 'node:fs/promises'
import { dirname } from 'node:path'
import type { FilePiece } from './segment-file.js'

/** What the cache needs of a file system: the seam where tests inject a full disk. */
export type FileSystem = Pick<
  typeof nodeFileSystem,
  'mkdir' | 'open' | 'readdir' | 'readFile' | 'rename' | 'rm' | 'rmdir' | 'stat'
>

export { nodeFileSystem }

const temporary = '.tmp-'

export const isTemporary = (name: string): boolean => name.includes(temporary)

/** Where to write what is to become `path`. */
export const temporaryName = (path: string): string =>
  `${path}${temporary}${process.pid}-${Math.trunc(performance.now() * 1000)}`

/**
 * Writes a file whole or not at all: temporary name, fsync, rename, fsync of the directory.
 * `pieces`, in any order, are borrowed until the next is asked for; they may lie in shared memory.
 */
export async function writeDurably(
  fileSystem: FileSystem,
  path: string,
  pieces: Iterable<FilePiece>,
  signal: AbortSignal,
): Promise<void> {
  const draft = temporaryName(path)
  try {
    const file = await fileSystem.open(draft, 'wx')
    try {
      for (const { bytes, position } of pieces) {
        for (let done = 0; done < bytes.byteLength; ) {
          signal.throwIfAborted()
          const length = Math.min(writeBytesMax, bytes.byteLength - done)
          done += (await file.write(bytes, done, length, position + done)).bytesWritten
        }
      }
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    await fileSystem.rm(draft, { force: true })
    throw error
  }
  await renameDurably(fileSystem, draft, path)
}

/** Puts a whole, flushed draft in place. A draft that cannot be moved is removed. */
export async function renameDurably(fileSystem: FileSystem, draft: string, path: string): Promise<void> {
  try {
    await fileSystem.rename(draft, path)
  } catch (error) {
    await fileSystem.rm(draft, { force: true })
    throw error
  }
  await syncDirectory(fileSystem, dirname(path))
}

/** A file that is one piece. */
export const wholeFile = (bytes: Uint8Array): FilePiece[] => [{ position: 0, bytes }]

/** Bounds how long an abort waits for the write under way. */
const writeBytesMax = 16 * 1024 * 1024

async function syncDirectory(fileSystem: FileSystem, path: string): Promise<void> {
  if (process.platform === 'win32') return // directories cannot be opened there; the rename itself is journalled
  const directory = await fileSystem.open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Null when there is no such file. */
export const readIfPresent = (fileSystem: FileSystem, path: string): Promise<Buffer | null> =>
  unlessMissing(fileSystem.readFile(path))

/** Null for a link to nothing, too. */
export const statIfPresent = (fileSystem: FileSystem, path: string): Promise<Stats | null> =>
  unlessMissing(fileSystem.stat(path))

async function unlessMissing<T>(found: Promise<T>): Promise<T | null> {
  try {
    return await found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** The names in a directory; none when it is missing, or no directory. */
export async function listIfPresent(fileSystem: FileSystem, path: string): Promise<readonly string[]> {
  try {
    return await fileSystem.readdir(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}
