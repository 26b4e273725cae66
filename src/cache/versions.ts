import { createHash } from 'node:crypto'
import type { Manifest } from '../adapters/adapter.js'
import type { Column } from '../core/column.js'
import type { DeleteMask, Generation, PartKey } from '../core/generation.js'
import type { SkippedRows } from '../core/vector-batch.js'
import type { PlacedCodebook } from './codebook-shelf.js'
import type { Segment } from './segment.js'
import type { MaskedSegment, RunMask } from './shelf.js'

/** A part in the cache: shared by every version that has it. */
export interface CachedPart {
  readonly key: PartKey
  readonly readIdentity: string
  readonly skipped: SkippedRows
  /** All of its rows; a segment may hold rows of other parts as well. */
  readonly segments: readonly Segment[]
}

/** One generation: a list of parts under delete masks. Immutable but for what the source still says of it. */
export interface Version {
  readonly generation: Generation
  readonly readIdentity: string
  readonly dimension: number | null
  readonly columns: readonly Column[]
  readonly vectorColumn: string
  readonly idColumn: string | null
  readonly parts: readonly { readonly part: CachedPart; readonly mask: DeleteMask | null }[]
  /** Its segments in order, the index of a RowLocation. */
  readonly segments: readonly MaskedSegment[]
  /** Live rows. */
  readonly rows: number
  readonly witness: string
  /** The adapter's configuration that it was read under; null when the adapter states none. */
  readonly configuration: string | null
  /** Read under the configuration of this process; one recalled from disk may not be, and only the manifest tells. */
  confirmed: boolean
}

/** The segments of parts under their masks. Rows that a segment has of other parts, or of a part that has them elsewhere, are left out. */
export function maskSegments(
  slots: Version['parts'],
  codebookOf: (segment: Segment) => PlacedCodebook,
): MaskedSegment[] {
  const slotOf = new Map(slots.map((slot) => [slot.part.key, slot]))
  const segments = new Set(slots.flatMap(({ part }) => part.segments))
  return Array.from(segments, (segment) => {
    const masks = segment.runs.map((run): RunMask => {
      const slot = slotOf.get(run.part)
      return slot === undefined || !slot.part.segments.includes(segment) ? 'all' : slot.mask
    })
    return { segment, masks, maskKey: maskKey(masks), codebook: codebookOf(segment) }
  })
}

/** Short, because every query compares it. */
function maskKey(masks: readonly RunMask[]): string {
  if (masks.every((mask) => mask === null)) return ''
  const names = masks.map((mask) => (mask === null || mask === 'all' ? mask : [mask.identity]))
  return createHash('sha256').update(JSON.stringify(names)).digest('base64')
}

export const isResident = (version: Version): boolean =>
  version.segments.every(({ segment }) => segment.resident !== null && !segment.broken)

/** Keeps a version's segments from leaving memory with their last pin. */
export function hold(version: Version): void {
  for (const { segment } of version.segments) segment.references++
}

/** Undoes one `hold`. */
export function drop(version: Version): void {
  for (const { segment } of version.segments) {
    segment.references--
    segment.leaveIfUnused()
  }
}

/** Whether a version is what the source's manifest describes, given the manifest's parts. */
export const sameContent = (version: Version, manifest: Manifest, slots: Version['parts']): boolean =>
  version.readIdentity === manifest.readIdentity &&
  version.parts.length === slots.length &&
  version.parts.every(({ part, mask }, i) => part === slots[i]!.part && mask?.identity === slots[i]!.mask?.identity)
