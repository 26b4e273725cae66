import { join } from 'node:path'
import type { CacheLog } from './cache-log.js'
import { type CollectionRecord, composeRecord, parseRecord } from './collection-record.js'
import type { BudgetedFile, DiskBudget } from './disk-budget.js'
import {
  type FileSystem,
  isTemporary,
  listIfPresent,
  readIfPresent,
  statIfPresent,
  wholeFile,
  writeDurably,
} from './file-system.js'
import { openOriginals } from './originals-file.js'
import {
  composeSegmentFile,
  isUnusable,
  openSegmentFile,
  type SegmentContent,
  type SegmentFileReader,
  type SegmentHeader,
} from './segment-file.js'
import { type GraphFile, storedGraph } from './stored-graph.js'
import type { OriginalsFile } from './stored-originals.js'

/** One collection's files. Bytes that fail verification are deleted, logged and answered as absent. */
export interface CollectionFiles {
  readonly bytes: number
  /** Whether anything can be kept. */
  readonly persistent: boolean
  loadRecord(): Promise<CollectionRecord | null>
  /** Replaces the record; a failure is logged, and the next restart reads the source again. */
  saveRecord(record: CollectionRecord, signal: AbortSignal): Promise<void>
  /** What `parse` makes of a codebook's text; it throws when the text is not what was saved under this version. */
  loadCodebook<T>(version: string, parse: (text: string) => T): Promise<T | null>
  /** Whether it is on disk now. */
  saveCodebook(version: string, text: string, signal: AbortSignal): Promise<boolean>
  hasSegment(key: string): boolean
  /** Lets `use` read the segment's verified sections. `discarded`: there was a file, and it was not usable. */
  readSegment<T>(key: string, use: (file: SegmentFileReader) => Promise<T>): Promise<T | 'absent' | 'discarded'>
  /**
   * `content` is borrowed until the promise settles. A full or read-only disk is logged; the segment stays in memory only.
   * Answers whether the file is there.
   */
  writeSegment(header: SegmentHeader, content: SegmentContent, signal: AbortSignal): Promise<boolean>
  /** The originals in a segment's file; null when there is no such file. */
  openOriginals(key: string): OriginalsFile | null
  /** Deletes a segment file that turned out to be unusable. */
  discardSegment(key: string, error: unknown): Promise<void>
  /** Null without a directory. */
  readonly graph: GraphFile | null
  /** Deletes segment files and codebooks that are neither named nor read from. */
  retain(keep: { readonly segments: ReadonlySet<string>; readonly codebooks: ReadonlySet<string> }): Promise<void>
  /** Deletes what is there; segment files that are read from when their last reader has let go. */
  remove(): Promise<void>
}

const segmentSuffix = '.segment'
const codebookSuffix = '.codebook'
const graphName = 'hnsw.graph'

interface FilesOptions {
  readonly fileSystem: FileSystem
  readonly disk: DiskBudget
  readonly log: CacheLog
  /** How the log calls the collection. */
  readonly collection: string
}

