/** Small Parquet files for tests, written by DuckDB. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'

/** Runs SQL statements in a DuckDB of their own. */
export async function runDuckDB(...statements: readonly string[]): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '2' })
  const connection = await instance.connect()
  try {
    for (const statement of statements) await connection.run(statement)
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

/** Writes a query's rows as one Parquet file. */
export const writeParquet = (path: string, query: string, options = ''): Promise<void> =>
  runDuckDB(`COPY (${query}) TO '${path.replaceAll("'", "''")}' (FORMAT parquet${options})`)

export interface Scratch {
  readonly path: (name: string) => string
  remove(): Promise<void>
}

export async function makeScratch(): Promise<Scratch> {
  const directory = await mkdtemp(join(tmpdir(), 'lakegate-test-'))
  return { path: (name) => join(directory, name), remove: () => rm(directory, { recursive: true, force: true }) }
}
