import type { Report, ReportRow } from '../../bench/report.js'

/** A row as suites make them, with what a test is about. */
export const rowWith = (given: Partial<ReportRow>): ReportRow => {
  const qps = given.qps ?? 1000
  return {
    engine: 'lakegate',
    mode: 'exact',
    settings: null,
    threads: 1,
    recall_at_k: 1,
    qps,
    p50_us: 1e6 / qps,
    p95_us: 2e6 / qps,
    p99_us: 3e6 / qps,
    qps_spread: [qps, qps],
    build_ms: 1,
    first_query_ms: 1,
    bytes_per_vector: null,
    certificate: null,
    ...given,
  }
}

export const reportWith = (rows: readonly ReportRow[], given: Partial<Report> = {}): Report => ({
  suite: 'search',
  machine: { cpu: 'test' },
  commit: null,
  seed: 42,
  dataset: { name: 'clustered', n: 10, dim: 2, metric: 'l2', queries: 5, k: 1 },
  rows,
  not_run: [],
  ...given,
})
