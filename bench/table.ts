/**
 * The table of what must be shown: every row a run of a suite in a process of its own, with the bars that its report is held
 * to. Rows are kept in one report as they are finished, so that they can be run one by one and again.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BenchOptions } from '#lakegate/cli/bench-options.js'
import { type Judged, judge } from './bars.js'
import { refusal } from './refusal.js'
import type { Report } from './report.js'
import { readReportFile } from './report-file.js'
import { type TableRow, tableRows } from './table-rows.js'

const main = fileURLToPath(new URL('../cli/main.js', import.meta.url))

/** What a row's run reported, and how it was run. */
export interface TableRun extends Report {
  readonly command: string
}

/** The report of `lakegate bench table --json`. */
export interface TableReport {
  readonly suite: 'table'
  /** By the row's name. */
  readonly runs: Readonly<Record<string, TableRun>>
}

export const emptyTable: TableReport = { suite: 'table', runs: {} }

/** Every bar of the rows that have a report, judged. */
export const judgeTable = (report: TableReport): readonly Judged[] =>
  tableRows.flatMap(({ name, bars }) => {
    const run = report.runs[name]
    return run === undefined ? [] : bars.map((bar) => judge(name, bar, run))
  })

/** Runs the rows, prints every bar; false when one is missed or could not be judged. */
export async function runTable(options: BenchOptions, say: (line: string) => void): Promise<TableReport> {
  const { json } = options
  let report: TableReport = json !== null && existsSync(json) ? readTable(json) : emptyTable
  for (const row of chosenRows(options.rows, report)) {
    say(`row ${row.name}: bench ${row.args.join(' ')}`)
    const run = await runRow(row, options)
    report = { ...report, runs: { ...report.runs, [row.name]: run } }
    if (json !== null) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  }
  return report
}

/** Those that were named; else all that no report is there of, but not the long ones. */
function chosenRows(named: readonly string[], report: TableReport): readonly TableRow[] {
  if (named.length === 0) return tableRows.filter(({ name, long }) => !long && report.runs[name] === undefined)
  return named.map((name) => {
    const row = tableRows.find((candidate) => candidate.name === name)
    if (row === undefined)
      throw refusal(`rows: expected ${tableRows.map((one) => one.name).join(', ')}, found ${JSON.stringify(name)}`)
    return row
  })
}

export const readTable = (path: string): TableReport => readReportFile(path, 'table', 'runs')

async function runRow(row: TableRow, { seed, shared }: BenchOptions): Promise<TableRun> {
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-'))
  try {
    const path = join(directory, 'row.json')
    const args = ['bench', ...row.args, '--seed', String(seed)]
    const places = ['--shared', shared, '--json', path]
    const child = spawn(process.execPath, [main, ...args, ...places], { stdio: ['ignore', 'ignore', 'inherit'] })
    const [code] = (await once(child, 'exit')) as [number | null]
    const command = `lakegate ${args.join(' ')}`
    if (code !== 0) throw new Error(`row ${row.name}: ${command} ended with ${code}`)
    return { command, ...(JSON.parse(readFileSync(path, 'utf8')) as Report) }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
