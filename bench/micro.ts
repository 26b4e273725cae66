/** The hot functions one by one, on data that is already in memory; one row a function. */
import { tableFromArrays } from 'apache-arrow'
import { evaluateFilter } from '#lakegate/cache/filter.js'
import { joinMetadata } from '#lakegate/cache/metadata-arrow.js'
import type { Column } from '#lakegate/core/column.js'
import { backendId } from '#lakegate/core/generation.js'
import type { Hit } from '#lakegate/core/hit.js'
import { parseJson } from '#lakegate/core/json.js'
import { parsePredicate } from '#lakegate/core/predicate.js'
import { bindPredicate } from '#lakegate/core/predicate-bind.js'
import { evaluatePredicate } from '#lakegate/core/predicate-evaluate.js'
import { mergeTopK } from '#lakegate/federation/merge.js'
import { answerJson } from '#lakegate/server/answer-json.js'
import { parseQuery, parseRawQuery } from '#lakegate/server/parse-query.js'
import { type Dataset, row } from './dataset.js'
import { openGateway, searchFor } from './lakegate.js'
import { refusal } from './refusal.js'
import { type ReportRow, timingRow } from './report.js'
import type { DatasetSuite } from './suite.js'

/** Rows of the scans and the filters: figures are per this many. */
const rowsMax = 10_000
const listCount = 4
const rules = { kMax: 10_000, deadlineMs: 10_000 }

interface Task {
  readonly mode: string
  run(): unknown
}

/** tinybench is a development dependency, so an installed package may lack it. */
async function loadTinybench(): Promise<typeof import('tinybench')> {
  try {
    return await import('tinybench')
  } catch (cause) {
    throw refusal(`micro: tinybench cannot be loaded (${(cause as Error).message}); npm install tinybench`)
  }
}

export const microSuite: DatasetSuite = async (whole, options, say) => {
  const { Bench } = await loadTinybench()
  const count = Math.min(rowsMax, whole.count)
  const dataset: Dataset = { ...whole, count, base: whole.base.subarray(0, count * whole.dimension) }
  const { k } = options
  const opened = await openGateway(dataset, { workers: 0, seed: options.seed })
  try {
    const { signal } = new AbortController()
    const query = row(dataset.queries, dataset.dimension, 0)
    const answer = await opened.gateway.search(searchFor(query, k), { signal })
    const recalls = { exact: { kind: 'exact' }, certified: { kind: 'certified', missProbability: 1e-6 } } as const
    const tasks: Task[] = [
      ...Object.entries(recalls).map(([name, recall]) => ({
        mode: `search ${name}, ${count} rows`,
        run: () => opened.gateway.search(searchFor(query, k, { recall }), { signal }),
      })),
      ...filterTasks(count),
      ...mergeTasks(k),
      ...parseTasks(query, k),
      { mode: `answer to JSON, k = ${k}`, run: () => answerJson(answer) },
    ]
    // Samples are kept for the percentiles of the report.
    const bench = new Bench({ time: (options.seconds * 1000) / tasks.length, retainSamples: true })
    for (const { mode, run } of tasks) bench.add(mode, run)
    say(`${tasks.length} functions, ${options.seconds} s`)
    await bench.run()
    const rows = bench.tasks.map(({ name, result }): ReportRow => {
      if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`)
      return timingRow(
        name,
        (result.latency.samples ?? []).map((ms) => ms * 1000),
      )
    })
    return { rows, not_run: [] }
  } finally {
    await opened.close()
  }
}

function filterTasks(count: number): Task[] {
  const columns: readonly Column[] = [{ name: 'thousandth', type: { kind: 'int' } }]
  const values = BigInt64Array.from({ length: count }, (_, i) => BigInt((i * 7919) % 1000))
  const metadata = joinMetadata(columns, tableFromArrays({ thousandth: values }).batches)
  const filter = { and: [{ thousandth: { lt: 100 } }, { not: { thousandth: { in: [3, 5, 7] } } }] }
  const bound = bindPredicate(parsePredicate(filter), columns)
  return [
    { mode: `filter vectorised, ${count} rows`, run: () => evaluateFilter(bound, metadata, count) },
    {
      mode: `filter reference, ${count} rows`,
      run() {
        let passed = 0
        for (let i = 0; i < count; i++) if (evaluatePredicate(bound, () => values[i]!) === true) passed++
        return passed
      },
    },
  ]
}

function mergeTasks(k: number): Task[] {
  const lists = Array.from({ length: listCount }, (_, list) =>
    Array.from({ length: k }, (_, i): Hit => {
      const id = BigInt(i * listCount + list)
      return { distance: Number(id), backend: backendId(`b${list}`), collection: 'c', id, part: 'p', row: i }
    }),
  )
  return [{ mode: `merge ${listCount} lists of ${k}`, run: () => mergeTopK(lists, k) }]
}

/** @param query float32[dimension] */
function parseTasks(query: Float32Array, k: number): Task[] {
  const json = Buffer.from(JSON.stringify({ vector: Array.from(query), k }))
  const raw = new Uint8Array(query.slice().buffer)
  return [
    { mode: `parse JSON query, ${query.length} numbers`, run: () => parseQuery(parseJson(json), rules) },
    { mode: `parse raw query, ${query.length} numbers`, run: () => parseRawQuery(raw, { k: String(k) }, rules) },
  ]
}
