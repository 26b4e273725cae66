/** Several queries in flight: completed queries a second, variants in short alternating rounds. */
import { type Dataset, row } from './dataset.js'

export interface Variant {
  readonly label: string
  search(query: Float32Array): Promise<unknown>
}

export interface Throughput {
  readonly label: string
  /** Median over the rounds. */
  readonly qps: number
  /** Latencies of all queries, ascending, microseconds. */
  readonly latenciesUs: Float64Array
}

const roundMs = 400

async function runRound(variant: Variant, dataset: Dataset, inFlight: number, latenciesUs: number[]): Promise<number> {
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
  const rates = variants.map((): number[] => [])
  const latencies = variants.map((): number[] => [])
  for (const variant of variants) await runRound(variant, dataset, options.inFlight, [])
  const startedMs = performance.now()
  for (let round = 0; round < 3 || performance.now() - startedMs < options.seconds * 1000; round++)
    for (let turn = 0; turn < variants.length; turn++) {
      const i = (turn + round) % variants.length
      rates[i]!.push(await runRound(variants[i]!, dataset, options.inFlight, latencies[i]!))
    }
  return variants.map(({ label }, i) => ({
    label,
    qps: rates[i]!.toSorted((a, b) => a - b)[Math.floor(rates[i]!.length / 2)]!,
    latenciesUs: Float64Array.from(latencies[i]!).sort(),
  }))
}
