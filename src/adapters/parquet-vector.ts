/** Finding the vector column of a Parquet source, and its dimension, mostly from footers. */
import type { DuckDBType } from '@duckdb/node-api'
import { parquetScan, pathLiteral, queryTable, quoteIdentifier, quoteText } from './duckdb-session.js'
import type { ParquetFile } from './parquet-files.js'
import { explainFailure, type FileWithFooter, quoteNames, typesOf, unsupported } from './parquet-footer.js'
import { blobNumbers, isVectorCandidate, parseVectorText, vectorEncoding } from './vector-column.js'

interface CallOptions {
  readonly signal: AbortSignal
}

/** Rows looked at to find the dimension. */
const sampleRows = 1000
/** Rows that must agree with the average of a footer before it is believed. */
const confirmRows = 100

/** The vector column: the one named, the only list of numbers, or the only bytes or text that read as vectors. */
export async function decideVector(
  files: readonly FileWithFooter[],
  named: string | null,
  idColumn: string | null,
  { signal }: CallOptions,
): Promise<string> {
  const names = [...new Set(files.flatMap(({ footer }) => [...footer.columns.keys()]))]
  const column = named ?? (await detectVector(files, names, idColumn, { signal }))
  const types = typesOf(files, column)
  if (types.length === 0)
    throw unsupported('vector', `there is no column ${JSON.stringify(column)}; there are ${quoteNames(names)}`)
  for (const { file, type } of types)
    if (vectorEncoding(type) === null)
      throw unsupported(
        'vector',
        `column ${JSON.stringify(column)} of ${file.name} is ${type}; expected a list of numbers, float32 bytes or text`,
      )
  return column
}

async function detectVector(
  files: readonly FileWithFooter[],
  names: readonly string[],
  idColumn: string | null,
  { signal }: CallOptions,
): Promise<string> {
  const lists = names.filter((name) => typesOf(files, name).some(({ type }) => isVectorCandidate(type)))
  const candidates = lists.length > 0 ? lists : await sampleCandidates(files, names, idColumn, { signal })
  if (candidates.length === 1) return candidates[0]!
  if (candidates.length > 1)
    throw unsupported(
      'vector',
      `columns ${quoteNames(candidates)} could each be the vector; name one with the option "vector"`,
    )
  throw unsupported(
    'vector',
    'no column holds vectors (a list of float, double, int8 or uint8; float32 bytes; text like "[0.1, 0.2]"); ' +
      `there are ${quoteNames(names)}`,
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
  const sql = `SELECT ${expression} FROM ${parquetScan(file.path)} WHERE ${condition} LIMIT ${rows}`
  return await queryParquet(file, sql, { signal })
}

/** The first column of a query over one file. */
async function queryParquet(file: ParquetFile, sql: string, { signal }: CallOptions): Promise<readonly unknown[]> {
  try {
    return (await queryTable(sql, { signal })).rows.map(([value]) => value)
  } catch (error) {
    throw await explainFailure(error, file, signal)
  }
}

/** The most common length among the first vectors; null when no file has one. */
export async function findDimension(
  files: readonly FileWithFooter[],
  vectorColumn: string,
  onBadRow: 'refuse' | 'skip',
  { signal }: CallOptions,
): Promise<number | null> {
  const counts = new Map<number, number>()
  let sampled = 0
  for (const [index, { file, footer }] of files.entries()) {
    if (sampled > 0 && (sampled >= sampleRows || index >= 4)) break
    const type = footer.columns.get(vectorColumn)
    if (type === undefined) continue
    const even = footer.rows < sampleRows ? null : await footerLength(file, vectorColumn, type, onBadRow, { signal })
    if (even !== null) {
      counts.set(even, (counts.get(even) ?? 0) + footer.rows)
      sampled += footer.rows
      continue
    }
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

/**
 * The length that a file's footer tells, else null. Ragged rows may average a whole number: where they are not refused
 * anyway, the first ones must agree.
 */
async function footerLength(
  file: ParquetFile,
  column: string,
  type: DuckDBType,
  onBadRow: 'refuse' | 'skip',
  { signal }: CallOptions,
): Promise<number | null> {
  const even = await evenLength(file, column, type, { signal })
  if (even === null || onBadRow === 'refuse') return even
  const first = await sampleLengths(file, column, type, confirmRows, { signal })
  return first.every((length) => length === even) ? even : null
}

/**
 * The length of a file's lists when its footer counts the same whole number of elements a row in every row group, else
 * null. Reading the first rows instead can decompress the whole column: some writers make one page of it.
 */
async function evenLength(
  file: ParquetFile,
  column: string,
  type: DuckDBType,
  { signal }: CallOptions,
): Promise<number | null> {
  if (vectorEncoding(type) !== 'list') return null
  const groups = await queryParquet(
    file,
    `SELECT num_values / row_group_num_rows FROM parquet_metadata(${pathLiteral(file.path)})
     WHERE starts_with(path_in_schema, ${quoteText(`${column}, `)}) AND row_group_num_rows > 0`,
    { signal },
  )
  const lengths = new Set(groups.map(Number))
  const [length] = lengths
  return lengths.size === 1 && Number.isInteger(length) && length! > 1 ? length! : null
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
