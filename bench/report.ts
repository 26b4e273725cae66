import { execFileSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'
import type { Dataset } from './dataset.js'
import type { Measurement } from './measure.js'
import { percentile } from './percentile.js'

/** The report of `lakegate bench … --json`; field names are those of the file. */
export interface Report {
  readonly suite: string
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
  /** How the engine was built and tuned; null when there is nothing to say. */
  readonly settings: string | null
  readonly threads: number
  readonly recall_at_k: number
  /** 1 / median latency for one query at a time; completed queries a second where several are in flight. */
  readonly qps: number
  readonly p50_us: number
  readonly p95_us: number
  readonly p99_us: number
  /** The lowest and highest qps among the seeds, or among the rounds where there is one seed. */
  readonly qps_spread: readonly [number, number]
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

export const round = (value: number, digits: number): number => Number(value.toFixed(digits))

const median = (values: readonly number[]): number => percentile(Float64Array.from(values).sort(), 0.5)

/** One row for measurements that differ in nothing but the seed: medians of theirs, and all their violations. */
function reportRow(seeds: readonly Measurement[], dataset: Dataset): ReportRow {
  const { engine } = seeds[0]!
  const over = (fraction: number): number =>
    round(median(seeds.map(({ latenciesUs }) => percentile(latenciesUs, fraction))), 1)
  const medians = seeds.length > 1 ? seeds.map(({ latenciesUs }) => percentile(latenciesUs, 0.5)) : seeds[0]!.mediansUs
  const bytes = seeds.map((seed) => seed.engine.bytesPerVector)
  const p50 = over(0.5)
  return {
    engine: engine.name,
    mode: engine.mode,
    settings: engine.settings,
    threads: engine.threads,
    recall_at_k: round(seeds.reduce((sum, { recall }) => sum + recall, 0) / seeds.length, 5),
    qps: round(1e6 / p50, 1),
    p50_us: p50,
    p95_us: over(0.95),
    p99_us: over(0.99),
    qps_spread: [round(1e6 / Math.max(...medians), 1), round(1e6 / Math.min(...medians), 1)],
    build_ms: round(median(seeds.map((seed) => seed.engine.buildMs)), 1),
    first_query_ms: round(median(seeds.map((seed) => seed.engine.firstQueryMs)), 2),
    bytes_per_vector: bytes.every((value) => value !== null) ? round(median(bytes), 1) : null,
    certificate:
      engine.claim === null
        ? null
        : {
            ...engine.claim,
            violations: seeds.reduce((sum, { imperfect }) => sum + imperfect, 0),
            queries: seeds.length * dataset.queryCount,
          },
  }
}

/**
 * A row of something timed by itself, without recall.
 * @param samplesUs microseconds, in any order, not empty
 * @param given what differs from a row of lakegate on one thread
 */
export function timingRow(mode: string, samplesUs: readonly number[], given: Partial<ReportRow> = {}): ReportRow {
  const sorted = Float64Array.from(samplesUs).sort()
  const p50 = percentile(sorted, 0.5)
  return {
    engine: 'lakegate',
    mode,
    settings: null,
    threads: 1,
    recall_at_k: 1,
    qps: round(1e6 / p50, 1),
    p50_us: round(p50, 2),
    p95_us: round(percentile(sorted, 0.95), 2),
    p99_us: round(percentile(sorted, 0.99), 2),
    qps_spread: [round(1e6 / sorted.at(-1)!, 1), round(1e6 / sorted[0]!, 1)],
    build_ms: 0,
    first_query_ms: 0,
    bytes_per_vector: null,
    certificate: null,
    ...given,
  }
}

/** Rows in the order in which engines first appear; those of the same name and mode are seeds of one. */
export function reportRows(measured: readonly Measurement[], dataset: Dataset): ReportRow[] {
  const rows = new Map<string, Measurement[]>()
  for (const measurement of measured) {
    const key = `${measurement.engine.name} ${measurement.engine.mode}`
    rows.set(key, [...(rows.get(key) ?? []), measurement])
  }
  return Array.from(rows.values(), (seeds) => reportRow(seeds, dataset))
}

export const describeDataset = (dataset: Dataset, k: number): Report['dataset'] => ({
  name: dataset.name,
  n: dataset.count,
  dim: dataset.dimension,
  metric: dataset.metric,
  queries: dataset.queryCount,
  k,
})

/** `load_before`: of the last minute, when the run began. */
export function describeMachine(loadBefore: number): Report['machine'] {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    os: `${process.platform} ${release()}`,
    node: process.versions.node,
    v8: process.versions.v8,
    load_before: round(loadBefore, 2),
    load_after: round(loadavg()[0]!, 2),
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
