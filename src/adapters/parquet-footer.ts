/** What a Parquet file's footer says: columns and rows, without reading data. */
import type { DuckDBType } from '@duckdb/node-api'
import { type ErrorCode, GatewayError } from '../core/errors.js'
import { parquetScan, queryTable } from './duckdb-session.js'
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

export async function readFooter(file: ParquetFile, { signal }: CallOptions): Promise<Footer> {
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
