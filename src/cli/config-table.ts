/**
 * Every configuration key: what it means, what it takes, what it is without being set. The parser (config.ts) and
 * docs/configuration.md both follow this table; a test compares them.
 */

import { indexKinds } from '../cache/vector-cache.js'
import type { Consistency } from '../core/contract.js'
import { limits } from '../core/limits.js'
import { metrics } from '../core/metric.js'
import { primings, refreshMsMin } from '../federation/source-settings.js'

/** How a value is written. `parse` takes a TOML value, `fromText` an environment variable; undefined: not one of these. */
export interface ValueType<T> {
  readonly expected: string
  parse(value: unknown): T | undefined
  fromText(text: string): T | undefined
}

export interface Setting<T> {
  /** As written in TOML. */
  readonly key: string
  readonly type: ValueType<T>
  readonly default: T
  /** The default as documentation shows it. */
  readonly shown: string
  readonly about: string
}

const text: ValueType<string> = {
  expected: 'a string that is not empty',
  parse: (value) => (typeof value === 'string' && value !== '' ? value : undefined),
  fromText: (value) => (value !== '' ? value : undefined),
}

const boolean: ValueType<boolean> = {
  expected: 'true or false',
  parse: (value) => (typeof value === 'boolean' ? value : undefined),
  fromText: (value) => (value === 'true' ? true : value === 'false' ? false : undefined),
}

const texts: ValueType<readonly string[]> = {
  expected: 'an array of strings',
  parse: (value) => (Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined),
  fromText: (value) => value.split(',').map((item) => item.trim()),
}

function integer(min: number, max: number): ValueType<number> {
  const parse = (value: unknown): number | undefined =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined
  return {
    expected: `a whole number from ${min} to ${max}`,
    parse,
    fromText: (value) => (/^\d+$/.test(value) ? parse(Number(value)) : undefined),
  }
}

function oneOf<T extends string>(...values: readonly T[]): ValueType<T> {
  const parse = (value: unknown): T | undefined => values.find((allowed) => allowed === value)
  return { expected: `one of ${values.map((value) => `"${value}"`).join(', ')}`, parse, fromText: parse }
}

const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

