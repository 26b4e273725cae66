/** How a collection's contracts are answered with the least work, as measured on its own rows (tune-scans.ts). */
import assert from 'node:assert'
import type { RecallContract } from '../core/contract.js'
import { innerProduct, type Metric } from '../core/metric.js'
import type { FirstStage, ScanChoice } from './executor.js'

/** Measured on held-out rows. */
export interface Tuning {
  readonly atMs: number
  /** Live rows, and segments, of the collection then. */
  readonly rows: number
  readonly segments: number
  /** Held-out rows that stood for queries. */
  readonly queries: number
  /** The cheapest first: what a scan may read first, and the mean microseconds it takes when nothing disturbs it, 1-bit codes under a certified contract. */
  readonly costs: readonly { readonly first: FirstStage; readonly us: number }[]
  readonly targets: readonly MeasuredTarget[]
  /** By number of neighbours, ascending. None without clusters. For dot all distances and gaps are those of a query of length 1. */
  readonly recalls: readonly MeasuredRecall[]
}

export interface MeasuredRecall {
  readonly k: number
  /** The farthest k-th neighbour of a held-out row: queries with farther ones are unlike all that were tried. */
  readonly distanceMax: number
  /** Ascending; proven scans that leave clusters beyond such a gap (ScanChoice) found this share of the neighbours, less a margin for chance. */
  readonly points: readonly { readonly gap: number; readonly recall: number }[]
}

/** Ways to answer a target, by the mean microseconds they take; where there are clusters, for rows with far neighbours. */
export interface MeasuredTarget {
  readonly k: number
  readonly recall: number
  /** The fastest first; among them is one that leaves no clusters. */
  readonly ways: readonly { readonly first: FirstStage; readonly leavesClusters: boolean; readonly us: number }[]
}

/** A way to scan, and what it is expected to find. */
export interface TunedScan {
  readonly choice: ScanChoice
  /** Under a target contract, the share of the neighbours that is expected to be found. */
  readonly recall: number
  /** When a k-th neighbour is farther than this, the query is unlike those that `recall` was measured with. */
  readonly distanceMax: number
}

/** A gap that leaves no clusters. */
export const everything: number = Number.POSITIVE_INFINITY

/** Of a target's misses, those left to 1-bit codes where clusters are left out too: codes miss far less than they may. */
export const bitsMissShare = 0.25

/**
 * Clusters are left where that takes less than this share of the time: queries are farther from the rows than rows are, and look at more
 * clusters; some are asked again.
 */
const leavingMax = 0.95

/** Whether a scan done so may miss rows. */
export const mayMiss = ({ first, gap }: ScanChoice): boolean => first === 'bits' || gap < everything

/** What distances of a query, and with them gaps, are multiples of: for dot, whose answers do not change with a query's length. */
export const distanceUnit = (metric: Metric, query: Float32Array): number =>
  metric === 'dot' ? Math.sqrt(innerProduct(query, query)) : 1

/** The same choice for a query whose distances are multiples of `unit`. */
export const scaledChoice = ({ first, gap }: ScanChoice, unit: number): ScanChoice => ({
  first,
  gap: gap === everything ? gap : gap * unit,
})

/** The same way, of a finite gap, for a query whose distances are multiples of `unit`. */
export const scaledScan = ({ choice, recall, distanceMax }: TunedScan, unit: number): TunedScan => ({
  choice: scaledChoice(choice, unit),
  recall,
  distanceMax: distanceMax * unit,
})

/** @param mayProbe whether clusters may be left out: not where a filter makes neighbours other than they were in the measurement */
export function tunedScan(tuning: Tuning, contract: RecallContract, k: number, mayProbe: boolean): TunedScan {
  if (contract.kind === 'exact') return whole(cheapestProof(tuning), contract)
  if (contract.kind === 'certified') return whole(tuning.costs[0]!.first, contract)
  const { ways } = likest(tuning.targets, contract.recall, k)
  const all = ways.find(({ leavesClusters }) => !leavesClusters)
  assert(all !== undefined, 'one of the ways leaves no clusters')
  for (const { first, leavesClusters, us } of ways) {
    if (!mayProbe || us > leavingMax * all.us) break
    const gap = leavesClusters ? gapFor(tuning.recalls, { recall: contract.recall, first, k }) : everything
    if (gap === everything) continue
    return {
      choice: { first, gap },
      recall: contract.recall,
      distanceMax: Math.min(...around(tuning.recalls, k).map(({ distanceMax }) => distanceMax)),
    }
  }
  return whole(all.first, contract)
}

/** The measurement nearest in the number of neighbours, and of these in the share that may be missed: as ratios. */
function likest(targets: readonly MeasuredTarget[], recall: number, k: number): MeasuredTarget {
  const apart = (target: MeasuredTarget): number =>
    Math.abs(Math.log(target.k / k)) * 1000 + Math.abs(Math.log((1 - target.recall) / (1 - recall)))
  return targets.reduce((best, target) => (apart(target) < apart(best) ? target : best))
}

/** The gap at which scans with this first stage find so much; Infinity when none does. */
export function gapFor(
  recalls: Tuning['recalls'],
  { recall, first, k }: { readonly recall: number; readonly first: FirstStage; readonly k: number },
): number {
  const wanted = 1 - (1 - recall) * (first === 'bits' ? 1 - bitsMissShare : 1)
  const measured = around(recalls, k)
  return measured.length === 0 ? everything : Math.max(...measured.map(({ points }) => gapAmong(points, wanted)))
}

/** The least gap that finds so much, on the line between the points measured; Infinity when none does. */
function gapAmong(points: MeasuredRecall['points'], wanted: number): number {
  const i = points.findIndex(({ recall }) => recall >= wanted)
  const above = points[i]
  const below = points[i - 1]
  if (above === undefined || below === undefined) return above?.gap ?? everything
  const part = (wanted - below.recall) / (above.recall - below.recall)
  return below.gap + part * (above.gap - below.gap)
}

/** The same, with all clusters looked at. */
export const everyCluster = ({ choice }: TunedScan, contract: RecallContract): TunedScan =>
  whole(choice.first, contract)

const whole = (first: FirstStage, contract: RecallContract): TunedScan => ({
  choice: { first, gap: everything },
  recall: contract.kind === 'target' && first === 'bits' ? contract.recall : 1,
  distanceMax: Number.POSITIVE_INFINITY,
})

export function cheapestProof({ costs }: Pick<Tuning, 'costs'>): FirstStage {
  const cost = costs.find(({ first }) => first !== 'bits')
  assert(cost !== undefined, '8-bit codes are always tried')
  return cost.first
}

/** The measurements for the numbers of neighbours next below and above k; none where it is above all. */
function around(recalls: readonly MeasuredRecall[], k: number): readonly MeasuredRecall[] {
  const above = recalls.find((measured) => measured.k >= k)
  if (above === undefined) return []
  return [recalls.findLast((measured) => measured.k <= k) ?? above, above]
}

/** For people: what usual targets of 10 neighbours come to. */
export interface TuningStatistics extends Tuning {
  readonly gaps: readonly { readonly recall: number; readonly gap: number }[]
}

export const describeTuning = (tuning: Tuning): TuningStatistics => ({
  ...tuning,
  gaps: [0.9, 0.95, 0.99].map((recall) => ({
    recall,
    gap: tunedScan(tuning, { kind: 'target', recall }, 10, true).choice.gap,
  })),
})
