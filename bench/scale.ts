/**
 * More rows than memory should hold: Parquet files drawn and written one by one, a server with less memory than the vectors
 * take, and what it answers, how fast and within how many resident bytes.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clusteredRows, type Dataset, row } from './dataset.js'
import { writeParquet } from './parquet-file.js'
import { type Near, nearer } from './recall.js'
import { describeDataset, type ReportRow, round, timingRow } from './report.js'
import { type Served, serve } from './served.js'
import type { Suite } from './suite.js'

const rowsPerFile = 1_000_000
/** Of the bytes of the vectors, what the cache may take: enough for codes, too little for the originals. */
const memoryShare = 0.75
/** Less would leave no room to build in. */
const memoryBytesMin = 2 ** 28
const contracts = ['exact', 0.99] as const

export const scaleSuite: Suite = async ({ count, dimension, seed, queryCount, k }, say) => {
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-'))
  try {
    const draw = clusteredRows(seed, dimension)
    const queries = draw(queryCount)
    const nearest = Array.from({ length: queryCount }, (): Near[] => [])
    const path = join(directory, 'rows')
    mkdirSync(path)
    const empty = new Float32Array(0)
    const whole: Dataset = {
      ...{ name: 'clustered', metric: 'l2', dimension, count, base: empty },
      ...{ queries, queryCount, tuning: empty },
    }
    for (let firstId = 0; firstId < count; firstId += rowsPerFile) {
      const rows = Math.min(rowsPerFile, count - firstId)
      say(`rows ${firstId} to ${firstId + rows}`)
      const chunk = { ...whole, count: rows, base: draw(rows) }
      nearer(nearest, chunk, { k, firstId, allowed: () => true })
      await writeParquet(join(path, `${firstId}.parquet`), chunk, firstId)
    }
    const memoryBytes = Math.max(memoryBytesMin, memoryShare * count * dimension * 4)
    const cacheDirectory = join(directory, 'cache')
    const server = await serve({ path, cacheDirectory, metric: 'l2', memoryBytes })
    try {
      const rows = await askAll(server, whole, nearest, say)
      return { dataset: describeDataset(whole, k), rows, not_run: [] }
    } finally {
      await server.stop()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function askAll(
  server: Served,
  dataset: Dataset,
  nearest: readonly (readonly Near[])[],
  say: (line: string) => void,
): Promise<ReportRow[]> {
  const k = nearest[0]!.length
  say('first answer')
  await server.ask(row(dataset.queries, dataset.dimension, 0), k)
  const readyMs = performance.now() - server.startedMs
  say(`after ${Math.round(readyMs / 1000)} s; settling`)
  await server.settled()
  const settledMs = performance.now() - server.startedMs
  const samples = contracts.map((): number[] => [])
  const hits = contracts.map(() => 0)
  let imperfect = 0
  for (let q = 0; q < dataset.queryCount; q++) {
    const truth = new Set(nearest[q]!.map(({ id }) => id))
    for (const [i, contract] of contracts.entries()) {
      const begun = performance.now()
      const ids = await server.ask(row(dataset.queries, dataset.dimension, q), k, contract)
      samples[i]!.push((performance.now() - begun) * 1000)
      const right = ids.filter((id) => truth.has(id)).length
      hits[i]! += right
      if (contract === 'exact' && right < k) imperfect++
    }
  }
  const memory = residentBytes(server.pid)
  return contracts.map((contract, i) =>
    timingRow(`${contract}, over HTTP`, samples[i]!, {
      settings: `index settled after ${Math.round(settledMs / 1000)} s; resident ${gib(memory.now)}, at most ${gib(memory.most)}`,
      recall_at_k: round(hits[i]! / (k * dataset.queryCount), 5),
      build_ms: round(readyMs, 1),
      bytes_per_vector: round(memory.most / dataset.count, 1),
      certificate:
        contract === 'exact'
          ? { kind: 'proven', claimed: 0, violations: imperfect, queries: dataset.queryCount }
          : null,
    }),
  )
}

const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`

/** Of the whole process, as Linux counts it; `most`: at any time. */
function residentBytes(pid: number): { readonly now: number; readonly most: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const read = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
  return { now: read('VmRSS'), most: read('VmHWM') }
}
