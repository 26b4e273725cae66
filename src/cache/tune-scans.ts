/** Searches a collection for neighbours of its own rows, in every way there is. */
import { setImmediate } from 'node:timers/promises'
import type { RecallContract } from '../core/contract.js'
import { distance, type Metric } from '../core/metric.js'
import type { FirstStage, ScanChoice } from './executor.js'
import { timeWays } from './time-ways.js'
import { cheapestProof, distanceUnit, gapFor, type MeasuredRecall, type MeasuredTarget, type Tuning } from './tuning.js'
import type { RowLocation, ShardAnswer, ShardQuery } from './vector-cache.js'

/** Numbers of neighbours that recall is measured for. */
const neighbours = [1, 10, 100] as const
/** More neighbours than this cost more to look for, and say more: a few queries, one in so many, are enough. */
const trialsEveryMax = 10
const manyEach = 4
/** What first stages are timed with. */
const timed = { k: 10, missProbability: 1e-6, queries: 64, msMax: 1500 }
/** What ways of targets are timed with: each of these, when there are so many neighbours. */
const timedTargets = { ks: [10, 100], recalls: [0.9, 0.95, 0.99], queries: 32, msMax: 500 }
/** Gaps that are tried, in squared distances of a usual query from its tenth neighbour. */
const gapsTried = [
  0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.6,
] as const
/**
 * The same for dot, in what a usual query has between its tenth neighbour and an average row: keys of clusters (kernel/clusters.ts) lie
 * farther apart than products of rows where norms differ.
 */
const gapsTriedDot = [
  0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.85, 1, 1.25, 1.6, 2, 2.4, 2.8, 3.3, 4,
] as const
/** Queries that say what is usual, and rows that do. */
const usualQueries = 31
const usualRows = 255
/** No more queries begin after this long, unless there were too few to say anything. */
const tuningMsMax = 3000
const queriesMin = 96
const everything = Number.POSITIVE_INFINITY
/** More add little. */
export const queriesMax = 1024

