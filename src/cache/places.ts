/** Where the rows are that a query may return: blocks by arena and codebook, each with the bitmap of its rows that are live and pass the filter. */
import type { Column } from '../core/column.js'
import { formatPredicate } from '../core/predicate.js'
import { type BoundPredicate, bindPredicate } from '../core/predicate-bind.js'
import type { AllowBitmap } from './allow-slots.js'
import type { MemoryBudget } from './budget.js'
import { deletedRows } from './deleted-rows.js'
import { evaluateFilter } from './filter.js'
import type { ResidentSegment } from './resident-segment.js'
import { complement, countRows, trim } from './row-bitmap.js'
import type { MaskedSegment, Place, Shelf } from './shelf.js'
import type { ShardQuery } from './vector-cache.js'

/** Of one version. */
export interface SearchedRows {
  /** In version order, pinned. */
  readonly segments: readonly MaskedSegment[]
  readonly columns: readonly Column[]
  readonly budget: MemoryBudget
}

/** Of versions in memory, for queries without a filter. */
let wholeVersions = new WeakMap<readonly MaskedSegment[], readonly Place[]>()

/** To be called when a segment has left memory: places would keep its arena from being given back. The next query of any version looks them up again. */
export function forgetPlaces(): void {
  wholeVersions = new WeakMap()
}

/** Where the version is, when every bitmap that takes is there: those are held. Null, and none is held, when one is to be filled. */
export function placesAtOnce(
  target: SearchedRows,
  query: ShardQuery,
  bitmaps: (AllowBitmap | null)[],
): readonly Place[] | null {
  const { segments } = target
  const known = query.filter === null ? wholeVersions.get(segments) : undefined
  if (known?.every(isStillThere)) return known
  const filterKey = query.filter === null ? '' : formatPredicate(query.filter)
  for (const { segment, maskKey } of segments) {
    const bitmap = isWhole(maskKey, query) ? null : segment.resident!.allow.acquireAtOnce(`${maskKey}\n${filterKey}`)
    if (bitmap === undefined) {
      for (const held of bitmaps.splice(0)) held?.release()
      return null
    }
    bitmaps.push(bitmap)
  }
  const places = groupByPlace(shelve(target, bitmaps))
  if (bitmaps.every((bitmap) => bitmap === null)) wholeVersions.set(segments, places)
  return places
}

/** Segments, and originals alone, leave memory and come back elsewhere. */
export const isStillThere = ({ shelves }: Place): boolean =>
  shelves.every(
    ({ masked, resident, block }) =>
      masked.segment.resident === resident && (resident.block.originals?.offset ?? 0) === block.vectors,
  )

const isWhole = (maskKey: string, { filter }: ShardQuery): boolean => maskKey === '' && filter === null

/** Where the version is, once every bitmap is filled. */
export async function placesFiltered(
  target: SearchedRows,
  query: ShardQuery,
  bitmaps: (AllowBitmap | null)[],
  options: { readonly signal: AbortSignal },
): Promise<readonly Place[]> {
  const filter = query.filter === null ? null : bindPredicate(query.filter, target.columns)
  const filterKey = query.filter === null ? '' : formatPredicate(query.filter)
  for (const masked of target.segments) {
    const { segment, maskKey } = masked
    if (isWhole(maskKey, query)) {
      bitmaps.push(null)
      continue
    }
    const resident = segment.resident!
    const bitmap = await resident.allow.acquire(`${maskKey}\n${filterKey}`, async (words) => {
      // Between segments others get their turn: a filter over many rows takes milliseconds.
      await new Promise(setImmediate)
      const count = fillAllowed(words, masked, resident, filter)
      resident.block.arrangeBitmap(words)
      return count
    })
    bitmaps.push(bitmap)
    options.signal.throwIfAborted()
  }
  return groupByPlace(shelve(target, bitmaps))
}

/** @param bitmaps one a segment, null for all rows; segments without a row that may be returned are left out */
function shelve({ segments, budget }: SearchedRows, bitmaps: readonly (AllowBitmap | null)[]): readonly Shelf[] {
  return segments.flatMap((masked, index): Shelf[] => {
    const bitmap = bitmaps[index]!
    if (bitmap?.count === 0) return []
    const resident = masked.segment.resident!
    const { allocation, originals } = resident.block
    return [
      {
        index,
        masked,
        resident,
        codebookOffset: masked.codebook.place(resident.allocation.arena, budget),
        block: { block: allocation.offset, vectors: originals?.offset ?? 0, allow: bitmap?.offset ?? 0 },
      },
    ]
  })
}

/** Sets the bits of live rows that pass the filter in zeroed words; answers how many. */
function fillAllowed(
  words: Uint32Array,
  masked: MaskedSegment,
  resident: ResidentSegment,
  filter: BoundPredicate | null,
): number {
  const rows = resident.ordinals.length
  if (filter === null) {
    complement(words)
    trim(words, rows)
  } else {
    words.set(evaluateFilter(filter, resident.metadata!, rows))
  }
  for (const row of deletedRows(masked, resident.ordinals)) words[row >>> 5]! &= ~(1 << (row & 31))
  return countRows(words)
}

function groupByPlace(shelves: readonly Shelf[]): readonly Place[] {
  const byPlace = new Map<string, Shelf[]>()
  for (const shelf of shelves) {
    const place = `${shelf.resident.allocation.arena.id} ${shelf.codebookOffset}`
    const group = byPlace.get(place)
    if (group === undefined) byPlace.set(place, [shelf])
    else group.push(shelf)
  }
  return Array.from(byPlace.values(), (shelves) => ({ shelves, blocks: shelves.map(({ block }) => block) }))
}
