/** Searches a collection for neighbours of its own rows, in every way there is. */
import { setImmediate } from 'node:timers/promises'
import type { RecallContract } from '../core/contract.js'
import type { Metric } from '../core/metric.js'
import type { FirstStage, ScanChoice } from './executor.js'
import type { Ask, HeldOut } from './held-out.js'
import { timeTargets } from './time-targets.js'
import { timeWays } from './time-ways.js'
import { tryGaps } from './try-gaps.js'
import { cheapestProof, distanceUnit, everything, type Tuning } from './tuning.js'
import type { ShardAnswer, ShardQuery } from './vector-cache.js'

/** What first stages are timed with. */
const timed = { k: 10, missProbability: 1e-6, queries: 64, msMax: 1500 }
/** More held-out rows add little. */
export const queriesMax = 1024

/**
 * Searches for the neighbours of held-out rows in every way there is.
 * @param heldOut in random order: when time runs out, the first ones are all there are
 * @param firsts what scans may read first, what proves and is likely to be cheap before 8-bit codes
 * @param clustered whether clusters can be left out
 * @param search answers as the collection would, but in the way named
 */
export async function tuneScans(
  heldOut: readonly HeldOut[],
  {
    firsts,
    metric,
    clustered,
    rows,
    search,
  }: {
    readonly firsts: readonly FirstStage[]
    readonly metric: Metric
    readonly clustered: boolean
    /** How many there are, held-out ones included. */
    readonly rows: number
    readonly search: (query: ShardQuery, choice: ScanChoice) => Promise<ShardAnswer>
  },
): Promise<Pick<Tuning, 'queries' | 'costs' | 'targets' | 'recalls'>> {
  const ask: Ask = async ({ vector, row }, k, contract, choice) => {
    await setImmediate() // queries go first
    const query = { vector, k: k + 1, contract, filter: null, distanceMax: Number.POSITIVE_INFINITY }
    const answer = await search(query, choice)
    const others = answer.hits.filter(
      ({ location }) => location.segment !== row.segment || location.position !== row.position,
    )
    return {
      distances: others.slice(0, k).map(({ distance }) => distance),
      us: 1000 * (answer.searchMs - answer.waitMs),
    }
  }
  const costs = await timeStages(heldOut, firsts, ask)
  const proven = cheapestProof({ costs })
  // Every row is as near to a query of zeros by dot: such an answer says nothing.
  const telling = metric === 'dot' ? heldOut.filter(({ vector }) => distanceUnit(metric, vector) > 0) : heldOut
  const tried =
    clustered && telling.length > 0
      ? await tryGaps(telling, { metric, rows, proven, ask })
      : { queries: heldOut.length, recalls: [], byDistance: new Map() }
  const targetFirsts = firsts.includes('bits') ? [proven, 'bits' as const] : [proven]
  const targets = await timeTargets(heldOut, { firsts: targetFirsts, metric, rows, tried, ask })
  return { queries: tried.queries, costs, targets, recalls: tried.recalls }
}

/** The cheapest first. */
async function timeStages(
  heldOut: readonly HeldOut[],
  firsts: readonly FirstStage[],
  ask: Ask,
): Promise<Tuning['costs']> {
  const { k, missProbability, queries, msMax } = timed
  const times = await timeWays(
    firsts,
    heldOut.slice(0, queries),
    async (first, row) => {
      const contract: RecallContract = first === 'bits' ? { kind: 'certified', missProbability } : { kind: 'exact' }
      return (await ask(row, k, contract, { first, gap: everything })).us
    },
    msMax,
  )
  return firsts.map((first, i) => ({ first, us: times[i]! })).sort((a, b) => a.us - b.us)
}
