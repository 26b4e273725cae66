import { seededRandom } from '../core/clock.js'
import type { PlacedCodebook } from './codebook-shelf.js'
import { deletedRows, isDeleted } from './deleted-rows.js'
import type { FirstStage } from './executor.js'
import type { HeldOut } from './held-out.js'
import { bitsWork } from './scan-plan.js'
import { type SearchTarget, searchSegments } from './search.js'
import { Pins } from './segment.js'
import { queriesMax, tuneScans } from './tune-scans.js'
import type { Tuning } from './tuning.js'
import type { Version } from './versions.js'

/** Rows for every one that stands for a query: of small collections a part is enough. */
const rowsEach = 16

/** Measures how the version's segments of a codebook are best searched. They are resident, and stay so meanwhile; some row is live. */
export async function tuneVersion(
  version: Version,
  placed: PlacedCodebook,
  {
    budget,
    executor,
    clock,
  }: Pick<SearchTarget, 'budget' | 'executor'> & { readonly clock: { readonly now: () => number } },
  signal: AbortSignal,
): Promise<Tuning> {
  const segments = version.segments.filter(({ codebook }) => codebook === placed)
  const rows = segments.reduce((sum, { segment }) => sum + segment.rows, 0)
  let live = rows
  for (const masked of segments) for (const _ of deletedRows(masked, masked.segment.resident!.ordinals)) live--
  const { metric, dimension, centroids, basis } = placed.codebook
  const firsts: FirstStage[] = ['bytes']
  if (basis !== null) {
    if (basis.prefix > 0) firsts.unshift('prefix')
    if (basis.cells !== null && metric !== 'dot') firsts.unshift('cells')
  }
  if (bitsWork(dimension)) firsts.push('bits')
  const pins = new Pins()
  for (const { segment } of segments) pins.addReading(segment)
  try {
    const target = { segments, columns: version.columns, executor, budget }
    const measured = await tuneScans(await heldOutRows(segments, rows), {
      firsts,
      metric,
      clustered: centroids !== null,
      rows: live,
      search: (query, choice) => searchSegments({ ...target, choice }, query, { signal }),
    })
    return { atMs: clock.now(), rows: version.rows, segments: version.segments.length, ...measured }
  } finally {
    pins.release()
  }
}

/** Live rows, evenly spread, in random order: of every stretch of rows the first, because deletes may have a rhythm of their own. */
async function heldOutRows(segments: Version['segments'], rows: number): Promise<HeldOut[]> {
  const count = Math.min(queriesMax, Math.ceil(rows / rowsEach))
  const positions = segments.map((): number[] => [])
  let segment = 0
  let start = 0
  for (let i = 0; i < count; i++) {
    const end = Math.floor(((i + 1) * rows) / count)
    for (let row = Math.floor((i * rows) / count); row < end; row++) {
      while (row >= start + segments[segment]!.segment.rows) start += segments[segment++]!.segment.rows
      const masked = segments[segment]!
      const position = row - start
      if (isDeleted(masked, masked.segment.resident!.ordinals, position)) continue
      positions[segment]!.push(position)
      break
    }
  }
  const random = seededRandom(count)
  const heldOut: { readonly row: HeldOut; readonly key: number }[] = []
  for (const [segment, chosen] of positions.entries()) {
    // At once: finding where rows on disk are means looking through the whole segment, in one turn.
    const vectors = await segments[segment]!.segment.vectors(chosen)
    for (const [i, position] of chosen.entries())
      heldOut.push({ row: { vector: vectors[i]!, row: { segment, position } }, key: random() })
  }
  return heldOut.sort((a, b) => a.key - b.key).map(({ row }) => row)
}
