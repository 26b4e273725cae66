/** What the background does next to a version's index. Pure: it looks, and decides. */
import { originalsBytes } from './block.js'
import type { CodebookShelf, PlacedCodebook } from './codebook-shelf.js'
import type { MergeMember } from './recode.js'
import type { Segment } from './segment.js'
import { mergedRowsMax } from './segment-description.js'
import { isResident, type Version } from './versions.js'

/** From this many rows on a query over clusters is faster than one over all codes (docs/guides/cache.md has the figures). */
export const clusteredRowsMin = 4096
/** Centroids for so many times fewer rows are half as many as they should be. */
const grownFactor = 4
/** Rows this much farther from their centroids, in the mean, than those of the training are other data. */
const driftFactor = 1.25
/** What was measured of scans is measured again when live rows, or segments, are so many times more, or fewer. */
const changedFactor = { rows: 1.2, segments: 2 }
/** A segment below this share of the largest is small; so many small ones become one. */
const smallShare = 1 / 4
const mergedMin = 8
/** A joined segment may have codes that its members had not. */
const mergedBytesFactor = 1.25

export type IndexStep =
  | { readonly kind: 'train'; readonly codebook: PlacedCodebook; readonly reason: 'first' | 'grown' | 'drifted' }
  | { readonly kind: 'merge'; readonly members: readonly MergeMember[]; readonly codebook: PlacedCodebook }
  | { readonly kind: 'recode'; readonly segment: Segment; readonly codebook: PlacedCodebook }
  /** All rows of the training have their codes now. */
  | { readonly kind: 'measure'; readonly codebook: PlacedCodebook; readonly meanRadius: number }
  /** How long scans take, and what they find, has to be measured (again). */
  | { readonly kind: 'tune'; readonly codebook: PlacedCodebook }

/**
 * The next step, or null when the version is as it should be or is not in memory.
 * @param limits `rowsMin`: fewer rows get no clusters; `bytesFree`: what a joined segment may take
 */
export function nextStep(
  version: Version,
  codebooks: CodebookShelf,
  { rowsMin, bytesFree }: { readonly rowsMin: number; readonly bytesFree: number },
): IndexStep | null {
  if (version.dimension === null || !isResident(version)) return null
  const codebook = codebooks.forDimension(version.dimension)
  if (codebook === null) return null
  const segments = version.segments.map(({ segment }) => segment)
  const rows = segments.reduce((sum, segment) => sum + segment.rows, 0)
  const { training } = codebook
  if (rows >= rowsMin) {
    if (training === null) return { kind: 'train', codebook, reason: 'first' }
    if (rows >= grownFactor * training.rows) return { kind: 'train', codebook, reason: 'grown' }
  }
  const isStale = (segment: Segment): boolean => segment.codebook !== null && segment.codebook !== codebook.version
  // What gets new codes anyway is joined on the way.
  const recoded = mergeable(version, isStale, bytesFree)
  if (recoded.length > 1) return { kind: 'merge', members: recoded, codebook }
  const members = balanced(mergeable(version, isSmall(version.dimension), bytesFree))
  if (members.length >= mergedMin) return { kind: 'merge', members, codebook }
  const stale = segments.find(isStale)
  if (stale !== undefined) return { kind: 'recode', segment: stale, codebook }
  const meanRadius = training === null ? null : meanRadiusOf(segments)
  if (meanRadius !== null) {
    if (training!.meanRadius === null) return { kind: 'measure', codebook, meanRadius }
    if (meanRadius > driftFactor * training!.meanRadius) return { kind: 'train', codebook, reason: 'drifted' }
  }
  // Where no row is live there is nothing to measure.
  return version.rows === 0 || isTuned(codebook, segments, version.rows) ? null : { kind: 'tune', codebook }
}

/** Whether what was measured of scans, if there are codes to scan, is true of about these segments with so many live rows. */
function isTuned({ tuning, version }: PlacedCodebook, segments: readonly Segment[], liveRows: number): boolean {
  if (!segments.some(({ codebook }) => codebook === version)) return true
  const isNear = (a: number, b: number, factor: number): boolean => a <= factor * b && b <= factor * a
  return (
    tuning !== null &&
    isNear(liveRows, tuning.rows, changedFactor.rows) &&
    isNear(segments.length, tuning.segments, changedFactor.segments)
  )
}

/** Over the rows in clusters; null when there are none, or no finite number tells. */
function meanRadiusOf(segments: readonly Segment[]): number | null {
  let sum = 0
  let rows = 0
  for (const segment of segments) {
    const { meanRadius } = segment.resident!.block
    if (meanRadius === null) continue
    sum += meanRadius * segment.rows
    rows += segment.rows
  }
  const mean = sum / rows
  return Number.isFinite(mean) ? mean : null
}

const isSmall =
  (dimension: number) =>
  ({ rows }: Segment): boolean =>
    rows < mergedRowsMax(dimension) * smallShare

interface Candidate extends MergeMember {
  /** Of the wanted runs. */
  readonly rows: number
}

/** Without those at the end that are larger than all before together: a row is copied about log(rows) times however its neighbours arrive. */
function balanced(members: readonly Candidate[]): readonly Candidate[] {
  const last = members.at(-1)
  if (last === undefined) return members
  const others = members.slice(0, -1)
  return last.rows > others.reduce((sum, { rows }) => sum + rows, 0) ? balanced(others) : members
}

/** Segments that one could be made of, the smallest first. */
function mergeable(version: Version, isWanted: (segment: Segment) => boolean, bytesFree: number): readonly Candidate[] {
  const candidates = version.segments
    .filter(({ segment }) => isWanted(segment))
    .map(({ segment, masks }): Candidate => {
      const runs = masks.flatMap((mask, index) => (mask === 'all' ? [] : [index]))
      return { segment, runs, rows: runs.reduce((sum, run) => sum + segment.runs[run]!.rows, 0) }
    })
    .sort((a, b) => a.rows - b.rows)
  const members: Candidate[] = []
  let rows = 0
  let bytes = 0
  for (const member of candidates) {
    rows += member.rows
    const { segment } = member
    const vectors = originalsBytes({ rows: member.rows, dimension: version.dimension! })
    bytes += segment.bytes * mergedBytesFactor + vectors
    if (rows > mergedRowsMax(version.dimension!) || bytes > bytesFree) break
    members.push(member)
  }
  return members
}