function parseSize(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && value > 0 ? value : undefined
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?$/.exec(value.trim()) : null
  if (match === null) return undefined
  const bytes = Math.floor(Number(match[1]) * (sizeUnits[match[2] ?? 'B'] ?? 1))
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Bytes. */
const size: ValueType<number> = {
  expected: 'a size such as "2GiB", "512MB" or a number of bytes',
  parse: parseSize,
  fromText: parseSize,
}

const consistency: ValueType<Consistency | null> = {
  expected: '"fresh", "frozen" or { ttl_ms = 5000 }',
  parse(value) {
    if (value === 'fresh' || value === 'frozen') return { kind: value }
    if (typeof value !== 'object' || value === null || Object.keys(value).join() !== 'ttl_ms') return undefined
    const ttlMs = integer(0, Number.MAX_SAFE_INTEGER).parse((value as { ttl_ms: unknown }).ttl_ms)
    return ttlMs === undefined ? undefined : { kind: 'ttl', ttlMs }
  },
  fromText(value) {
    const ttl = /^\{?\s*ttl_ms\s*=\s*(\d+)\s*\}?$/.exec(value)
    return this.parse(ttl === null ? value : { ttl_ms: Number(ttl[1]) })
  },
}

const setting = <T>(key: string, type: ValueType<T>, value: T, shown: string, about: string): Setting<T> => ({
  key,
  type,
  default: value,
  shown,
  about,
})

export const settings = {
  server: {
    host: setting('host', text, '127.0.0.1', '"127.0.0.1"', 'Address to listen on.'),
    port: setting('port', integer(0, 65_535), 8080, '8080', 'TCP port of the HTTP server; 0 takes a free one.'),
    rvfPort: setting<number | null>(
      'rvf_port',
      integer(0, 65_535),
      null,
      'none',
      'TCP port of the binary RVF protocol; not opened unless set. 0 takes a free one.',
    ),
    connectionsMax: setting(
      'connections_max',
      integer(1, 65_535),
      limits.connectionsMax,
      String(limits.connectionsMax),
      'Connections at a time, of HTTP and of RVF each; more are answered 503 and closed.',
    ),
    bodyBytesMax: setting('body_limit', size, limits.bodyBytesMax, '"16MiB"', 'Largest request body.'),
  },
  cache: {
    dir: setting(
      'dir',
      text,
      './.lakegate',
      '"./.lakegate"',
      'Directory of segment and graph files; used by one process at a time.',
    ),
    memoryBytesMax: setting('memory', size, 2 * 2 ** 30, '"2GiB"', 'Memory for segments, ids, metadata and graphs.'),
    diskBytesMax: setting('disk', size, 20 * 2 ** 30, '"20GiB"', 'Disk for segment and graph files.'),
    workers: setting('workers', integer(0, 256), 0, '0', 'Worker threads; 0 means cores - 1, at least 1.'),
  },
  query: {
    kMax: setting('k_max', integer(1, limits.kMax), limits.kMax, String(limits.kMax), 'Largest k a query may ask for.'),
    deadlineMs: setting(
      'deadline_ms',
      integer(1, limits.deadlineMsMax),
      limits.deadlineMsDefault,
      String(limits.deadlineMsDefault),
      'Deadline of a query that names none, milliseconds.',
    ),
    consistency: setting(
      'consistency',
      consistency,
      null,
      'by source',
      `"fresh", "frozen" or { ttl_ms = n }. Unset: "fresh" where checking is local and cheap, { ttl_ms = ${limits.remoteTtlMsDefault} } for remote sources.`,
    ),
  },
  audit: {
    every: setting(
      'every',
      integer(0, 1_000_000_000),
      1000,
      '1000',
      'One answer in so many is compared with brute force in the background; 0: none.',
    ),
  },
  auth: {
    mode: setting('mode', oneOf('none'), 'none', '"none"', 'Who may call. "none": everybody who can connect.'),
    allowUnauthenticated: setting(
      'allow_unauthenticated',
      boolean,
      false,
      'false',
      'Second consent to listen beyond loopback with mode "none"; the first is naming such a host.',
    ),
  },
} as const

/** Kinds of source that can be opened. */
export const sourceKinds = ['local', 'parquet'] as const
/** Kinds that are named in the interface and refused by name. */
const laterKinds = [
  'iceberg',
  'delta',
  'lance',
  'ducklake',
  'rvf',
  'bigquery',
  'snowflake',
  'postgres',
  'trino',
  'lake',
]

export interface SourceSetting {
  readonly key: string
  readonly type: ValueType<unknown>
  readonly shown: string
  readonly about: string
}

const sourceSetting = (key: string, type: ValueType<unknown>, shown: string, about: string): SourceSetting => ({
  key,
  type,
  shown,
  about,
})

/** Keys of a [[source]]. Those after `uri` go to the adapter as its options. */
export const sourceSettings: readonly SourceSetting[] = [
  sourceSetting('name', text, 'required', 'Name of the source: the part before the slash in "name/collection".'),
  sourceSetting('kind', oneOf(...sourceKinds), 'required', 'What the source is.'),
  sourceSetting('uri', text, 'required, except for local', 'File, directory or glob.'),
  sourceSetting('collection', text, 'file or directory name', 'Name of the one collection.'),
  sourceSetting('id', text, 'detected', 'Id column: else id, _id, document_id or row_id; else "part:row".'),
  sourceSetting('vector', text, 'detected', 'Vector column: else the only list of numbers.'),
  sourceSetting('metric', oneOf(...metrics), '"l2"', 'Distance: l2 is squared Euclidean.'),
  sourceSetting('model', text, 'none', 'Name of the embedding model: collections of different models never merge.'),
  sourceSetting('columns', texts, 'all', 'Metadata columns to keep.'),
  sourceSetting(
    'on_bad_row',
    oneOf('refuse', 'skip'),
    '"refuse"',
    'Rows with a wrong length, a null element, NaN or Inf: refuse the part by name and row, or skip and count.',
  ),
  sourceSetting(
    'prime',
    oneOf(...primings),
    '"first_query"',
    'When collections are first pulled: by their first query, or "eager", in the background once the source was added.',
  ),
  sourceSetting(
    'refresh_ms',
    integer(refreshMsMin, limits.refreshMsMax),
    'none',
    'Check for new data in the background, this long after the last check ended, milliseconds; unset: queries check.',
  ),
  sourceSetting(
    'index',
    oneOf(...indexKinds),
    '"auto"',
    'How rows are laid out: "auto" in clusters where they pay, "flat" without, "hnsw" as "auto" with a graph beside it that answers target recalls.',
  ),
  sourceSetting(
    'pii_policy',
    text,
    'none',
    'Published in table.rulake.json for those who read it; not acted upon here.',
  ),
]

/** Sections and keys of the interface that this version does not have: refused by name, never ignored. */
export const laterSections: Readonly<Record<string, string>> = {
  bucket: 'object storage',
  policy: 'row and column policies',
  lake: 'the writable lake',
}
/** Values of the interface that this version does not take. */
export const laterValues: Readonly<Record<string, readonly string[]>> = {
  'auth.mode': ['api_key', 'oidc'],
  'source.kind': laterKinds,
}
export const laterKeys: Readonly<Record<string, string>> = {
  'server.tls_cert': 'TLS',
  'server.tls_key': 'TLS',
  'server.ui': 'the browser application',
  'server.rvf_collection': 'RVF writes into the lake',
}
