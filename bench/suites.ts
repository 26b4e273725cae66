/** What `lakegate bench` runs. */
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { BenchOptions } from '#lakegate/cli/bench-options.js'
import { buildSuite } from './build.js'
import { coldSuite } from './cold.js'
import { federationSuite } from './federation.js'
import { filterSuite } from './filters.js'
import { httpSuite } from './http.js'
import { microSuite } from './micro.js'
import { refusal } from './refusal.js'
import { regressions } from './regression.js'
import { currentCommit, describeMachine, type Report } from './report.js'
import { checkWritable, readReportFile } from './report-file.js'
import { renderJudged, renderReport } from './report-text.js'
import { restartSuite } from './restart.js'
import { scaleSuite } from './scale.js'
import { searchSuite } from './search.js'
import { overDataset, type Suite } from './suite.js'
import { emptyTable, judgeTable, readTable, runTable } from './table.js'

const suiteTable: Readonly<Record<string, Suite>> = {
  search: overDataset(searchSuite),
  build: overDataset(buildSuite),
  filters: overDataset(filterSuite),
  federation: overDataset(federationSuite),
  http: overDataset(httpSuite),
  restart: overDataset(restartSuite),
  cold: overDataset(coldSuite),
  micro: overDataset(microSuite),
  scale: scaleSuite,
}

const root = fileURLToPath(new URL('../../', import.meta.url))

const tableSuite = 'table'

export const suites = [...Object.keys(suiteTable), tableSuite]

/**
 * Runs a suite, prints its table on stdout and progress on stderr, writes the report when asked. False when a bar of the
 * table is missed, or when the report falls behind an earlier one.
 */
export async function runBench(options: BenchOptions): Promise<boolean> {
  const say = (line: string): void => {
    process.stderr.write(`${line}\n`)
  }
  if (options.json !== null) checkWritable(options.json)
  if (options.suite === tableSuite) {
    const earlier = options.against === null ? emptyTable : readTable(options.against)
    const report = await runTable(options, say)
    const judged = judgeTable(report)
    process.stdout.write(`${renderJudged(judged)}\n`)
    const behind = Object.entries(report.runs).flatMap(([name, run]) => behindEarlier(earlier.runs[name], run, name))
    return sayBehind(behind) && judged.every(({ passed }) => passed)
  }
  const earlier = options.against === null ? undefined : readReportFile<Report>(options.against, options.suite, 'rows')
  const report = await runSuite(options, say)
  process.stdout.write(`${renderReport(report)}\n`)
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
  return sayBehind(behindEarlier(earlier, report, report.suite))
}

async function runSuite(options: BenchOptions, say: (line: string) => void): Promise<Report> {
  const suite = suiteTable[options.suite]
  if (suite === undefined) throw refusal(`suite: expected one of ${suites.join(', ')}, found ${options.suite}`)
  const loadBefore = loadavg()[0]!
  const { dataset, ...result } = await suite(options, say)
  return {
    suite: options.suite,
    machine: describeMachine(loadBefore),
    commit: currentCommit(root),
    seed: options.seed,
    dataset,
    ...result,
  }
}

const behindEarlier = (earlier: Report | undefined, report: Report, name: string): string[] =>
  earlier === undefined ? [] : regressions(earlier, report).map(({ row, what }) => `behind: ${name}: ${row}: ${what}`)

/** Prints what fell behind; true when nothing did. */
function sayBehind(lines: readonly string[]): boolean {
  for (const line of lines) process.stdout.write(`${line}\n`)
  return lines.length === 0
}
