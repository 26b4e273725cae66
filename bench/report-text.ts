/** Reports as text for people. */
import { renderTable } from '#lakegate/cli/table.js'
import type { Judged } from './bars.js'
import type { Report } from './report.js'

const right = { align: 'right' } as const

export function renderReport(report: Report): string {
  const columns = [
    ...[{ title: 'engine' }, { title: 'mode' }],
    ...['threads', 'recall', 'qps', 'p50 us', 'p95 us', 'p99 us', 'build ms', 'first ms', 'B/vector'].map((title) => ({
      title,
      ...right,
    })),
  ]
  const rows = report.rows.map((row) =>
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
  const { name, n, dim, metric, queries, k } = report.dataset
  const missing = report.not_run.map(({ engine, reason }) => `not run: ${engine}: ${reason}`)
  return [
    `${name}: ${n} x ${dim}, ${metric}, ${queries} queries, k = ${k}`,
    renderTable(columns, rows, Number.POSITIVE_INFINITY),
    ...missing,
  ].join('\n')
}

const decimals: Readonly<Record<Judged['limit']['unit'], number>> = {
  times: 2,
  GiB: 2,
  recall: 3,
  us: 0,
  ms: 0,
  wrong: 0,
}

export const formatFigure = (figure: number | null, unit: Judged['limit']['unit']): string =>
  figure === null ? 'not run' : `${figure.toFixed(decimals[unit])} ${unit}`

export const formatLimit = ({ kind, value, unit }: Judged['limit']): string => `${kind} ${value} ${unit}`

export const renderJudged = (judged: readonly Judged[]): string =>
  renderTable(
    [
      { title: 'row' },
      { title: 'what' },
      { title: 'against' },
      { title: 'figure', ...right },
      { title: 'bar', ...right },
      { title: '' },
    ],
    judged.map(({ row, what, against, limit, figure, passed }) => [
      row,
      what,
      against,
      formatFigure(figure, limit.unit),
      formatLimit(limit),
      passed ? 'pass' : 'FAIL',
    ]),
    Number.POSITIVE_INFINITY,
  )
