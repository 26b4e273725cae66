/** Which columns of a Parquet source are the vector, the id and metadata, and of what type. */
import type { DuckDBType } from '@duckdb/node-api'
import type { Column } from '../core/column.js'
import { GatewayError } from '../core/errors.js'
import type { NamedType } from './arrow-columns.js'
import { joinTypes, logicalType, type StoredType, storedType } from './column-type.js'
import { parquetScan, queryTable, quoteIdentifier } from './duckdb-session.js'
import type { ParquetFile } from './parquet-files.js'
import { explainFailure, type Footer } from './parquet-footer.js'
import { blobNumbers, isVectorCandidate, parseVectorText, vectorEncoding } from './vector-column.js'

interface CallOptions {
  readonly signal: AbortSignal
}

export interface LayoutOptions {
  readonly id: string | null
  readonly vector: string | null
  readonly columns: readonly string[] | null
}

export interface FileWithFooter {
  readonly file: ParquetFile
  readonly footer: Footer
}

export interface Layout {
  /** Empty when there are no files to tell. */
  readonly vectorColumn: string
  readonly idColumn: string | null
  readonly metadata: readonly NamedType[]
  readonly dimension: number | null
}

export const columnsOf = (layout: Layout): readonly Column[] =>
  layout.metadata.map(({ name, type }) => ({ name, type: logicalType(type) }))

const idNames = ['id', '_id', 'document_id', 'row_id']

/** Rows looked at to find the dimension, or a vector column without a list type. */
const sampleRows = 1000

export async function decideLayout(
  files: readonly FileWithFooter[],
  options: LayoutOptions,
  { signal }: CallOptions,
): Promise<Layout> {
  if (files.length === 0)
    return { vectorColumn: options.vector ?? '', idColumn: options.id, metadata: [], dimension: null }
  const partitions = partitionTypes(files)
  const names = new Set(files.flatMap(({ footer }) => [...footer.columns.keys()]))
  for (const name of partitions.keys()) names.add(name)
  const idColumn = decideId(files, names, partitions, options.id)
  const vectorColumn = await decideVector(files, options.vector, idColumn, { signal })
  const wanted =
    options.columns ??
    [...names].filter((name) => name !== idColumn && name !== vectorColumn && !onlyVectors(files, name))
  const metadata = wanted.map((name) => {
    if (!names.has(name))
      throw unsupported('columns', `there is no column ${JSON.stringify(name)}; there are ${list([...names])}`)
    return { name, type: partitions.get(name) ?? joinColumn(files, name) }
  })
  return { vectorColumn, idColumn, metadata, dimension: await findDimension(files, vectorColumn, { signal }) }
}

const list = (names: readonly string[]): string => names.map((name) => JSON.stringify(name)).join(', ')

const unsupported = (field: string, message: string): GatewayError =>
  new GatewayError('LG_UNSUPPORTED', `parquet source: ${message}`, { field })

/** Other vector columns are not metadata unless they are asked for: they would fill every answer. */
const onlyVectors = (files: readonly FileWithFooter[], name: string): boolean =>
  typesOf(files, name).length > 0 && typesOf(files, name).every(({ type }) => isVectorCandidate(type))

function typesOf(files: readonly FileWithFooter[], name: string): { file: ParquetFile; type: DuckDBType }[] {
  return files.flatMap(({ file, footer }) => {
    const type = footer.columns.get(name)
    return type === undefined ? [] : [{ file, type }]
  })
}

function joinColumn(files: readonly FileWithFooter[], name: string): StoredType {
  let joined: StoredType | null = null
  for (const { file, type } of typesOf(files, name)) {
    const stored = storedType(type)
    const both: StoredType | null = joined === null ? stored : joinTypes(joined, stored)
    if (both === null)
      throw unsupported(
        'columns',
        `column ${JSON.stringify(name)} is ${type} in ${file.name} and ${joined?.kind} in files before it; ` +
          'leave it out with the option "columns", or write the files with one type',
      )
    joined = both
  }
  return joined ?? { kind: 'string' }
}

