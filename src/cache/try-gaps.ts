/** What share of held-out rows' neighbours is found where clusters beyond a gap are left. */
import { distance, type Metric } from '../core/metric.js'
import type { FirstStage } from './executor.js'
import type { Ask, HeldOut } from './held-out.js'
import { distanceUnit, everything, type MeasuredRecall, scaledChoice } from './tuning.js'

/** Numbers of neighbours that recall is measured for. */
const neighbours = [1, 10, 100] as const
/** More neighbours than this cost more to look for, and say more: a few queries, one in so many, are enough. */
const trialsEveryMax = 10
const manyEach = 4
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
/** Neighbours that say how far apart gaps are to be tried. */
const usualNeighbours = 10
/** No more queries begin after this long, unless there were too few to say anything. */
const tryingMsMax = 3000
const queriesMin = 96

export interface TriedGaps {
  /** Held-out rows that stood for queries. */
  readonly queries: number
  readonly recalls: readonly MeasuredRecall[]
  /** By number of neighbours: the held-out rows that were tried, those with the farthest neighbours first. */
  readonly byDistance: ReadonlyMap<number, readonly HeldOut[]>
}

/**
 * @param heldOut in random order: when time runs out, the first ones are all there are
 * @param rows how many there are, held-out ones included
 * @param proven what a scan that proves its answers reads first
 */
export async function tryGaps(
  heldOut: readonly HeldOut[],
  {
    metric,
    rows,
    proven,
    ask,
  }: { readonly metric: Metric; readonly rows: number; readonly proven: FirstStage; readonly ask: Ask },
): Promise<TriedGaps> {
  const trials = neighbours
    .filter((k) => k * 10 <= rows)
    .map((k) => ({ k, each: k > trialsEveryMax ? manyEach : 1, tried: [] as Trial[] }))
  const most = trials.at(-1)?.k
  if (most === undefined || heldOut.length === 0) return { queries: heldOut.length, recalls: [], byDistance: new Map() }
  const everyCluster = { first: proven, gap: everything }
  const gaps = await gapsToTry(heldOut, metric, (row) => ask(row, usualNeighbours, { kind: 'exact' }, everyCluster))
  const until = performance.now() + tryingMsMax
  let queries = 0
  for (const row of heldOut) {
    if (queries >= queriesMin && performance.now() > until) break
    const unit = distanceUnit(metric, row.vector)
    const { distances: truth } = await ask(row, most, { kind: 'exact' }, everyCluster)
    for (const { k, each, tried } of trials) {
      const last = truth[k - 1]!
      const found: number[] = []
      while (queries % each === 0 && found.length < gaps.length) {
        const choice = scaledChoice({ first: proven, gap: gaps[found.length]! }, unit)
        // Wider gaps lose nothing that narrower ones found.
        const { distances } =
          found.at(-1) === 1
            ? { distances: truth.slice(0, k) }
            : await ask(row, k, { kind: 'target', recall: 0.5 }, choice)
        found.push(distances.filter((distance) => distance <= last).length / k)
      }
      tried.push({ row, last: last / unit, found })
    }
    queries++
  }
  return {
    queries,
    recalls: trials.map(({ k, tried }) => ({
      k,
      distanceMax: Math.max(...tried.map(({ last }) => last)),
      points: measuredPoints(
        gaps,
        tried.filter(({ found }) => found.length > 0),
        k,
      ),
    })),
    byDistance: new Map(
      trials.map(({ k, tried }) => [k, tried.toSorted((a, b) => b.last - a.last).map(({ row }) => row)]),
    ),
  }
}

async function gapsToTry(
  heldOut: readonly HeldOut[],
  metric: Metric,
  search: (row: HeldOut) => ReturnType<Ask>,
): Promise<number[]> {
  const found: number[] = []
  for (const row of heldOut.slice(0, usualQueries)) {
    const { distances } = await search(row)
    const last = distances.at(-1)!
    if (metric !== 'dot') found.push(last)
    else {
      const others = heldOut.slice(0, usualRows)
      const usual = median(others.map(({ vector }) => distance(metric, row.vector, vector)))
      found.push((usual - last) / distanceUnit(metric, row.vector))
    }
  }
  const usual = median(found)
  // 1 - cos is half the squared distance of the unit vectors.
  return (metric === 'dot' ? gapsTriedDot : gapsTried).map((share) => share * usual * (metric === 'cosine' ? 2 : 1))
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
