/** The fastest ways to answer targets, by the clock. */
import type { Metric } from '../core/metric.js'
import type { FirstStage } from './executor.js'
import type { Ask, HeldOut } from './held-out.js'
import { timeWays } from './time-ways.js'
import type { TriedGaps } from './try-gaps.js'
import { distanceUnit, everything, gapFor, type MeasuredTarget, scaledChoice } from './tuning.js'

/** What is timed: each of these, when there are so many neighbours. */
const ks = [10, 100] as const
const recalls = [0.9, 0.95, 0.99] as const
const timed = { queries: 32, msMax: 500 }

/**
 * @param heldOut in random order
 * @param firsts what scans may read first
 * @param rows how many there are, held-out ones included
 */
export async function timeTargets(
  heldOut: readonly HeldOut[],
  {
    firsts,
    metric,
    rows,
    tried,
    ask,
  }: {
    readonly firsts: readonly FirstStage[]
    readonly metric: Metric
    readonly rows: number
    readonly tried: TriedGaps
    readonly ask: Ask
  },
): Promise<readonly MeasuredTarget[]> {
  const targets: MeasuredTarget[] = []
  for (const k of ks.filter((k) => k === ks[0] || k * 10 <= rows)) {
    // Queries may be farther from the rows than rows are from each other.
    const byDistance = tried.byDistance.get(k)
    const far = byDistance?.slice(0, Math.ceil(byDistance.length / 3)) ?? heldOut
    const every = Math.max(1, Math.floor(far.length / timed.queries))
    const subjects = far.filter((_, i) => i % every === 0).slice(0, timed.queries)
    for (const recall of recalls) {
      const choices = firsts.flatMap((first) => {
        const gap = gapFor(tried.recalls, { recall, first, k })
        return (gap === everything ? [gap] : [everything, gap]).map((gap) => ({ first, gap }))
      })
      const times = await timeWays(
        choices,
        subjects,
        async (choice, row) => {
          const scaled = scaledChoice(choice, distanceUnit(metric, row.vector))
          return (await ask(row, k, { kind: 'target', recall }, scaled)).us
        },
        timed.msMax,
      )
      const ways = choices.map(({ first, gap }, i) => ({ first, leavesClusters: gap !== everything, us: times[i]! }))
      targets.push({ k, recall, ways: ways.sort((a, b) => a.us - b.us) })
    }
  }
  return targets
}