/** Path columns are integers when every value is one, else strings. */
function partitionTypes(files: readonly FileWithFooter[]): Map<string, StoredType> {
  const types = new Map<string, StoredType>()
  for (const name of new Set(files.flatMap(({ file }) => [...file.partition.keys()]))) {
    const values = files.map(({ file }) => file.partition.get(name)).filter((value) => typeof value === 'string')
    const isInteger = values.length > 0 && values.every((value) => /^-?\d{1,18}$/.test(value))
    types.set(name, isInteger ? { kind: 'int', unsigned: false } : { kind: 'string' })
  }
  return types
}

function decideId(
  files: readonly FileWithFooter[],
  names: ReadonlySet<string>,
  partitions: ReadonlyMap<string, StoredType>,
  named: string | null,
): string | null {
  const name = named ?? idNames.find((candidate) => names.has(candidate) && !partitions.has(candidate)) ?? null
  if (name === null) return null
  if (!names.has(name) || partitions.has(name))
    throw unsupported('id', `there is no column ${JSON.stringify(name)} in the files; there are ${list([...names])}`)
  const kinds = new Map<string, string>()
  for (const { file, type } of typesOf(files, name)) {
    const kind = idKind(type)
    if (kind === null)
      throw unsupported(
        'id',
        `column ${JSON.stringify(name)} of ${file.name} is ${type}, which cannot be an id; expected integers up to 64 bits, ` +
          'text, UUID or binary. Name another column with the option "id"',
      )
    kinds.set(kind, file.name)
  }
  if (kinds.size > 1)
    throw unsupported(
      'id',
      `column ${JSON.stringify(name)} holds integers in some files and text in others (${[...kinds.values()].join(', ')})`,
    )
  return name
}

