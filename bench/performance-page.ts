/** docs/performance.md and its plots, made from the recorded table and from nothing else. */
import type { Judged } from './bars.js'
import { latencyPlot, recallPlot } from './plots.js'
import type { ReportRow } from './report.js'
import { formatFigure, formatLimit } from './report-text.js'
import { judgeTable, type TableReport, type TableRun } from './table.js'

/** Paths below docs/ to contents. */
export function performancePages(report: TableReport): ReadonlyMap<string, string> {
  const pages = new Map<string, string>()
  const sections: string[] = []
  for (const [name, run] of Object.entries(report.runs)) {
    const plots: string[] = []
    if (run.suite === 'search') {
      for (const [kind, draw] of [
        ['recall', recallPlot],
        ['latency', latencyPlot],
      ] as const) {
        const path = `performance/${name}-${kind}.svg`
        pages.set(path, draw(name, run.rows))
        plots.push(`![${name}: ${kind}](${path})`)
      }
    }
    sections.push(section(name, run, plots))
  }
  pages.set('performance.md', `${head(judgeTable(report))}\n\n${sections.join('\n\n')}\n`)
  return pages
}

const head = (judged: readonly Judged[]): string => `# Performance

Made from \`bench/reports/table.json\` by \`npm run docs:performance\`; not written by hand. How it is measured:
[benchmarks](guides/benchmarks.md). Figures of one run are compared with each other only.

${table(
  ['row', 'what', 'against', 'figure', 'bar', ''],
  judged.map((one) => [
    one.row,
    one.what,
    one.against,
    formatFigure(one.figure, one.limit.unit),
    formatLimit(one.limit),
    one.passed ? 'reached' : '**missed**',
  ]),
)}`

function section(name: string, run: TableRun, plots: readonly string[]): string {
  const { dataset, machine } = run
  const data = `${dataset.name}, ${dataset.n.toLocaleString('en-US')} x ${dataset.dim}, ${dataset.metric}, ${dataset.queries} queries, k = ${dataset.k}.`
  const where = Object.entries(machine)
    .map(([key, value]) => `${key} ${value}`)
    .join('; ')
  const missing = run.not_run.map(({ engine, reason }) => `- not run: ${engine}: ${reason}`)
  const settings = run.rows.flatMap((row) => (row.settings === null ? [] : [`- ${labelOf(row)}: ${row.settings}`]))
  const parts = [
    `## ${name}\n\n    ${run.command}`,
    `${data} Commit ${run.commit?.slice(0, 12) ?? 'unknown'}; seed ${run.seed}; ${where}.`,
    table(
      ['engine', 'mode', 'recall', 'queries/s', 'p50 us', 'p95 us', 'p99 us', 'build ms', 'first ms', 'bytes a vector'],
      run.rows.map(cells),
    ),
    plots.join('\n'),
    settings.join('\n'),
    missing.join('\n'),
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}

const labelOf = ({ engine, mode }: ReportRow): string => `${engine}, ${mode}`

function cells(row: ReportRow): string[] {
  const [low, high] = row.qps_spread
  const number = (value: number): string =>
    value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 })
  return [
    row.engine,
    row.mode,
    String(row.recall_at_k),
    `${number(row.qps)} (${number(low)} to ${number(high)})`,
    ...[row.p50_us, row.p95_us, row.p99_us, row.build_ms, row.first_query_ms].map(number),
    row.bytes_per_vector === null ? '-' : number(row.bytes_per_vector),
  ]
}

const table = (titles: readonly string[], rows: readonly (readonly string[])[]): string =>
  [titles, titles.map(() => '---'), ...rows].map((values) => `| ${values.join(' | ')} |`).join('\n')
