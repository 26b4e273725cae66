/**
 * From a Parquet file never seen to the first answer of a running server, beside DuckDB reading the same column into memory;
 * then the same server started again over its cache directory.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import { request } from 'undici'
import { type Dataset, row } from './dataset.js'
import { timed } from './engine.js'
import { writeParquet } from './parquet-file.js'
import { type ReportRow, timingRow } from './report.js'
import type { Suite } from './suite.js'

const main = fileURLToPath(new URL('../cli/main.js', import.meta.url))
const rounds = 3

export const coldSuite: Suite = async (dataset, options, say) => {
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
  const args = [main, 'serve', path, '--port', '0', '--cache-dir', cacheDirectory, '--metric', dataset.metric]
  const child = spawn(process.execPath, [...args, '--log-level', 'error'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
    const url = line.replace('lakegate listening on ', '')
    const vector = Array.from(row(dataset.queries, dataset.dimension, 0))
    const answer = await timed(async () => {
      const body = JSON.stringify({ vector, k, deadline_ms: 600_000 })
      const headers = { 'content-type': 'application/json' }
      const reply = await request(`${url}/v1/query`, { method: 'POST', headers, body })
      const text = await reply.body.text()
      if (reply.statusCode !== 200) throw new Error(`first answer: ${reply.statusCode} ${text}`)
    })
    return answer.ms
  } finally {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'exit')
  }
}

function coldRow(engine: string, mode: string, samplesMs: readonly number[]): ReportRow {
  const row = timingRow(
    mode,
    samplesMs.map((ms) => ms * 1000),
    { engine },
  )
  return { ...row, first_query_ms: row.p50_us / 1000 }
}
