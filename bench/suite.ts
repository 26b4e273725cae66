/** What one suite of `lakegate bench` is given and gives back. */
import type { BenchOptions } from '#lakegate/cli/bench-options.js'
import { type Metric, metrics } from '#lakegate/core/metric.js'
import type { Dataset, DatasetRequest } from './dataset.js'
import { refusal } from './refusal.js'
import type { Report } from './report.js'

export type SuiteResult = Pick<Report, 'rows' | 'not_run'>
export type Suite = (dataset: Dataset, options: BenchOptions, say: (line: string) => void) => Promise<SuiteResult>

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
