/** What `lakegate bench` runs. */
import { writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { BenchOptions } from '#lakegate/cli/bench-options.js'
import { buildSuite } from './build.js'
import { coldSuite } from './cold.js'
import { loadDataset } from './dataset.js'
import { federationSuite } from './federation.js'
import { filterSuite } from './filters.js'
import { httpSuite } from './http.js'
import { microSuite } from './micro.js'
import { refusal } from './refusal.js'
import { currentCommit, describeDataset, describeMachine, type Report, renderReport } from './report.js'
import { searchSuite } from './search.js'
import { datasetRequest, type Suite } from './suite.js'

const suiteTable: Readonly<Record<string, Suite>> = {
  search: searchSuite,
  build: buildSuite,
  filters: filterSuite,
  federation: federationSuite,
  http: httpSuite,
  cold: coldSuite,
  micro: microSuite,
}

export const suites = Object.keys(suiteTable)

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Runs a suite, prints its table on stdout and progress on stderr, writes the report when asked. */
export async function runBench(options: BenchOptions): Promise<void> {
  const suite = suiteTable[options.suite]
  if (suite === undefined) throw refusal(`suite: expected one of ${suites.join(', ')}, found ${options.suite}`)
  const say = (line: string): void => {
    process.stderr.write(`${line}\n`)
  }
  const loadBefore = loadavg()[0]!
  const dataset = await loadDataset(datasetRequest(options))
  say(`${dataset.name}: ${dataset.count} x ${dataset.dimension}`)
  const result = await suite(dataset, options, say)
  const report: Report = {
    suite: options.suite,
    machine: describeMachine(loadBefore),
    commit: currentCommit(root),
    seed: options.seed,
    dataset: describeDataset(dataset, options.k),
    ...result,
  }
  process.stdout.write(`${renderReport(report)}\n`)
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
}
