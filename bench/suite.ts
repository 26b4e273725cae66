/** What one suite of `lakegate bench` is given and gives back. */
import type { Dataset } from './dataset.js'
import type { Report } from './report.js'

export interface BenchOptions {
  readonly suite: string
  readonly dataset: string | null
  readonly base: string | null
  readonly queries: string | null
  readonly count: number
  readonly queryCount: number
  readonly dimension: number
  readonly metric: string | null
  readonly k: number
  readonly modes: readonly string[]
  readonly peers: readonly string[]
  readonly threads: number
  readonly seed: number
  readonly seconds: number
  readonly shared: string
  readonly json: string | null
}

export type SuiteResult = Pick<Report, 'rows' | 'not_run'>
export type Suite = (dataset: Dataset, options: BenchOptions, say: (line: string) => void) => Promise<SuiteResult>