/** Whether ids of this type are integers or text; null when they can be neither. */
function idKind(type: DuckDBType): 'int' | 'text' | null {
  const name = type.toString()
  if (/^U?(TINYINT|SMALLINT|INTEGER|BIGINT)$/.test(name)) return 'int'
  return /^(VARCHAR|UUID|BLOB|ENUM\(.*)$/.test(name) ? 'text' : null
}

/** SQL that reads an id column as BIGINT, UBIGINT or VARCHAR. */
export function selectId(reference: string, type: DuckDBType): string {
  if (type.toString() === 'BLOB') return `lower(hex(${reference}))`
  if (type.toString() === 'UBIGINT') return reference
  return idKind(type) === 'int' ? `${reference}::BIGINT` : `${reference}::VARCHAR`
}

async function decideVector(
  files: readonly FileWithFooter[],
  named: string | null,
  idColumn: string | null,
  { signal }: CallOptions,
): Promise<string> {
  const names = [...new Set(files.flatMap(({ footer }) => [...footer.columns.keys()]))]
  if (named !== null) {
    const types = typesOf(files, named)
    if (types.length === 0)
      throw unsupported('vector', `there is no column ${JSON.stringify(named)}; there are ${list(names)}`)
    for (const { file, type } of types)
      if (vectorEncoding(type) === null)
        throw unsupported(
          'vector',
          `column ${JSON.stringify(named)} of ${file.name} is ${type}; expected a list of numbers, float32 bytes or text`,
        )
    return named
  }
  const lists = names.filter((name) => typesOf(files, name).some(({ type }) => isVectorCandidate(type)))
  const candidates = lists.length > 0 ? lists : await sampleCandidates(files, names, idColumn, { signal })
  if (candidates.length === 1) return candidates[0]!
  if (candidates.length > 1)
    throw unsupported(
      'vector',
      `columns ${list(candidates)} could each be the vector; name one with the option "vector"`,
    )
  throw unsupported(
    'vector',
    `no column holds vectors (a list of float, double, int8 or uint8; float32 bytes; text like "[0.1, 0.2]"); there are ${list(names)}`,
  )
}

/** Columns of bytes or text whose first values all read as vectors of one length. */
async function sampleCandidates(
  files: readonly FileWithFooter[],
  names: readonly string[],
  idColumn: string | null,
  { signal }: CallOptions,
): Promise<readonly string[]> {
  const { file, footer } = files.find(({ footer }) => footer.rows > 0) ?? files[0]!
  const candidates: string[] = []
  for (const name of names) {
    const type = footer.columns.get(name)
    if (name === idColumn || type === undefined) continue
    const encoding = vectorEncoding(type)
    if (encoding !== 'blob' && encoding !== 'text') continue
    const reference = quoteIdentifier(name)
    const values = encoding === 'blob' ? reference : `encode(${reference})`
    const sample = await sampleColumn(file, `${values}`, `${reference} IS NOT NULL`, 100, { signal })
    if (looksLikeVectors(sample, encoding)) candidates.push(name)
  }
  return candidates
}

function looksLikeVectors(sample: readonly unknown[], encoding: 'blob' | 'text'): boolean {
  const lengths = new Set<number>()
  for (const value of sample) {
    const { bytes } = value as { readonly bytes: Uint8Array }
    const numbers =
      encoding === 'blob'
        ? bytes.length % 4 === 0
          ? blobNumbers(bytes)
          : null
        : parseVectorText(Buffer.from(bytes).toString())
    if (numbers === null || numbers.length < 2) return false
    // Random bytes (digests, keys) are soon an enormous float or none at all.
    if (encoding === 'blob' && !numbers.every((x) => x === 0 || (Math.abs(x) > 1e-20 && Math.abs(x) < 1e20)))
      return false
    lengths.add(numbers.length)
  }
  return lengths.size === 1
}

async function sampleColumn(
  file: ParquetFile,
  expression: string,
  condition: string,
  rows: number,
  { signal }: CallOptions,
): Promise<readonly unknown[]> {
  try {
    const sql = `SELECT ${expression} FROM ${parquetScan(file.path)} WHERE ${condition} LIMIT ${rows}`
    return (await queryTable(sql, { signal })).rows.map(([value]) => value)
  } catch (error) {
    throw await explainFailure(error, file, signal)
  }
}

/** The most common length among the first vectors; null when no file has one. */
async function findDimension(
  files: readonly FileWithFooter[],
  vectorColumn: string,
  { signal }: CallOptions,
): Promise<number | null> {
  const counts = new Map<number, number>()
  let sampled = 0
  for (const [index, { file, footer }] of files.entries()) {
    if (sampled > 0 && (sampled >= sampleRows || index >= 4)) break
    const type = footer.columns.get(vectorColumn)
    if (type === undefined) continue
    for (const length of await sampleLengths(file, vectorColumn, type, sampleRows - sampled, { signal })) {
      counts.set(length, (counts.get(length) ?? 0) + 1)
      sampled++
    }
  }
  let best: number | null = null
  for (const [length, count] of counts) {
    if (length > 0 && (best === null || count > counts.get(best)!)) best = length
  }
  return best
}

async function sampleLengths(
  file: ParquetFile,
  column: string,
  type: DuckDBType,
  rows: number,
  { signal }: CallOptions,
): Promise<readonly number[]> {
  const reference = quoteIdentifier(column)
  const encoding = vectorEncoding(type)
  const expression =
    encoding === 'text' ? reference : encoding === 'blob' ? `octet_length(${reference}) // 4` : `len(${reference})`
  const values = await sampleColumn(file, expression, `${reference} IS NOT NULL`, rows, { signal })
  return values.flatMap((value) => {
    const length = encoding === 'text' ? parseVectorText(String(value))?.length : Number(value)
    return length === undefined ? [] : [length]
  })
}
