import { createHash } from 'node:crypto'
import type { Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import { type CollectionRecord, composeRecord, parseRecord } from './collection-record.js'
import { lockDirectory } from './directory-lock.js'
import { type FileSystem, isTemporary, renameDurably, temporaryName, wholeFile, writeDurably } from './file-system.js'
import {
  composeSegmentFile,
  openSegmentFile,
  readFully,
  type SegmentContent,
  type SegmentFileReader,
  type SegmentHeader,
} from './segment-file.js'
import type { OriginalsFile } from './stored-originals.js'

/** What the cache logs to; pino's loggers fit. */
export interface CacheLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** The cache directory: everything in it can be had again from the sources (law 10). */
export interface Store {
  /** Bytes of all segment and graph files. */
  readonly bytes: number
  collection(ref: CollectionRef): CollectionFiles
  close(): Promise<void>
}

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

interface StoreOptions {
  readonly directory: string
  readonly bytesMax: number
  readonly fileSystem: FileSystem
  readonly log: CacheLog
}

/** A segment's or graph's file: counts against the disk budget. The store keeps these in order of use, oldest first. */
interface SegmentEntry {
  readonly path: string
  readonly collection: string
  readonly bytes: number
  /** Who cannot do without it. */
  holders: number
  /** Goes with the last holder. */
  unwanted: boolean
}

const suffix = '.segment'
const graphName = 'hnsw.graph'

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
  const entries = new Map<string, SegmentEntry>()
  const totals = new Map<string, number>()
  let total = 0

  const add = (entry: SegmentEntry): void => {
    entries.set(entry.path, entry)
    totals.set(entry.collection, (totals.get(entry.collection) ?? 0) + entry.bytes)
    total += entry.bytes
  }
  const forget = (entry: SegmentEntry): void => {
    entries.delete(entry.path)
    totals.set(entry.collection, totals.get(entry.collection)! - entry.bytes)
    total -= entry.bytes
  }
  const touch = (entry: SegmentEntry): void => {
    entries.delete(entry.path)
    entries.set(entry.path, entry)
  }
  /** The last change of each path that is being changed. */
  const changes = new Map<string, Promise<unknown>>()
  /** Puts a file in place, or removes it, after whoever is at it. */
  const change = async <T>(path: string, run: () => Promise<T>): Promise<T> => {
    const before = changes.get(path)
    const changed = before === undefined ? run() : before.then(run, run)
    changes.set(path, changed)
    try {
      return await changed
    } finally {
      if (changes.get(path) === changed) changes.delete(path)
    }
  }
  /** Deletes the file unless another is in its place by then. */
  const discard = (entry: SegmentEntry, isWanted = () => false): Promise<void> =>
    change(entry.path, async () => {
      if (entries.get(entry.path) !== entry || isWanted()) return
      forget(entry)
      await fileSystem.rm(entry.path, { force: true })
    })
  const discardUnheld = (entry: SegmentEntry): Promise<void> => discard(entry, () => entry.holders > 0)
  /** Of files that are being written. */
  let reserved = 0
  /** Deletes what nobody holds; answers whether so many bytes fit then, and are reserved until `reserved` is lowered by them. */
  const makeRoom = async (bytes: number): Promise<boolean> => {
    if (bytes > bytesMax) return false
    for (const oldest of [...entries.values()]) {
      if (total + reserved + bytes <= bytesMax) break
      await discardUnheld(oldest)
    }
    if (total + reserved + bytes > bytesMax) return false
    reserved += bytes
    return true
  }

  try {
    await fileSystem.mkdir(root, { recursive: true })
    for (const entry of await scan(fileSystem, root)) add(entry)
  } catch (error) {
    await lock.release()
    throw error
  }

  const collectionFiles = (ref: CollectionRef): CollectionFiles => {
    const name = createHash('sha256').update(formatCollection(ref)).digest('hex').slice(0, 32)
    const folder = join(root, name)
    const recordPath = join(folder, 'record')
    const segmentPath = (key: string): string => join(folder, `${key}${suffix}`)
    const codebookPath = (identity: string): string => join(folder, `${identity}.codebook`)
    /** On a disk that cannot be written, an unusable file is met again at the next start. */
    const warnKept = (error: unknown): void =>
      log.warn({ collection: formatCollection(ref), err: error }, 'an unusable cache file could not be removed')
    const discardFile = async (path: string, what: string, error: unknown): Promise<null> => {
      log.warn(
        { collection: formatCollection(ref), err: error },
        `${what} is not usable; it is rebuilt from the source`,
      )
      await fileSystem.rm(path, { force: true, recursive: true }).catch(warnKept)
      return null
    }
    /** Says that a file is in place now. */
    const enter = (path: string, bytes: number): void => {
      const before = entries.get(path)
      if (before !== undefined) forget(before)
      add({ path, collection: name, bytes, holders: 0, unwanted: false })
    }
    const graphPath = join(folder, graphName)
    const graph: GraphFile = {
      path: graphPath,
      get bytes() {
        return entries.get(graphPath)?.bytes ?? null
      },
      async replace(write, signal) {
        const draft = temporaryName(graphPath)
        try {
          await fileSystem.mkdir(folder, { recursive: true })
          const bytes = await write(draft)
          if (!(await makeRoom(bytes)))
            throw new GatewayError('LG_OVER_BUDGET', `cache.disk: the graph takes ${bytes} of ${bytesMax} bytes`)
          try {
            await change(graphPath, async () => {
              await renameDurably(fileSystem, draft, graphPath)
              enter(graphPath, bytes)
            })
          } finally {
            reserved -= bytes
          }
        } catch (error) {
          await fileSystem.rm(draft, { force: true }).catch(warnKept)
          if (signal.aborted) return
          log.warn(
            { collection: formatCollection(ref), err: error },
            'graph file could not be written; the graph stays in memory only',
          )
        }
      },
      async discard(error) {
        const entry = entries.get(graphPath)
        if (entry === undefined) return
        if (error !== null)
          log.warn({ collection: formatCollection(ref), err: error }, 'graph file is not usable; it is built again')
        await discard(entry).catch(warnKept)
      },
    }
    return {
      graph,
      get bytes() {
        return totals.get(name) ?? 0
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
          if (signal.aborted) return
          log.warn({ collection: formatCollection(ref), err: error }, 'collection record could not be written')
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
          if (!signal.aborted)
            log.warn({ collection: formatCollection(ref), err: error }, 'codebook could not be written')
          return false
        }
      },
      hasSegment: (key) => entries.has(segmentPath(key)),
      async readSegment(key, use) {
        const entry = entries.get(segmentPath(key))
        if (entry === undefined) return 'absent'
        touch(entry)
        try {
          const file = await fileSystem.open(entry.path, 'r')
          try {
            return await use(await openSegmentFile(file, key))
          } finally {
            await file.close()
          }
        } catch (error) {
          if (!isUnusable(error)) throw error
          log.warn({ collection: formatCollection(ref), err: error }, unusableSegment)
          await discard(entry).catch(warnKept)
          return 'discarded'
        }
      },
      async writeSegment(header, content, signal) {
        const path = segmentPath(header.key)
        const { pieces, bytes } = composeSegmentFile(header, content)
        try {
          if (!(await makeRoom(bytes))) {
            log.warn(
              { collection: formatCollection(ref), bytes, bytesMax },
              'segment is larger than what the disk budget has left; it stays in memory only',
            )
            return false
          }
          try {
            await fileSystem.mkdir(folder, { recursive: true })
            await change(path, async () => {
              await writeDurably(fileSystem, path, pieces, signal)
              enter(path, bytes)
            })
          } finally {
            reserved -= bytes
          }
          return true
        } catch (error) {
          if (signal.aborted) return false
          log.warn(
            { collection: formatCollection(ref), err: error },
            'segment file could not be written; it stays in memory only',
          )
          return false
        }
      },
      openOriginals(key) {
        const entry = entries.get(segmentPath(key))
        if (entry === undefined) return null
        const isThere = () => entries.get(entry.path) === entry
        const onLast = () => void discardUnheld(entry).catch(warnKept)
        return openOriginals({ fileSystem, entry, key, isThere, onLast })
      },
      async discardSegment(key, error) {
        const entry = entries.get(segmentPath(key))
        if (entry === undefined) return
        log.warn({ collection: formatCollection(ref), err: error }, unusableSegment)
        await discard(entry).catch(warnKept)
      },
      async retain(keep) {
        for (const entry of [...entries.values()])
          if (entry.collection === name && entry.path !== graphPath && !keep.segments.has(keyOf(entry.path)))
            await discardUnheld(entry)
        for (const file of await listIfPresent(fileSystem, folder))
          if (file.endsWith('.codebook') && !keep.codebooks.has(file.slice(0, -'.codebook'.length)))
            await fileSystem.rm(join(folder, file), { force: true })
      },
      async remove() {
        for (const entry of [...entries.values()]) {
          if (entry.collection !== name) continue
          entry.unwanted = true
          await discardUnheld(entry)
        }
        for (const file of await listIfPresent(fileSystem, folder)) {
          const path = join(folder, file)
          if (isTemporary(file)) continue // of a build that has begun since, as is what has come in place by now
          await change(path, async () => {
            if (!entries.has(path)) await fileSystem.rm(path, { force: true })
          })
        }
        await fileSystem.rmdir(folder).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error
        })
      },
    }
  }

  return {
    get bytes() {
      return total
    },
    collection: collectionFiles,
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
export const noStore: Store = {
  bytes: 0,
  collection: () => ({
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
  }),
  close: async () => {},
}

function openOriginals(of: {
  readonly fileSystem: FileSystem
  readonly entry: SegmentEntry
  readonly key: string
  readonly isThere: () => boolean
  /** Called when the last holder of an unwanted file has let go. */
  readonly onLast: () => void
}): OriginalsFile {
  const { fileSystem, entry, key, isThere, onLast } = of
  let held = false
  let opened: Promise<{ readonly file: FileHandle; readonly offset: number }> | null = null
  const open = async (): Promise<{ readonly file: FileHandle; readonly offset: number }> => {
    const file = await fileSystem.open(entry.path, 'r')
    try {
      return { file, offset: (await openSegmentFile(file, key)).originals.offset }
    } catch (error) {
      await file.close()
      throw error
    }
  }
  const letGo = (): void => {
    if (!held) return
    held = false
    entry.holders--
    if (entry.holders === 0 && entry.unwanted) onLast()
  }
  return {
    hold() {
      if (held) return true
      if (!isThere()) return false
      entry.holders++
      held = true
      return true
    },
    letGo,
    async read(into, position) {
      try {
        opened ??= open()
        const { file, offset } = await opened
        await readFully(file, into, offset + position)
      } catch (cause) {
        if (!isUnusable(cause)) throw cause
        throw new GatewayError('LG_CORRUPT', `segment file ${key}: its vectors cannot be read`, { cause })
      }
    },
    close() {
      letGo()
      opened?.then(
        ({ file }) => file.close(),
        () => {}, // a file that cannot be opened has nothing to close
      )
    },
  }
}

const unusableSegment = 'segment file is not usable; it is rebuilt from the source'

/** Segment files, least recently written first. */
async function scan(fileSystem: FileSystem, root: string): Promise<readonly SegmentEntry[]> {
  const found: (SegmentEntry & { readonly writtenMs: number })[] = []
  for (const collection of await fileSystem.readdir(root)) {
    for (const file of await listIfPresent(fileSystem, join(root, collection))) {
      const path = join(root, collection, file)
      if (isTemporary(file)) await fileSystem.rm(path, { force: true })
      else if (file.endsWith(suffix) || file === graphName) {
        const stats = await statIfPresent(fileSystem, path)
        if (stats?.isFile())
          found.push({ path, collection, bytes: stats.size, holders: 0, unwanted: false, writtenMs: stats.mtimeMs })
      }
    }
  }
  return found.sort((a, b) => a.writtenMs - b.writtenMs)
}

/** The file is wrong or cannot be read; anything else (no memory for it, a defect) is not the file's fault. */
const isUnusable = (error: unknown): boolean =>
  error instanceof GatewayError ? error.code === 'LG_CORRUPT' : error instanceof Error && 'syscall' in error

const keyOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1, -suffix.length)

async function readIfPresent(fileSystem: FileSystem, path: string): Promise<Buffer | null> {
  try {
    return await fileSystem.readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Null for a link to nothing, too. */
async function statIfPresent(fileSystem: FileSystem, path: string): Promise<Stats | null> {
  try {
    return await fileSystem.stat(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

async function listIfPresent(fileSystem: FileSystem, path: string): Promise<readonly string[]> {
  try {
    return await fileSystem.readdir(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}
