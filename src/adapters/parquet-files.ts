/** The files of a Parquet source: listed whole or not at all, identified without being read. */
import { createHash } from 'node:crypto'
import { type BigIntStats, type Dirent, existsSync } from 'node:fs'
import { lstat, open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { GatewayError } from '../core/errors.js'
import { type Generation, generation, type PartKey, partKey } from '../core/generation.js'
import { compareUtf8 } from '../core/id.js'

interface CallOptions {
  readonly signal: AbortSignal
}

export interface ParquetFile {
  /** Absolute. */
  readonly path: string
  /** Below the source's root, with '/'. */
  readonly name: string
  readonly key: PartKey
  readonly bytes: number
  /** Columns that the directories spell, `key=value`; null for Hive's null. */
  readonly partition: ReadonlyMap<string, string | null>
}

export interface FileListing {
  readonly generation: Generation
  /** By name. */
  readonly files: readonly ParquetFile[]
  /** Where the uri is one file: that file as it was looked at. */
  readonly single: { readonly path: string; readonly stats: BigIntStats } | null
}

/** What a `uri` names; the collection is called after it. */
export function nameOfUri(uri: string): string {
  const literal = isGlob(uri) && !existsSync(uri) ? globRoot(uri) : uri
  return basename(resolve(literal)).replace(/\.(parquet|parq|pq)$/i, '') || 'parquet'
}

/** Every Parquet file that the uri (a file, a directory, or a glob) stands for now. */
export async function listFiles(uri: string, { signal }: CallOptions): Promise<FileListing> {
  const found = new Map<string, ParquetFile>()
  const root = await rootOf(uri)
  const add = (path: string, base: string, stats: BigIntStats) => {
    const name = relative(base, path).split(sep).join('/')
    found.set(path, describeFile(path, name, stats))
  }
  if (root.kind === 'file') add(root.path, dirname(root.path), root.stats)
  else await walk(root.path, root.pattern, new Set(), signal, (path, stats) => add(path, root.path, stats))
  const files = [...found.values()].sort((a, b) => compareUtf8(a.name, b.name))
  const hash = createHash('sha256')
  for (const file of files) hash.update(file.key).update('\n')
  const single = root.kind === 'file' ? { path: root.path, stats: root.stats } : null
  return { generation: generation(hash.digest('hex').slice(0, 32)), files, single }
}

/**
 * Whether the source exists, without listing it, and, of a single file, whether it begins and ends as Parquet does: what it
 * is not is the caller's to know at once, not of the first query.
 */
export async function checkRoot(uri: string): Promise<void> {
  const root = await rootOf(uri)
  if (root.kind === 'file') await checkMagic(root.path, Number(root.stats.size))
}

/** Parquet's first and last bytes; the least file has a footer and its length between them. */
const magic = 'PAR1'
const fileBytesMin = 12

async function checkMagic(path: string, bytes: number): Promise<void> {
  const file = await open(path).catch((cause: unknown) => {
    throw unavailable(path, `it cannot be read (${(cause as NodeJS.ErrnoException).code})`, cause)
  })
  try {
    if (bytes >= fileBytesMin) {
      const ends = Buffer.alloc(8)
      await file.read(ends, 0, 4, 0)
      await file.read(ends, 4, 4, bytes - 4)
      if (ends.toString('latin1') === magic + magic) return
    }
  } finally {
    await file.close()
  }
  throw new GatewayError(
    'LG_UNSUPPORTED',
    `uri: expected a Parquet file, found ${path} of ${bytes} bytes, which does not begin and end with ${magic}`,
    { field: 'uri' },
  )
}

/** The directory that the uri is, or that holds its file or what its glob matches. */
export async function directoryOf(uri: string): Promise<string> {
  const root = await rootOf(uri)
  return root.kind === 'file' ? dirname(root.path) : root.path
}

/** Whether a file still is what it was when it was listed; one that can no longer be looked at is not. */
export async function isUnchanged(file: ParquetFile): Promise<boolean> {
  const stats = await stat(file.path, { bigint: true }).catch(() => null)
  return stats !== null && describeFile(file.path, file.name, stats).key === file.key
}

function describeFile(path: string, name: string, stats: BigIntStats): ParquetFile {
  const identity = [path, stats.size, stats.mtimeNs, stats.ino, stats.ctimeNs].join('\0')
  const digest = createHash('sha256').update(identity).digest('hex').slice(0, 32)
  // The name comes first: keys order rows that share an id, and that order should not change with a file's times.
  return { path, name, key: partKey(`${name}#${digest}`), bytes: Number(stats.size), partition: partitionOf(name) }
}

/** Hive's `key=value` directories, percent-decoded. */
function partitionOf(name: string): ReadonlyMap<string, string | null> {
  const columns = new Map<string, string | null>()
  for (const segment of name.split('/').slice(0, -1)) {
    const split = segment.indexOf('=')
    if (split <= 0) continue
    const value = segment.slice(split + 1)
    columns.set(percentDecode(segment.slice(0, split)), value === hiveNull ? null : percentDecode(value))
  }
  return columns
}

const hiveNull = '__HIVE_DEFAULT_PARTITION__'

/** A stray percent sign stands for itself. */
function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

type Root =
  | { readonly kind: 'file'; readonly path: string; readonly stats: BigIntStats }
  | { readonly kind: 'directory'; readonly path: string; readonly pattern: readonly string[] | null }

/** A path that exists is itself, even when it contains glob characters. */
async function rootOf(uri: string): Promise<Root> {
  const path = resolve(uri)
  const stats = await statOrNull(path)
  if (stats?.isFile()) return { kind: 'file', path, stats }
  if (stats?.isDirectory()) return { kind: 'directory', path, pattern: null }
  if (stats !== null) throw unavailable(path, 'it is neither a file nor a directory')
  if (!isGlob(uri)) throw unavailable(path, 'it does not exist')
  const base = resolve(globRoot(uri))
  if (!(await statOrNull(base))?.isDirectory()) throw unavailable(base, `it is not a directory (of the glob ${uri})`)
  return { kind: 'directory', path: base, pattern: relative(base, path).split(sep) }
}

const isGlob = (uri: string): boolean => /[*?[{]/.test(uri)

/** The part of a glob before its first wildcard. */
function globRoot(uri: string): string {
  const segments = uri.split('/')
  const literal = segments.slice(0, segments.findIndex(isGlob))
  return literal.length === 0 ? '.' : literal.join('/') || '/'
}

/**
 * Visits the Parquet files below a directory. Symbolic links are followed; a directory that was already visited
 * (a loop, or two links to one place) is not visited again.
 * @param pattern  the glob's segments that are left to match, or null for everything below
 */
async function walk(
  directory: string,
  pattern: readonly string[] | null,
  visited: Set<string>,
  signal: AbortSignal,
  visit: (path: string, stats: BigIntStats) => void,
): Promise<void> {
  signal.throwIfAborted()
  const place = await statOrNull(directory)
  if (place === null) throw unavailable(directory, 'it does not exist')
  // The same directory may be met at several depths of a glob with '**'.
  const visitKey = `${place.dev}:${place.ino}:${pattern?.join('/') ?? ''}`
  if (visited.has(visitKey)) return
  visited.add(visitKey)
  const entries = await readDirectory(directory)
  const [segment, ...rest] = pattern ?? ['**']
  if (segment === '**' && pattern !== null && rest.length > 0) await walk(directory, rest, visited, signal, visit)
  const matches = segment === '**' ? null : globExpression(segment ?? '')
  const wanted = entries.filter(({ name }) => !isIgnored(name) && (matches === null || matches.test(name)))
  for (let start = 0; start < wanted.length; start += statsAtOnce) {
    signal.throwIfAborted()
    const slice = wanted.slice(start, start + statsAtOnce)
    const stats = await Promise.all(slice.map((entry) => statEntry(join(directory, entry.name), entry)))
    for (const [index, entry] of slice.entries()) {
      const path = join(directory, entry.name)
      const found = stats[index]
      if (found?.isDirectory()) {
        if (segment === '**') await walk(path, pattern, visited, signal, visit)
        else if (rest.length > 0) await walk(path, rest, visited, signal, visit)
      } else if (found?.isFile() && rest.length === 0 && isParquetName(entry.name)) visit(path, found)
    }
  }
}

const statsAtOnce = 256

const isParquetName = (name: string): boolean => /\.(parquet|parq|pq)$/i.test(name)

/** Writers keep markers, logs and unfinished files under such names; `_key=value` is a partition. */
const isIgnored = (name: string): boolean => name.startsWith('.') || (name.startsWith('_') && !name.includes('='))

async function readDirectory(directory: string): Promise<Dirent[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true })
    return entries.sort((a, b) => compareUtf8(a.name, b.name))
  } catch (cause) {
    throw unavailable(directory, `the directory cannot be read (${errorCode(cause)})`, cause)
  }
}