/** The files in a collection's folder below `root`; there is no folder before there is a file. */
export function openCollectionFiles(root: string, folderName: string, options: FilesOptions): CollectionFiles {
  const { fileSystem, disk, log, collection } = options
  const folder = join(root, folderName)
  const recordPath = join(folder, 'record')
  const graphPath = join(folder, graphName)
  const segmentPath = (key: string): string => join(folder, `${key}${segmentSuffix}`)
  const codebookPath = (version: string): string => join(folder, `${version}${codebookSuffix}`)
  const warn = (error: unknown, message: string): void => log.warn({ collection, err: error }, message)
  /** On a disk that cannot be written, an unusable file is met again at the next start. */
  const warnKept = (error: unknown): void => warn(error, 'an unusable cache file could not be removed')
  const discardFile = async (path: string, what: string, error: unknown): Promise<null> => {
    warn(error, `${what} is not usable; it is rebuilt from the source`)
    await fileSystem.rm(path, { force: true, recursive: true }).catch(warnKept)
    return null
  }
  const discardSegment = async (file: BudgetedFile, error: unknown): Promise<void> => {
    warn(error, 'segment file is not usable; it is rebuilt from the source')
    await disk.discard(file).catch(warnKept)
  }
  return {
    graph: storedGraph({ path: graphPath, folder: folderName }, { fileSystem, disk, warn, onKept: warnKept }),
    get bytes() {
      return disk.bytesOf(folderName)
    },
    persistent: true,
    async loadRecord() {
      try {
        const bytes = await readIfPresent(fileSystem, recordPath)
        return bytes === null ? null : parseRecord(bytes)
      } catch (error) {
        return discardFile(recordPath, 'collection record', error)
      }
    },
    async saveRecord(record, signal) {
      try {
        await fileSystem.mkdir(folder, { recursive: true })
        await writeDurably(fileSystem, recordPath, wholeFile(composeRecord(record)), signal)
      } catch (error) {
        if (!signal.aborted) warn(error, 'collection record could not be written')
      }
    },
    async loadCodebook(version, parse) {
      const path = codebookPath(version)
      try {
        const bytes = await readIfPresent(fileSystem, path)
        return bytes === null ? null : parse(bytes.toString('utf8'))
      } catch (error) {
        return discardFile(path, 'codebook', error)
      }
    },
    async saveCodebook(version, text, signal) {
      try {
        await fileSystem.mkdir(folder, { recursive: true })
        await writeDurably(fileSystem, codebookPath(version), wholeFile(Buffer.from(text, 'utf8')), signal)
        return true
      } catch (error) {
        if (!signal.aborted) warn(error, 'codebook could not be written')
        return false
      }
    },
    hasSegment: (key) => disk.find(segmentPath(key)) !== null,
    async readSegment(key, use) {
      const file = disk.find(segmentPath(key))
      if (file === null) return 'absent'
      disk.touch(file.path)
      try {
        const handle = await fileSystem.open(file.path, 'r')
        try {
          return await use(await openSegmentFile(handle, key))
        } finally {
          await handle.close()
        }
      } catch (error) {
        if (!isUnusable(error)) throw error
        await discardSegment(file, error)
        return 'discarded'
      }
    },
    async writeSegment(header, content, signal) {
      const path = segmentPath(header.key)
      const { pieces, bytes } = composeSegmentFile(header, content)
      try {
        const reserved = await disk.reserve(bytes)
        if (reserved === null) {
          log.warn(
            { collection, bytes, bytesMax: disk.bytesMax },
            'segment is larger than what the disk budget has left; it stays in memory only',
          )
          return false
        }
        try {
          await fileSystem.mkdir(folder, { recursive: true })
          await disk.change(path, async () => {
            await writeDurably(fileSystem, path, pieces, signal)
            disk.enter({ path, folder: folderName, bytes })
          })
        } finally {
          reserved.release()
        }
        return true
      } catch (error) {
        if (!signal.aborted) warn(error, 'segment file could not be written; it stays in memory only')
        return false
      }
    },
    openOriginals(key) {
      const file = disk.find(segmentPath(key))
      return file === null ? null : openOriginals(file, key, { fileSystem, disk, onKept: warnKept })
    },
    async discardSegment(key, error) {
      const file = disk.find(segmentPath(key))
      if (file !== null) await discardSegment(file, error)
    },
    async retain(keep) {
      const wanted = new Set([graphPath, ...Array.from(keep.segments, segmentPath)])
      for (const file of disk.filesOf(folderName)) if (!wanted.has(file.path)) await disk.discardUnheld(file)
      const codebooks = new Set(Array.from(keep.codebooks, (version) => `${version}${codebookSuffix}`))
      for (const name of await listIfPresent(fileSystem, folder))
        if (name.endsWith(codebookSuffix) && !codebooks.has(name))
          await fileSystem.rm(join(folder, name), { force: true })
    },
    async remove() {
      for (const file of disk.filesOf(folderName)) await disk.remove(file)
      for (const name of await listIfPresent(fileSystem, folder)) {
        const path = join(folder, name)
        if (isTemporary(name)) continue // of a build that has begun since, as is what has come in place by now
        await disk.change(path, async () => {
          if (disk.find(path) === null) await fileSystem.rm(path, { force: true })
        })
      }
      await fileSystem.rmdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error
      })
    },
  }
}

/** Those of a cache without a directory. */
export const noFiles: CollectionFiles = {
  bytes: 0,
  graph: null,
  persistent: false,
  loadRecord: async () => null,
  saveRecord: async () => {},
  loadCodebook: async () => null,
  saveCodebook: async () => false,
  hasSegment: () => false,
  readSegment: async () => 'absent',
  writeSegment: async () => false,
  openOriginals: () => null,
  discardSegment: async () => {},
  retain: async () => {},
  remove: async () => {},
}

/** Removes what interrupted writes left in the folders below `root`, and answers their segment and graph files, least recently written first. */
export async function scanCollectionFiles(fileSystem: FileSystem, root: string): Promise<readonly BudgetedFile[]> {
  const found: (BudgetedFile & { readonly writtenMs: number })[] = []
  for (const folder of await fileSystem.readdir(root)) {
    for (const name of await listIfPresent(fileSystem, join(root, folder))) {
      const path = join(root, folder, name)
      if (isTemporary(name)) await fileSystem.rm(path, { force: true })
      else if (name.endsWith(segmentSuffix) || name === graphName) {
        const stats = await statIfPresent(fileSystem, path)
        if (stats?.isFile()) found.push({ path, folder, bytes: stats.size, writtenMs: stats.mtimeMs })
      }
    }
  }
  return found.sort((a, b) => a.writtenMs - b.writtenMs)
}
