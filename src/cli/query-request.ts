/** The wire request of `query` and `explain`, from flags. */
import { readFileSync } from 'node:fs'
import { type JsonValue, parseJson } from '../core/json.js'
import { predicateToJson } from '../core/predicate.js'
import { parsePredicateText } from '../core/predicate-text.js'
import { type Flags, type FlagValues, misuse, readWhole } from './command.js'
import { type Connection, expectOk } from './connection.js'
import { namesFiles } from './source-paths.js'

export const queryFlags = {
  vector: {
    type: 'string',
    value: 'FILE|JSON|-',
    about: 'Query vector: a JSON array, or a file (or - for stdin) with one, or with raw little-endian f32.',
  },
  row: {
    type: 'string',
    value: 'ID',
    about: 'Nearest to this row of the collection. Digits mean an integer id first; "5" in quotes a string.',
  },
  text: { type: 'string', value: 'TEXT', about: 'Not supported yet: needs an embedding model.' },
  k: { type: 'string', short: 'k', value: 'N', about: 'How many rows (default 10).' },
  filter: { type: 'string', value: 'JSON|TEXT', about: `Predicate, e.g. "section = 'net' AND installed_size < 1000".` },
  recall: {
    type: 'string',
    value: 'exact|certified|0.95',
    about: 'exact (default), certified or certified:1e-6, or a target below 1.',
  },
  select: { type: 'string', value: 'A,B', about: 'Metadata columns to show (default all).' },
  'deadline-ms': {
    type: 'string',
    value: 'MS',
    about: 'Give up after this long (default: in this process 10 minutes, else the server decides).',
  },
} as const satisfies Flags

type QueryFlags = FlagValues<typeof queryFlags>

/** A collection argument that names files is opened; any other is looked up in what is open. */
export const pathsOf = (argument: string, url: string | undefined): string[] =>
  url === undefined && namesFiles(argument) ? [argument] : []

/** One collection: that of the files named, the only one of "backend/*", or the name as it stands. */
async function resolveCollection(argument: string, opened: boolean, connection: Connection): Promise<string> {
  if (!opened && !argument.endsWith('/*')) return argument
  const { collections } = expectOk(await connection.ask('GET', '/v1/collections')) as unknown as {
    readonly collections: readonly {
      readonly backend: string
      readonly collection: string
      readonly writable: boolean
    }[]
  }
  const found = collections.filter((candidate) =>
    opened ? !candidate.writable : candidate.backend === argument.slice(0, -'/*'.length),
  )
  if (found.length === 1) return `${found[0]!.backend}/${found[0]!.collection}`
  if (opened && found.length === 0) await refuseUnlisted(connection)
  const names = found.map((candidate) => `${candidate.backend}/${candidate.collection}`)
  throw misuse(`${argument}: expected one collection, found ${names.length === 0 ? 'none' : names.join(', ')}`)
}

/** Throws why a source has no collections. */
async function refuseUnlisted(connection: Connection): Promise<void> {
  const { sources } = expectOk(await connection.ask('GET', '/v1/sources')) as unknown as {
    readonly sources: readonly { readonly error: { readonly message: string } | null }[]
  }
  for (const { error } of sources) if (error !== null) throw misuse(error.message)
}

function readVector(argument: string): JsonValue {
  const text = argument.trimStart()
  if (text.startsWith('[')) return parseJson(text, '--vector')
  let bytes: Buffer
  try {
    bytes = readFileSync(argument === '-' ? 0 : argument)
  } catch (error) {
    throw misuse(`--vector ${argument}: cannot be read (${(error as NodeJS.ErrnoException).code})`, 'vector')
  }
  if (/^\s*\[/.test(bytes.subarray(0, 64).toString('latin1'))) return parseJson(bytes, '--vector')
  if (bytes.length === 0 || bytes.length % 4 !== 0)
    throw misuse(
      `--vector ${argument}: expected a JSON array or raw f32 (4 bytes a number), found ${bytes.length} bytes`,
      'vector',
    )
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4))
}

/** JSON goes as it is, for the server to judge; text becomes JSON here. */
function readFilter(text: string): JsonValue {
  return text.trimStart().startsWith('{')
    ? parseJson(text, '--filter')
    : predicateToJson(parsePredicateText(text, '--filter'))
}

function readRecall(text: string): JsonValue {
  if (text === 'exact') return text
  const certified = /^certified(?::(.+))?$/.exec(text)
  const number = Number(certified === null ? text : (certified[1] ?? '1e-6'))
  if (!(number > 0 && number < 1))
    throw misuse(
      `--recall: expected exact, certified, certified:1e-6 or a number below 1, found ${JSON.stringify(text)}`,
      'recall',
    )
  return certified === null ? number : { certified: number }
}

/** Integer ids first: most are. */
function rowIds(text: string): JsonValue[] {
  if (/^-?\d+$/.test(text)) return [parseJson(text, '--row'), text]
  return [text.startsWith('"') ? parseJson(text, '--row') : text]
}

interface PreparedQuery {
  /** Requests to try in turn: the next one only when the one before found no such row. */
  readonly requests: readonly { readonly [field: string]: JsonValue }[]
}

/** Throws LG_INVALID_REQUEST for flags that contradict or cannot be read. */
export async function prepareQuery(
  argument: string,
  opened: boolean,
  flags: QueryFlags,
  connection: Connection,
  inProcess: boolean,
): Promise<PreparedQuery> {
  if (flags.text !== undefined) throw misuse('--text: not supported yet; use --vector or --row', 'text')
  if ((flags.vector === undefined) === (flags.row === undefined))
    throw misuse('expected one of --vector and --row; see lakegate query --help')
  const deadlineMs = readWhole('deadline-ms', flags['deadline-ms'], 1, 600_000) ?? (inProcess ? 600_000 : undefined)
  // A row is in one collection; a vector may search several.
  const one = opened || flags.row !== undefined
  const collection = one ? await resolveCollection(argument, opened, connection) : argument
  const shared = {
    k: readWhole('k', flags.k, 1, Number.MAX_SAFE_INTEGER) ?? 10,
    collections: [collection],
    ...(flags.filter === undefined ? {} : { filter: readFilter(flags.filter) }),
    ...(flags.recall === undefined ? {} : { recall: readRecall(flags.recall) }),
    ...(flags.select === undefined ? {} : { select: flags.select.split(',').map((name) => name.trim()) }),
    ...(deadlineMs === undefined ? {} : { deadline_ms: deadlineMs }),
  }
  const targets =
    flags.row === undefined
      ? [{ vector: readVector(flags.vector!) }]
      : rowIds(flags.row).map((id) => ({ row: { collection, id } }))
  return { requests: targets.map((target) => ({ ...target, ...shared })) }
}
