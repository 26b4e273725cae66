/** Engines take turns query by query, so that noise of the machine falls on all of them alike. */
import { type Random, seededRandom } from '#lakegate/core/clock.js'
import { type Dataset, row } from './dataset.js'
import type { Engine } from './engine.js'
import { countHits, type GroundTruth } from './recall.js'

export interface Measurement {
  readonly engine: Engine
  readonly recall: number
  /** Queries that missed at least one of the true k nearest, in one pass. */
  readonly imperfect: number
  /** Latency of every measured query, ascending, microseconds. */
  readonly latenciesUs: Float64Array
}

interface Tally {
  readonly latenciesUs: number[]
  hits: number
  wanted: number
  imperfect: number
}

/**
 * One pass that counts recall and warms up, then timed passes. Every pass asks every query of every engine, in a new order
 * each time: what an engine leaves in the processor's caches falls on all the others alike.
 * @param truth  of all engines, or one an engine
 * @param seconds  stop after the pass that passes this time; at least one pass is timed
 */
export async function measure(
  dataset: Dataset,
  truth: GroundTruth | readonly GroundTruth[],
  engines: readonly Engine[],
  options: { readonly seconds: number; readonly onPass: (pass: number) => void },
): Promise<Measurement[]> {
  const tallies = engines.map((): Tally => ({ latenciesUs: [], hits: 0, wanted: 0, imperfect: 0 }))
  const truths = 'k' in truth ? engines.map(() => truth) : truth
  const random = seededRandom(1)
  const startedMs = performance.now()
  for (let pass = 0; pass < 2 || performance.now() - startedMs < options.seconds * 1000; pass++) {
    for (let q = 0; q < dataset.queryCount; q++) {
      const query = row(dataset.queries, dataset.dimension, q)
      for (const index of shuffled(engines.length, random)) {
        const begun = performance.now()
        const answer = engines[index]!.search(query)
        const ids = answer instanceof Promise ? await answer : answer
        const us = (performance.now() - begun) * 1000
        const tally = tallies[index]!
        if (pass > 0) tally.latenciesUs.push(us)
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
      latenciesUs: Float64Array.from(tally.latenciesUs).sort(),
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

/** @param sorted ascending, not empty */
export const percentile = (sorted: Float64Array, fraction: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))]!
