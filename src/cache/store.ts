import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import type { CacheLog } from './cache-log.js'
import { type CollectionFiles, noFiles, openCollectionFiles, scanCollectionFiles } from './collection-files.js'
import { lockDirectory } from './directory-lock.js'
import { DiskBudget } from './disk-budget.js'
import type { FileSystem } from './file-system.js'

/** The cache directory: everything in it can be had again from the sources (law 10). */
export interface Store {
  /** Bytes of all segment and graph files. */
  readonly bytes: number
  collection(ref: CollectionRef): CollectionFiles
  close(): Promise<void>
}

interface StoreOptions {
  readonly directory: string
  readonly bytesMax: number
  readonly fileSystem: FileSystem
  readonly log: CacheLog
}

/**
 * Locks the directory, removes what an interrupted write left, and lists the segment files. Throws LG_LOCK_HELD, and
 * LG_INVALID_REQUEST for what cannot be made, or written to, as a directory.
 */
export async function openStore({ directory, bytesMax, fileSystem, log }: StoreOptions): Promise<Store> {
  const lock = await fileSystem
    .mkdir(directory, { recursive: true })
    .then(() => lockDirectory(directory))
    .catch((error: unknown) => Promise.reject(unusableDirectory(error, directory)))
  const root = join(directory, 'collections')
  const disk = new DiskBudget(fileSystem, bytesMax)
  try {
    await fileSystem.mkdir(root, { recursive: true })
    for (const file of await scanCollectionFiles(fileSystem, root)) disk.enter(file)
  } catch (error) {
    await lock.release()
    throw error
  }
  return {
    get bytes() {
      return disk.bytes
    },
    collection(ref) {
      const collection = formatCollection(ref)
      const folder = createHash('sha256').update(collection).digest('hex').slice(0, 32)
      return openCollectionFiles(root, folder, { fileSystem, disk, log, collection })
    },
    close: () => lock.release(),
  }
}

function unusableDirectory(error: unknown, directory: string): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (error instanceof GatewayError || code === undefined) return error
  return new GatewayError(
    'LG_INVALID_REQUEST',
    `cache.dir: expected a directory that can be written to, found ${directory} (${code}); name another`,
    { field: 'cache.dir', cause: error },
  )
}

/** The store of a cache without a directory. */
export const noStore: Store = { bytes: 0, collection: () => noFiles, close: async () => {} }
