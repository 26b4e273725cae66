/** Several queries in flight: completed queries a second, variants in short alternating rounds. */
import { type Dataset, row } from './dataset.js'
import { percentile } from './percentile.js'
import { type ReportRow, round, timingRow } from './report.js'

export interface Variant {
  readonly label: string
  search(query: Float32Array): Promise<unknown>
}

export interface Throughput {
  readonly label: string
  /** One a round. */
  readonly rates: readonly number[]
  /** Latencies of all queries, microseconds. */
  readonly latenciesUs: readonly number[]
}

const roundMsMax = 400
/** So that the shortest run has rounds of every variant. */
const roundsWanted = 10

async function runRound(
  variant: Variant,
  dataset: Dataset,
  { inFlight, roundMs }: { readonly inFlight: number; readonly roundMs: number },
  latenciesUs: number[],
): Promise<number> {
  const startedMs = performance.now()
  let next = 0
  let completed = 0
  const runner = async (): Promise<void> => {
    while (performance.now() - startedMs < roundMs) {
      const query = row(dataset.queries, dataset.dimension, next++ % dataset.queryCount)
      const begun = performance.now()
      await variant.search(query)
      latenciesUs.push((performance.now() - begun) * 1000)
      completed++
    }
  }
  await Promise.all(Array.from({ length: inFlight }, runner))
  return (completed * 1000) / (performance.now() - startedMs)
}

/** At least three rounds a variant after one that warms up. */
export async function measureThroughput(
  dataset: Dataset,
  variants: readonly Variant[],
  options: { readonly inFlight: number; readonly seconds: number },
): Promise<Throughput[]> {
  const round = { ...options, roundMs: Math.min(roundMsMax, (options.seconds * 1000) / roundsWanted) }
  const rates = variants.map((): number[] => [])
  const latencies = variants.map((): number[] => [])
  for (const variant of variants) await runRound(variant, dataset, round, [])
  const startedMs = performance.now()
  for (let turn = 0; turn < 3 || performance.now() - startedMs < options.seconds * 1000; turn++)
    for (let place = 0; place < variants.length; place++) {
      const i = (place + turn) % variants.length
      rates[i]!.push(await runRound(variants[i]!, dataset, round, latencies[i]!))
    }
  return variants.map(({ label }, i) => ({ label, rates: rates[i]!, latenciesUs: latencies[i]! }))
}

/** The row of a variant: its rate is the median of the rounds'. */
export function rateRow(mode: string, result: Throughput, given: Partial<ReportRow>): ReportRow {
  const rates = Float64Array.from(result.rates).sort()
  return timingRow(mode, result.latenciesUs, {
    qps: round(percentile(rates, 0.5), 1),
    qps_spread: [round(rates[0]!, 1), round(rates.at(-1)!, 1)],
    ...given,
  })
}