/** A row that stands for a query: it is not among its own neighbours. */
export interface HeldOut {
  readonly vector: Float32Array
  readonly row: RowLocation
}

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
  const ask = async ({ vector, row }: HeldOut, k: number, contract: RecallContract, choice: ScanChoice) => {
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
  const times = await timeWays(
    firsts,
    heldOut.slice(0, timed.queries),
    async (first, row) => {
      const { missProbability } = timed
      const contract: RecallContract = first === 'bits' ? { kind: 'certified', missProbability } : { kind: 'exact' }
      return (await ask(row, timed.k, contract, { first, gap: everything })).us
    },
    timed.msMax,
  )
  const costs = firsts.map((first, i) => ({ first, us: times[i]! })).sort((a, b) => a.us - b.us)
  const proven = cheapestProof({ costs })
  const unitOf = ({ vector }: HeldOut): number => distanceUnit(metric, vector)
  /** Those that have an answer: every row is as near to a query of zeros. */
  const probing = metric === 'dot' ? heldOut.filter((row) => unitOf(row) > 0) : heldOut
  const gapsToTry = async (): Promise<number[]> => {
    const found: number[] = []
    for (const row of probing.slice(0, usualQueries)) {
      const { distances } = await ask(row, timed.k, { kind: 'exact' }, { first: proven, gap: everything })
      const last = distances.at(-1)!
      if (metric !== 'dot') found.push(last)
      else {
        const others = probing.slice(0, usualRows)
        found.push((median(others.map(({ vector }) => distance(metric, row.vector, vector))) - last) / unitOf(row))
      }
    }
    const usual = median(found)
    // 1 - cos is half the squared distance of the unit vectors.
    return (metric === 'dot' ? gapsTriedDot : gapsTried).map((share) => share * usual * (metric === 'cosine' ? 2 : 1))
  }
  const ks = clustered && probing.length > 0 ? neighbours.filter((k) => k * 10 <= rows) : []
  const trials = ks.map((k) => ({ k, each: k > trialsEveryMax ? manyEach : 1, tried: [] as Trial[] }))
  const gaps = ks.length === 0 ? [] : await gapsToTry()
  const until = performance.now() + tuningMsMax
  let queries = 0
  for (const row of ks.length > 0 ? probing : heldOut) {
    if (queries >= queriesMin && performance.now() > until) break
    if (ks.length > 0) {
      const unit = unitOf(row)
      const { distances: truth } = await ask(row, ks.at(-1)!, { kind: 'exact' }, { first: proven, gap: everything })
      for (const { k, each, tried } of trials) {
        const last = truth[k - 1]!
        const found: number[] = []
        while (queries % each === 0 && found.length < gaps.length) {
          const gap = gaps[found.length]! * unit
          // Wider gaps lose nothing that narrower ones found.
          const { distances } =
            found.at(-1) === 1
              ? { distances: truth.slice(0, k) }
              : await ask(row, k, { kind: 'target', recall: 0.5 }, { first: proven, gap })
          found.push(distances.filter((distance) => distance <= last).length / k)
        }
        tried.push({ row, last: last / unit, found })
      }
    }
    queries++
  }
  const recalls: MeasuredRecall[] = []
  for (const { k, tried } of trials) {
    const complete = tried.filter(({ found }) => found.length > 0)
    recalls.push({
      k,
      distanceMax: Math.max(...tried.map(({ last }) => last)),
      points: measuredPoints(gaps, complete, k),
    })
  }
  const targets: MeasuredTarget[] = []
  for (const k of timedTargets.ks.filter((k) => k === timed.k || k * 10 <= rows)) {
    // Queries may be farther from the rows than rows are from each other.
    const far = trials.find((trial) => trial.k === k)?.tried.toSorted((a, b) => b.last - a.last)
    const third = far?.slice(0, Math.ceil(far.length / 3)).map(({ row }) => row) ?? heldOut
    const every = Math.max(1, Math.floor(third.length / timedTargets.queries))
    const subjects = third.filter((_, i) => i % every === 0).slice(0, timedTargets.queries)
    for (const recall of timedTargets.recalls) {
      const ways = (firsts.includes('bits') ? [proven, 'bits' as const] : [proven]).flatMap((first) => {
        const gap = gapFor(recalls, { recall, first, k })
        return (gap === everything ? [gap] : [everything, gap]).map((gap) => ({ first, gap }))
      })
      const times = await timeWays(
        ways,
        subjects,
        async ({ first, gap }, row) => {
          const choice = { first, gap: gap === everything ? gap : gap * unitOf(row) }
          return (await ask(row, k, { kind: 'target', recall }, choice)).us
        },
        timedTargets.msMax,
      )
      const named = ways.map(({ first, gap }, i) => ({ first, leavesClusters: gap !== everything, us: times[i]! }))
      targets.push({ k, recall, ways: named.sort((a, b) => a.us - b.us) })
    }
  }
  return { queries, costs, targets, recalls }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

/** One held-out row: the distance of its k-th neighbour, and what share of the k each of the gaps found. */
interface Trial {
  readonly row: HeldOut
  readonly last: number
  readonly found: readonly number[]
}

/**
 * Real queries may be farther from the rows than rows are from each other, and miss more; rows with far neighbours are like
 * them. So what counts is the recall of the worst third of distances, whatever the mixture that will be asked.
 */
function measuredPoints(gaps: readonly number[], tried: readonly Trial[], k: number): MeasuredRecall['points'] {
  const byDistance = tried.toSorted((a, b) => a.last - b.last)
  const thirds = [0, 1, 2].map((third) =>
    byDistance.slice(Math.floor((third * tried.length) / 3), Math.floor(((third + 1) * tried.length) / 3)),
  )
  return gaps.map((gap, i) => ({
    gap,
    recall: Math.min(
      ...thirds.map((trials) =>
        surelyFound(
          trials.map(({ found }) => found[i]!),
          k,
        ),
      ),
    ),
  }))
}

/**
 * Mean of the queries' recalls, less two standard errors of it: neighbours of one query are found, or missed, together. Without
 * any miss it is the upper limit of a rate that was seen 0 times (the rule of three).
 */
function surelyFound(recalls: readonly number[], k: number): number {
  const count = recalls.length
  const mean = recalls.reduce((sum, recall) => sum + recall, 0) / count
  const square = recalls.reduce((sum, recall) => sum + (recall - mean) ** 2, 0) / Math.max(1, count - 1)
  return mean - Math.max(2 * Math.sqrt(square / count), 3 / (count * k))
}