/** Null for an entry that is of no interest or was deleted since its directory was read; a dangling link is an error. */
async function statEntry(path: string, entry: Dirent): Promise<BigIntStats | null> {
  if (!entry.isDirectory() && !entry.isSymbolicLink() && !isParquetName(entry.name)) return null
  const stats = await statOrNull(path)
  if (stats !== null) return stats
  // Gone between the two looks: deleted, which is no error.
  const link = await lstat(path).catch(() => null)
  if (link?.isSymbolicLink()) throw unavailable(path, 'it is a symbolic link to nothing')
  return null
}

/** Null when there is no such path. */
async function statOrNull(path: string): Promise<BigIntStats | null> {
  try {
    return await stat(path, { bigint: true })
  } catch (cause) {
    const code = errorCode(cause)
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw unavailable(path, `it cannot be read (${code})`, cause)
  }
}

const errorCode = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error)

const unavailable = (path: string, reason: string, cause?: unknown): GatewayError =>
  new GatewayError('LG_SOURCE_UNAVAILABLE', `parquet source ${path}: ${reason}`, { field: 'uri', cause })

/** One path segment: `*`, `?`, `[a-c]`, `[!a]` and `{a,b}`. */
function globExpression(segment: string): RegExp {
  let source = ''
  for (let i = 0; i < segment.length; i++) {
    const character = segment[i]!
    const close = character === '[' ? segment.indexOf(']', i + 2) : character === '{' ? segment.indexOf('}', i) : -1
    if (character === '*') source += '.*'
    else if (character === '?') source += '.'
    else if (close < 0) source += escapeExpression(character)
    else {
      const inner = segment.slice(i + 1, close)
      if (character === '{')
        source += `(?:${inner
          .split(',')
          .map((choice) => globExpression(choice).source.slice(1, -1))
          .join('|')})`
      else source += `[${inner.replace(/^!/, '^').replace(/[\\\]]/g, '\\$&')}]`
      i = close
    }
  }
  return new RegExp(`^${source}$`, 's')
}

const escapeExpression = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
