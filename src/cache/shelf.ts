/** Segments as a query meets them, and the jobs and hits that they make. */
import type { DeleteMask } from '../core/generation.js'
import { compareIds, compareUtf8 } from '../core/id.js'
import { readGrouped } from '../core/read-grouped.js'
import type { PlacedCodebook } from './codebook-shelf.js'
import type { ScanBlock, ScanJob } from './executor.js'
import type { ResidentSegment } from './resident-segment.js'
import type { Segment } from './segment.js'
import type { TunedScan } from './tuning.js'
import type { RowLocation, ShardHit, ShardQuery } from './vector-cache.js'

/** Which rows of a run are deleted; `all` when the version does not have the run. */
export type RunMask = DeleteMask | 'all' | null

/** One segment of a version under its delete masks. */
export interface MaskedSegment {
  readonly segment: Segment
  /** One a run. */
  readonly masks: readonly RunMask[]
  /** Names the masks; empty when every row is live. */
  readonly maskKey: string
  readonly codebook: PlacedCodebook
}

/** Keeps all that scans of a version read in place until `stopReading` is called, once. */
export function startReading(segments: readonly MaskedSegment[]): void {
  for (const { segment, codebook } of segments) {
    segment.startReading()
    codebook.pins++
  }
}

export function stopReading(segments: readonly MaskedSegment[]): void {
  for (const { segment, codebook } of segments) {
    segment.stopReading()
    codebook.pins--
  }
}

/** A segment that can contribute rows, with the place of its bitmap. */
export interface Shelf {
  /** Of the segment in its version. */
  readonly index: number
  readonly masked: MaskedSegment
  readonly resident: ResidentSegment
  readonly codebookOffset: number
  readonly block: ScanBlock
}

/** Blocks that share arena and codebook: one job. */
export interface Place {
  readonly shelves: readonly Shelf[]
  /** One a shelf. */
  readonly blocks: readonly ScanBlock[]
}

/** How a query scans them. */
export interface Group extends Place {
  /** Null: nothing was measured. */
  readonly tuned: TunedScan | null
}

export const jobOf = ({ shelves, blocks, tuned }: Group, query: ShardQuery, distanceMax: number): ScanJob => ({
  arena: shelves[0]!.resident.allocation.arena,
  codebook: shelves[0]!.codebookOffset,
  blocks,
  query: query.vector,
  k: query.k,
  contract: query.contract,
  distanceMax,
  choice: tuned?.choice ?? null,
})

/** Vectors of rows of resident, pinned segments, in the order asked for: float32[dimension] each. Throws LG_CORRUPT. */
export const vectorsAt = (
  segments: readonly MaskedSegment[],
  locations: readonly RowLocation[],
): Promise<Float32Array[]> =>
  readGrouped(
    locations,
    ({ segment }) => segment,
    (segment, rows) => segments[segment]!.segment.vectors(rows.map(({ position }) => position)),
  )

/** @param location in the resident segment `masked` */
export function hitAt({ segment }: MaskedSegment, location: RowLocation, distance: number): ShardHit {
  const { ids, ordinals } = segment.resident!
  const { position } = location
  const { part } = segment.runs[segment.runOf(position)]!
  return { distance, id: ids.get(position), part, row: ordinals[position]!, location }
}

/** The total order within one collection (law 3). */
export const compareShardHits = (a: ShardHit, b: ShardHit): number =>
  a.distance - b.distance || compareIds(a.id, b.id) || compareUtf8(a.part, b.part) || a.row - b.row

/** The k nearest of both, in total order. */
export function mergeHits(a: readonly ShardHit[], b: readonly ShardHit[], k: number): readonly ShardHit[] {
  const isOrdered = a.length === 0 && b.length <= k && b.every((hit, i) => i === 0 || b[i - 1]!.distance < hit.distance)
  return isOrdered ? b : [...a, ...b].sort(compareShardHits).slice(0, k)
}
