/**
 * From a Parquet file never seen to the first answer of a running server, beside DuckDB reading the same column into memory;
 * then the same server started again over its cache directory.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { type Dataset, row } from './dataset.js'
import { timed } from './engine.js'
import { writeParquet } from './parquet-file.js'
import { type ReportRow, round, timingRow } from './report.js'
import { serve } from './served.js'
import type { DatasetSuite } from './suite.js'

const rounds = 3

export const coldSuite: DatasetSuite = async (dataset, options, say) => {
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-'))
  const samples: Record<'duckdb' | 'cold' | 'restart', number[]> = { duckdb: [], cold: [], restart: [] }
  try {
    const path = join(directory, 'rows.parquet')
    say('writing the Parquet file')
    await writeParquet(path, dataset)
    for (let round = 0; round < rounds; round++) {
      samples.duckdb.push((await timed(() => readWithDuckDb(path, dataset.dimension))).ms)
      const cache = join(directory, `cache-${round}`)
      samples.cold.push(await firstAnswerMs(path, cache, dataset, options.k))
      samples.restart.push(await firstAnswerMs(path, cache, dataset, options.k))
      say(`round ${round + 1} of ${rounds}`)
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
  const rows = [
    coldRow('duckdb', 'read the column', samples.duckdb),
    coldRow('lakegate', 'first answer, never seen', samples.cold),
    coldRow('lakegate', 'first answer, after restart', samples.restart),
  ]
  return { rows, not_run: [] }
}

async function readWithDuckDb(path: string, dimension: number): Promise<number> {
  const instance = await DuckDBInstance.create()
  const connection = await instance.connect()
  const result = await connection.run(`SELECT embedding::FLOAT[${dimension}] FROM read_parquet('${path}')`)
  let rows = 0
  for (const chunk of await result.fetchAllChunks()) {
    chunk.getColumnVector(0)
    rows += chunk.rowCount
  }
  connection.closeSync()
  instance.closeSync()
  return rows
}

/** Milliseconds from the ready line of a fresh server to its first answer. */
async function firstAnswerMs(path: string, cacheDirectory: string, dataset: Dataset, k: number): Promise<number> {
  const memoryBytes = Math.max(2 ** 31, 4 * dataset.base.byteLength)
  const server = await serve({ path, cacheDirectory, metric: dataset.metric, memoryBytes })
  try {
    return (await timed(() => server.ask(row(dataset.queries, dataset.dimension, 0), k))).ms
  } finally {
    await server.stop()
  }
}

function coldRow(engine: string, mode: string, samplesMs: readonly number[]): ReportRow {
  const row = timingRow(
    mode,
    samplesMs.map((ms) => ms * 1000),
    { engine },
  )
  return { ...row, first_query_ms: round(row.p50_us / 1000, 2) }
}
