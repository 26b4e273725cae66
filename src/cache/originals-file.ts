import type { FileHandle } from 'node:fs/promises'
import { GatewayError } from '../core/errors.js'
import type { BudgetedFile, DiskBudget } from './disk-budget.js'
import type { FileSystem } from './file-system.js'
import { isUnusable, openSegmentFile, readFully } from './segment-file.js'
import type { OriginalsFile } from './stored-originals.js'

interface OpenOptions {
  readonly fileSystem: FileSystem
  readonly disk: DiskBudget
  /** Told why an unwanted file could not be deleted when it was let go. */
  readonly onKept: (error: unknown) => void
}

/** The originals in the file of the segment `key`; nothing is opened until they are read. */
export function openOriginals(
  file: BudgetedFile,
  key: string,
  { fileSystem, disk, onKept }: OpenOptions,
): OriginalsFile {
  let hold: ReturnType<DiskBudget['hold']> = null
  let opened: Promise<{ readonly handle: FileHandle; readonly offset: number }> | null = null
  const open = async (): Promise<{ readonly handle: FileHandle; readonly offset: number }> => {
    const handle = await fileSystem.open(file.path, 'r')
    try {
      return { handle, offset: (await openSegmentFile(handle, key)).originals.offset }
    } catch (error) {
      await handle.close()
      throw error
    }
  }
  const letGo = (): void => {
    hold?.letGo().catch(onKept)
    hold = null
  }
  return {
    hold() {
      hold ??= disk.hold(file)
      return hold !== null
    },
    letGo,
    async read(into, position) {
      try {
        opened ??= open()
        const { handle, offset } = await opened
        await readFully(handle, into, offset + position)
      } catch (cause) {
        if (!isUnusable(cause)) throw cause
        throw new GatewayError('LG_CORRUPT', `segment file ${key}: its vectors cannot be read`, { cause })
      }
    },
    close() {
      letGo()
      opened?.then(
        ({ handle }) => handle.close(),
        () => {}, // a file that cannot be opened has nothing to close
      )
    },
  }
}
