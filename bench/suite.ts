/** What one suite of `lakegate bench` is given and gives back. */
import type { BenchOptions } from '#lakegate/cli/bench-options.js'
import { type Metric, metrics } from '#lakegate/core/metric.js'
import { type Dataset, type DatasetRequest, loadDataset } from './dataset.js'
import { parsePeers } from './engines/open-peers.js'
import { checkModes } from './lakegate.js'
import { refusal } from './refusal.js'
import { describeDataset, type Report } from './report.js'

type SuiteResult = Pick<Report, 'rows' | 'not_run'>
type Say = (line: string) => void

export type Suite = (options: BenchOptions, say: Say) => Promise<SuiteResult & Pick<Report, 'dataset'>>

/** A suite over vectors that are in memory. */
export type DatasetSuite = (dataset: Dataset, options: BenchOptions, say: Say) => Promise<SuiteResult>

export const overDataset =
  (suite: DatasetSuite): Suite =>
  async (options, say) => {
    checkModes(options.modes)
    parsePeers(options.peers)
    const dataset = await loadDataset(datasetRequest(options))
    say(`${dataset.name}: ${dataset.count} x ${dataset.dimension}`)
    return { dataset: describeDataset(dataset, options.k), ...(await suite(dataset, options, say)) }
  }

/** The data that the options ask for. Refuses a metric that is none. */
export const datasetRequest = (options: BenchOptions): DatasetRequest => ({
  ...options,
  name: options.dataset,
  metric: parseMetric(options.metric),
})

function parseMetric(text: string | null): Metric | null {
  if (text === null) return null
  const metric = metrics.find((candidate) => candidate === text)
  if (metric === undefined) throw refusal(`metric: expected one of ${metrics.join(', ')}, found ${text}`)
  return metric
}
