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
  /** The same with 1-bit codes first under a target of .95. Left out where they were not tried, and by earlier versions. */
  readonly targetBitsUs?: number
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

/** A way to scan, and what it is expected to find. */
export interface TunedScan {
  readonly choice: ScanChoice
  /** Under a target contract, the share of the neighbours that is expected to be found. */
  readonly recall: number
  /** When a k-th neighbour is farther than this, the query is unlike those that `recall` was measured with. */
  readonly distanceMax: number
}

/** Of a target's misses, those left to 1-bit codes where clusters are left out too: codes miss far less than they may. */
export const bitsMissShare = 0.25

/** What distances of a query, and with them gaps, are multiples of: for dot, whose answers do not change with a query's length. */
export const distanceUnit = (metric: Metric, query: Float32Array): number =>
  metric === 'dot' ? Math.sqrt(innerProduct(query, query)) : 1

/** The same way, of a finite gap, for a query whose distances are multiples of `unit`. */
export const scaledScan = ({ choice, recall, distanceMax }: TunedScan, unit: number): TunedScan => ({
  choice: { first: choice.first, gap: choice.gap * unit },
  recall,
  distanceMax: distanceMax * unit,
})

/** @param mayProbe whether clusters may be left out: not where a filter makes neighbours other than they were in the measurement */
export function tunedScan(tuning: Tuning, contract: RecallContract, k: number, mayProbe: boolean): TunedScan {
  const proven = cheapest(tuning, (stage) => stage !== 'bits')
  if (contract.kind === 'exact') return whole(proven, contract)
  const first = contract.kind === 'target' ? cheapestForTargets(tuning, proven) : cheapest(tuning, () => true)
  if (contract.kind === 'certified' || !mayProbe) return whole(first, contract)
  const wanted = 1 - (1 - contract.recall) * (first === 'bits' ? 1 - bitsMissShare : 1)
  const measured = around(tuning.recalls, k)
  const gap = measured.length === 0 ? everything : Math.max(...measured.map(({ points }) => gapFor(points, wanted)))
  if (gap === everything) return whole(first, contract)
  return {
    choice: { first, gap },
    recall: contract.recall,
    distanceMax: Math.min(...measured.map(({ distanceMax }) => distanceMax)),
  }
}

/** The least gap that finds so much, on the line between the points measured; Infinity when none does. */
function gapFor(points: MeasuredRecall['points'], wanted: number): number {
  const i = points.findIndex(({ recall }) => recall >= wanted)
  const above = points[i]
  const below = points[i - 1]
  if (above === undefined || below === undefined) return above?.gap ?? everything
  const part = (wanted - below.recall) / (above.recall - below.recall)
  return below.gap + part * (above.gap - below.gap)
}

const everything = Number.POSITIVE_INFINITY

/** The same, with all clusters looked at. */
export const everyCluster = ({ choice }: TunedScan, contract: RecallContract): TunedScan =>
  whole(choice.first, contract)

const whole = (first: FirstStage, contract: RecallContract): TunedScan => ({
  choice: { first, gap: everything },
  recall: contract.kind === 'target' && first === 'bits' ? contract.recall : 1,
  distanceMax: Number.POSITIVE_INFINITY,
})

const cheapest = (tuning: Tuning, allowed: (first: FirstStage) => boolean): FirstStage => {
  const cost = tuning.costs.find(({ first }) => allowed(first))
  assert(cost !== undefined, '8-bit codes are always tried')
  return cost.first
}

/** 1-bit codes that may miss one in twenty rule out many more rows than those that may miss one in a million. */
function cheapestForTargets({ costs, targetBitsUs }: Tuning, proven: FirstStage): FirstStage {
  const bitsUs = targetBitsUs ?? costs.find(({ first }) => first === 'bits')?.us ?? everything
  return bitsUs < costs.find(({ first }) => first === proven)!.us ? 'bits' : proven
}

/** The measurements for the numbers of neighbours next below and above k. */
function around(recalls: readonly MeasuredRecall[], k: number): readonly MeasuredRecall[] {
  const below = recalls.findLast((measured) => measured.k <= k)
  const above = recalls.find((measured) => measured.k >= k)
  return [below ?? above, above ?? below].flatMap((measured) => measured ?? [])
}

/** For people: what usual targets of 10 neighbours come to. */
export interface TuningStatistics extends Tuning {
  readonly targets: readonly { readonly recall: number; readonly gap: number }[]
}

export const describeTuning = (tuning: Tuning): TuningStatistics => ({
  ...tuning,
  targets: [0.9, 0.95, 0.99].map((recall) => ({
    recall,
    gap: tunedScan(tuning, { kind: 'target', recall }, 10, true).choice.gap,
  })),
})
