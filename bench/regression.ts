/**
 * Whether a report falls behind an earlier one. Machines and hours differ, so nothing is compared but ratios: how lakegate's
 * rows stand to the other rows of the same run, then and now.
 */
import type { Report, ReportRow } from './report.js'

export interface Regression {
  readonly row: string
  readonly what: string
}

/** Ratios differ by this share between runs of the same code on a shared machine. */
const noiseMin = 0.2
/** Runs that vary more cannot excuse everything. */
const noiseMax = 0.5
const recallNoise = 0.005

const keyOf = ({ engine, mode }: ReportRow): string => `${engine} ${mode}`

/** Rows of `now` that fell behind `before`. Rows that only one of them has are left out. */
export function regressions(before: Report, now: Report): readonly Regression[] {
  const earlier = new Map(before.rows.map((row) => [keyOf(row), row]))
  const pairs = now.rows.flatMap((row) => {
    const old = earlier.get(keyOf(row))
    return old === undefined ? [] : [{ old, row }]
  })
  const ours = pairs.filter(({ row }) => row.engine === 'lakegate')
  const peers = pairs.filter(({ row }) => row.engine !== 'lakegate')
  // Without other engines the first of our own rows stands for them.
  const references = peers.length > 0 ? peers : ours.slice(0, 1)
  return ours.flatMap(({ old, row }) => [
    ...slower({ old, row }, references),
    ...lessRight(old, row).map((what) => ({ row: keyOf(row), what })),
  ])
}

interface Pair {
  readonly old: ReportRow
  readonly row: ReportRow
}

function slower(pair: Pair, references: readonly Pair[]): Regression[] {
  const others = references.filter((reference) => reference !== pair)
  if (others.length === 0) return []
  const logarithm = others.reduce((sum, other) => sum + Math.log(change(pair) / change(other)), 0) / others.length
  const share = Math.exp(logarithm)
  const noise = Math.min(noiseMax, Math.max(noiseMin, spread(pair) + Math.max(...others.map(spread))))
  if (share >= 1 - noise) return []
  const percent = (value: number): string => `${(100 * value).toFixed(0)} %`
  const names = others.map(({ row }) => keyOf(row)).join(', ')
  return [
    { row: keyOf(pair.row), what: `${percent(share)} of its earlier speed beside ${names} (noise ${percent(noise)})` },
  ]
}

const change = ({ old, row }: Pair): number => row.qps / old.qps

/** Half the distance of the slowest from the fastest round, as a share; the larger of then and now. */
const spread = ({ old, row }: Pair): number =>
  Math.max(...[old, row].map(({ qps, qps_spread: [low, high] }) => (high - low) / 2 / qps))

function lessRight(old: ReportRow, row: ReportRow): string[] {
  const found: string[] = []
  if (row.recall_at_k < old.recall_at_k - recallNoise)
    found.push(`recall ${row.recall_at_k}, earlier ${old.recall_at_k}`)
  const { certificate } = row
  if (certificate?.kind === 'proven' && certificate.violations > 0)
    found.push(`${certificate.violations} of ${certificate.queries} proven answers are wrong`)
  return found
}
