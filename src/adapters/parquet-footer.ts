/** What a Parquet file's footer says: columns and rows, without reading data. */
import type { DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { type ErrorCode, GatewayError } from '../core/errors.js'
import { sideBySide } from '../core/side-by-side.js'
import { parquetScan, pathLiteral, queryTable } from './duckdb-session.js'
import { isUnchanged, type ParquetFile } from './parquet-files.js'

interface CallOptions {
  readonly signal: AbortSignal
}

export interface Footer {
  readonly columns: ReadonlyMap<string, DuckDBType>
  readonly rows: number
}

export interface FileWithFooter {
  readonly file: ParquetFile
  readonly footer: Footer
}

/** A column's type in each file that has it. */
export function typesOf(files: readonly FileWithFooter[], name: string): { file: ParquetFile; type: DuckDBType }[] {
  return files.flatMap(({ file, footer }) => {
    const type = footer.columns.get(name)
    return type === undefined ? [] : [{ file, type }]
  })
}

/** Files whose footers are read by one query. */
const batchFiles = 256
/** Footers read at a time, where each takes queries of its own. */
const singleRoom = { count: 8, weight: 8 }

/** In the order of the files. Throws for the first file that cannot be read, by name. */
export async function readFooters(files: readonly ParquetFile[], call: CallOptions): Promise<Footer[]> {
  const footers: Footer[] = []
  for (let from = 0; from < files.length; from += batchFiles)
    footers.push(...(await readBatch(files.slice(from, from + batchFiles), call)))
  return footers
}

async function readBatch(files: readonly ParquetFile[], call: CallOptions): Promise<readonly Footer[]> {
  const shapes = files.length === 1 ? null : await readShapes(files, call)
  if (shapes === null)
    return await sideBySide(
      files,
      singleRoom,
      () => 1,
      (file) => readFooter(file, call),
    )
  const columns = new Map<unknown, Footer['columns']>()
  const read = new Array<Footer>(files.length)
  for (const [index, file] of files.entries()) {
    const { shape, rows } = shapes[index]!
    let shared = columns.get(shape)
    if (shared === undefined) {
      shared = (await readFooter(file, call)).columns
      columns.set(shape, shared)
    }
    read[index] = { columns: shared, rows }
  }
  const unchanged = await Promise.all(files.map(isUnchanged))
  const replaced = files.find((_, index) => !unchanged[index])
  if (replaced !== undefined) throw changed(replaced)
  return read
}

/**
 * Rows of each file, and a number that files share whose schemas are the same in every element. Null when one cannot be
 * read: DuckDB does not say which.
 */
async function readShapes(
  files: readonly ParquetFile[],
  { signal }: CallOptions,
): Promise<{ readonly rows: number; readonly shape: DuckDBValue }[] | null> {
  const paths = `[${files.map(({ path }) => pathLiteral(path)).join(', ')}]`
  const elements = `SELECT file_name, column_id, row(*COLUMNS(* EXCLUDE (file_name))) AS element FROM parquet_schema(${paths})`
  const schemas = `SELECT file_name, list(element ORDER BY column_id) AS schema FROM (${elements}) GROUP BY file_name`
  const sql = `SELECT file_name, num_rows, dense_rank() OVER (ORDER BY schema) FROM parquet_file_metadata(${paths}) JOIN (${schemas}) USING (file_name)`
  let found: ReadonlyMap<DuckDBValue, { readonly rows: number; readonly shape: DuckDBValue }>
  try {
    const { rows } = await queryTable(sql, { signal })
    found = new Map(rows.map(([path, count, shape]) => [path!, { rows: Number(count), shape: shape! }]))
  } catch {
    signal.throwIfAborted()
    return null // each file by itself will tell
  }
  const shapes = files.flatMap(({ path }) => found.get(path) ?? [])
  return shapes.length === files.length ? shapes : null
}

async function readFooter(file: ParquetFile, { signal }: CallOptions): Promise<Footer> {
  const scan = parquetScan(file.path)
  try {
    const schema = await queryTable(`SELECT * FROM ${scan} LIMIT 0`, { signal })
    const count = await queryTable(`SELECT count(*) FROM ${scan}`, { signal })
    if (!(await isUnchanged(file))) throw changed(file)
    return {
      columns: new Map(schema.names.map((name, index) => [name, schema.types[index]!])),
      rows: Number(count.rows[0]?.[0]),
    }
  } catch (error) {
    throw await explainFailure(error, file, signal)
  }
}

export const changed = (file: ParquetFile): GatewayError =>
  new GatewayError(
    'LG_GENERATION_EXPIRED',
    `parquet file ${file.path} was replaced, changed or deleted while it was read; ask for the current generation`,
  )

/** What DuckDB's failure to read a file means to a caller. */
export async function explainFailure(error: unknown, file: ParquetFile, signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return signal.reason
  if (error instanceof GatewayError && error.code !== 'LG_BAD_ROW') return error
  if (!(await isUnchanged(file))) return changed(file)
  if (error instanceof GatewayError || error instanceof TypeError) return error
  const message = (error instanceof Error ? error.message : String(error)).split('\n')[0]!
  const code = failures.find(([pattern]) => pattern.test(message))?.[1] ?? 'LG_CORRUPT'
  return new GatewayError(code, `parquet file ${file.path}: ${message}`, { cause: error })
}

/** DuckDB tells its failures apart by how the message begins. */
const failures: readonly (readonly [RegExp, ErrorCode])[] = [
  [/^Out of Memory/, 'LG_OVER_BUDGET'],
  [/^(Conversion|Out of Range|Not implemented|Binder) Error/, 'LG_UNSUPPORTED'],
  [/permission denied|cannot open|input\/output error|too many open files/i, 'LG_SOURCE_UNAVAILABLE'],
]

/** What an option could change. */
export const unsupported = (field: string, message: string): GatewayError =>
  new GatewayError('LG_UNSUPPORTED', `parquet source: ${message}`, { field })

export const quoteNames = (names: Iterable<string>): string => [...names].map((name) => JSON.stringify(name)).join(', ')
