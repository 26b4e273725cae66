import { dirname } from 'node:path'
import { GatewayError } from '../core/errors.js'
import type { DiskBudget } from './disk-budget.js'
import { type FileSystem, renameDurably, temporaryName } from './file-system.js'

/** The file of a collection's graph, which is written and read by path, by the graph's own thread. */
export interface GraphFile {
  readonly path: string
  /** Of the file on disk; null when there is none. */
  readonly bytes: number | null
  /**
   * Puts another in its place. `write` is given a path to write to, and answers the bytes of what it wrote and flushed. A
   * failure, also of the disk budget, is logged, and the graph stays in memory only.
   */
  replace(write: (draft: string) => Promise<number>, signal: AbortSignal): Promise<void>
  /** Removes the file because of what is wrong with it, which is logged; null: because it is of no use any more. */
  discard(error: unknown): Promise<void>
}

/** @param file `folder`: the name of the collection's, which the path is in */
export function storedGraph(
  file: { readonly path: string; readonly folder: string },
  options: {
    readonly fileSystem: FileSystem
    readonly disk: DiskBudget
    readonly warn: (error: unknown, message: string) => void
    /** Told why a file could not be removed. */
    readonly onKept: (error: unknown) => void
  },
): GraphFile {
  const { path } = file
  const { fileSystem, disk, warn, onKept } = options
  return {
    path,
    get bytes() {
      return disk.find(path)?.bytes ?? null
    },
    async replace(write, signal) {
      const draft = temporaryName(path)
      try {
        await fileSystem.mkdir(dirname(path), { recursive: true })
        const bytes = await write(draft)
        const reserved = await disk.reserve(bytes)
        if (reserved === null)
          throw new GatewayError('LG_OVER_BUDGET', `cache.disk: the graph takes ${bytes} of ${disk.bytesMax} bytes`)
        try {
          await disk.change(path, async () => {
            await renameDurably(fileSystem, draft, path)
            disk.enter({ ...file, bytes })
          })
        } finally {
          reserved.release()
        }
      } catch (error) {
        await fileSystem.rm(draft, { force: true }).catch(onKept)
        if (!signal.aborted) warn(error, 'graph file could not be written; the graph stays in memory only')
      }
    },
    async discard(error) {
      const there = disk.find(path)
      if (there === null) return
      if (error !== null) warn(error, 'graph file is not usable; it is built again')
      await disk.discard(there).catch(onKept)
    },
  }
}
