import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import type { Dataset } from './dataset.js'
import { type Measurement, percentile } from './measure.js'

/** The report of `lakegate bench … --json`; field names are those of the file. */
export interface Report {
  readonly machine: Readonly<Record<string, string | number>>
  readonly commit: string | null
  readonly seed: number
  readonly dataset: {
    readonly name: string
    readonly n: number
    readonly dim: number
    readonly metric: string
    readonly queries: number
    readonly k: number
  }
  readonly rows: readonly ReportRow[]
  /** Peers that were asked for and could not run, and why. */
  readonly not_run: readonly { readonly engine: string; readonly reason: string }[]
}

export interface ReportRow {
  readonly engine: string
  readonly mode: string
  readonly threads: number
  readonly recall_at_k: number
  /** 1 / median latency for one query at a time; completed queries a second where several are in flight. */
  readonly qps: number
  readonly p50_us: number
  readonly p95_us: number
  readonly p99_us: number
  readonly build_ms: number
  readonly first_query_ms: number
  readonly bytes_per_vector: number | null
  readonly certificate: {
    readonly kind: string
    readonly claimed: number
    readonly violations: number
    readonly queries: number
  } | null
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits))

export function reportRow(measured: Measurement, dataset: Dataset): ReportRow {
  const { engine, latenciesUs } = measured
  const p50 = percentile(latenciesUs, 0.5)
  return {
    engine: engine.name,
    mode: engine.mode,
    threads: engine.threads,
    recall_at_k: round(measured.recall, 5),
    qps: round(1e6 / p50, 1),
    p50_us: round(p50, 1),
    p95_us: round(percentile(latenciesUs, 0.95), 1),
    p99_us: round(percentile(latenciesUs, 0.99), 1),
    build_ms: round(engine.buildMs, 1),
    first_query_ms: round(engine.firstQueryMs, 2),
    bytes_per_vector: engine.bytesPerVector === null ? null : round(engine.bytesPerVector, 1),
    certificate:
      engine.claim === null ? null : { ...engine.claim, violations: measured.imperfect, queries: dataset.queryCount },
  }
}

export const describeDataset = (dataset: Dataset, k: number): Report['dataset'] => ({
  name: dataset.name,
  n: dataset.count,
  dim: dataset.dimension,
  metric: dataset.metric,
  queries: dataset.queryCount,
  k,
})

export function describeMachine(): Report['machine'] {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    os: `${process.platform} ${release()}`,
    node: process.versions.node,
  }
}

/** The commit that is checked out, or null outside a repository. */
export function currentCommit(directory: string): string | null {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { cwd: directory, encoding: 'utf8', stdio: 'pipe' }).trim()
  } catch {
    return null // an installed package has no history
  }
}

export function renderReport(report: Report): string {
  const head = [
    'engine',
    'mode',
    'threads',
    'recall',
    'qps',
    'p50 us',
    'p95 us',
    'p99 us',
    'build ms',
    'first ms',
    'B/vector',
  ]
  const cells = report.rows.map((row) =>
    [
      row.engine,
      row.mode,
      row.threads,
      row.recall_at_k,
      row.qps,
      row.p50_us,
      row.p95_us,
      row.p99_us,
      row.build_ms,
      row.first_query_ms,
      row.bytes_per_vector ?? '-',
    ].map(String),
  )
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((line) => line[i]!.length)))
  const line = (values: readonly string[]): string =>
    values.map((value, i) => (i < 2 ? value.padEnd(widths[i]!) : value.padStart(widths[i]!))).join('  ')
  const { name, n, dim, metric, queries, k } = report.dataset
  const missing = report.not_run.map(({ engine, reason }) => `not run: ${engine}: ${reason}`)
  return [
    `${name}: ${n} x ${dim}, ${metric}, ${queries} queries, k = ${k}`,
    line(head),
    ...cells.map(line),
    ...missing,
  ].join('\n')
}
