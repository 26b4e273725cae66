/** The one in-memory DuckDB of the process: loaded on first use, a connection for each query, nothing but reads. */
import { availableParallelism } from 'node:os'
import type { DuckDBConnection, DuckDBDataChunk, DuckDBInstance, DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { GatewayError } from '../core/errors.js'

interface CallOptions {
  readonly signal: AbortSignal
}

/**
 * Extensions are never fetched; the file cache is off because it would serve a replaced file's old bytes; without a
 * temporary directory nothing is spilled beside the process. Its allocator keeps what was read with until a thread of its own
 * gives that back: 330 MB after 50,000 rows of 768 dimensions.
 */
const settings = {
  threads: String(Math.min(4, availableParallelism())),
  memory_limit: '2GiB',
  temp_directory: '',
  preserve_insertion_order: 'true',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
  allow_community_extensions: 'false',
  enable_external_file_cache: 'false',
  allocator_background_threads: 'true',
}

let instance: Promise<DuckDBInstance> | undefined

async function open(): Promise<DuckDBInstance> {
  const { DuckDBInstance } = await import('@duckdb/node-api')
  const opened = await DuckDBInstance.create(':memory:', settings)
  const connection = await opened.connect()
  try {
    // Timestamps inside JSON are written in the session's zone, which must not be the machine's.
    await connection.run("SET GLOBAL TimeZone = 'UTC'")
  } finally {
    connection.closeSync()
  }
  return opened
}

/** Loads DuckDB, once a process (about 0.1 s), so that no query waits for it. */
export async function loadDuckDB(): Promise<DuckDBInstance> {
  instance ??= open()
  try {
    return await instance
  } catch (cause) {
    instance = undefined
    throw new GatewayError('LG_SOURCE_UNAVAILABLE', `DuckDB, which reads Parquet, could not be loaded: ${cause}`, {
      cause,
    })
  }
}

async function connect(): Promise<DuckDBConnection> {
  return await (await loadDuckDB()).connect()
}

export const quoteIdentifier = (name: string): string => `"${name.replaceAll('"', '""')}"`
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`

/** A path that DuckDB takes literally: it would expand glob characters. */
export const pathLiteral = (path: string): string =>
  quoteText(path.replace(/[[\]*?{}]/g, (character) => `[${character}]`))

/** The rows of one file. `key=value` directories of its path are no columns. */
export const parquetScan = (path: string): string => `read_parquet(${pathLiteral(path)}, hive_partitioning = false)`

/** DuckDB's largest chunk. */
export const chunkRowsMax = 2048

/**
 * Result chunks of about 2,048 rows in order, the next one being read while one is used. A chunk's memory is DuckDB's:
 * copy what is kept before asking for the next. An abort interrupts the query and rejects with the signal's reason.
 *
 * A query that fails while it is streamed only ends early: @duckdb/node-api does not tell a failure from the end.
 * @param rows  how many the query must yield; when there are fewer it is asked again for the reason, and throws
 */
export async function* streamChunks(
  sql: string,
  rows: number,
  { signal }: CallOptions,
): AsyncGenerator<DuckDBDataChunk, void> {
  signal.throwIfAborted()
  const connection = await connect()
  const interrupt = () => connection.interrupt()
  signal.addEventListener('abort', interrupt)
  let pending: Promise<DuckDBDataChunk | null> | undefined
  try {
    // One chunk is there whole either way, a third cheaper so.
    const result = await (rows <= chunkRowsMax ? connection.run(sql) : connection.stream(sql))
    signal.throwIfAborted()
    const fetchNext = () => {
      const next = result.fetchChunk()
      // It may fail while the consumer is busy; the failure is met when the consumer comes back.
      next.catch(() => undefined)
      return next
    }
    pending = fetchNext()
    let seen = 0
    for (;;) {
      const chunk = await pending
      signal.throwIfAborted()
      if (chunk === null || chunk.rowCount === 0) break
      seen += chunk.rowCount
      if (seen > rows) throw new RangeError(`expected ${rows} rows, got at least ${seen}`)
      pending = fetchNext()
      yield chunk
      signal.throwIfAborted()
    }
    if (seen < rows) {
      // Every column of every row is computed again, and none kept.
      await queryTable(`SELECT bit_xor(hash(t)) FROM (${sql}) t`, { signal })
      throw new RangeError(`expected ${rows} rows, got ${seen}`)
    }
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', interrupt)
    interrupt()
    // Its outcome no longer matters, but the connection must not be closed under it.
    await pending?.catch(() => undefined)
    connection.closeSync()
  }
}

interface Table {
  readonly names: readonly string[]
  readonly types: readonly DuckDBType[]
  readonly rows: readonly (readonly DuckDBValue[])[]
}

/** A small result, whole. */
export async function queryTable(sql: string, { signal }: CallOptions): Promise<Table> {
  signal.throwIfAborted()
  const connection = await connect()
  const interrupt = () => connection.interrupt()
  signal.addEventListener('abort', interrupt)
  try {
    const result = await connection.run(sql)
    const rows = await result.getRows()
    return { names: result.columnNames(), types: result.columnTypes(), rows }
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', interrupt)
    connection.closeSync()
  }
}
