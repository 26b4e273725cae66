/** Engines take short turns, so that noise of the machine falls on all of them alike. */
import { type Random, seededRandom } from '#lakegate/core/clock.js'
import { type Dataset, row } from './dataset.js'
import { askOnce, type Engine } from './engine.js'
import { percentile } from './percentile.js'
import { countHits, type GroundTruth } from './recall.js'

export interface Measurement {
  readonly engine: Engine
  readonly recall: number
  /** Queries that missed at least one of the true k nearest, in one pass. */
  readonly imperfect: number
  /** Latency of every measured query, ascending, microseconds. */
  readonly latenciesUs: Float64Array
  /** The median of each timed pass. */
  readonly mediansUs: readonly number[]
}

/**
 * Queries that an engine answers before the next has its turn: enough for the median not to be that of caches which
 * another engine has filled, as they never are where one engine serves.
 */
export const turnQueries = 20

interface Tally {
  /** One list a timed pass. */
  readonly passesUs: number[][]
  hits: number
  wanted: number
  imperfect: number
}

/**
 * One pass that counts recall and warms up, then timed passes. Every pass asks every query of every engine, turn by turn in
 * a new order each time: what an engine leaves in the processor's caches falls on all the others alike.
 * @param truth  of all engines, or one an engine
 * @param seconds  stop after the pass that passes this time; at least one pass is timed
 */
export async function measure(
  dataset: Dataset,
  truth: GroundTruth | readonly GroundTruth[],
  engines: readonly Engine[],
  options: { readonly seconds: number; readonly onPass: (pass: number) => void },
): Promise<Measurement[]> {
  const tallies = engines.map((): Tally => ({ passesUs: [], hits: 0, wanted: 0, imperfect: 0 }))
  const truths = 'k' in truth ? engines.map(() => truth) : truth
  const random = seededRandom(1)
  const startedMs = performance.now()
  for (let pass = 0; pass < 2 || performance.now() - startedMs < options.seconds * 1000; pass++) {
    if (pass > 0) for (const tally of tallies) tally.passesUs.push([])
    for (let from = 0; from < dataset.queryCount; from += turnQueries) {
      const to = Math.min(dataset.queryCount, from + turnQueries)
      for (const index of shuffled(engines.length, random))
        for (let q = from; q < to; q++) {
          const { ids, us } = await askOnce(engines[index]!.search, row(dataset.queries, dataset.dimension, q))
          const tally = tallies[index]!
          if (pass > 0) tally.passesUs.at(-1)!.push(us)
          else count(tally, dataset, truths[index]!, q, ids)
        }
    }
    options.onPass(pass)
  }
  return engines.map((engine, i) => {
    const tally = tallies[i]!
    return {
      engine,
      recall: tally.wanted === 0 ? 1 : tally.hits / tally.wanted,
      imperfect: tally.imperfect,
      latenciesUs: Float64Array.from(tally.passesUs.flat()).sort(),
      mediansUs: tally.passesUs.map((pass) => percentile(Float64Array.from(pass).sort(), 0.5)),
    }
  })
}

function shuffled(count: number, random: Random): number[] {
  const order = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const moved = order[i]!
    order[i] = order[j]!
    order[j] = moved
  }
  return order
}

function count(tally: Tally, dataset: Dataset, truth: GroundTruth, query: number, ids: readonly number[]): void {
  const wanted = Number.isFinite(truth.kthDistances[query]!) ? truth.k : ids.length
  const hits = countHits(dataset, truth, query, ids)
  tally.hits += hits
  tally.wanted += wanted
  if (hits < wanted) tally.imperfect++
}
