/** Where the rows are that a query may return: blocks by arena and codebook, each with the bitmap of its rows that are live and pass the filter. */
import type { Column } from '../core/column.js'
import { formatPredicate } from '../core/predicate.js'
import { type BoundPredicate, bindPredicate } from '../core/predicate-bind.js'
import { type AllowBitmap, allowSlotCount } from './allow-slots.js'
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

interface KnownPlaces {
  /** One a segment: where its bitmap is, or that it has none or allows no row. Null: no segment has one. */
  readonly marks: readonly number[] | null
  readonly places: readonly Place[]
}

/** By the segments of versions in memory, and by filter. Blocks keep their list: what a scan knows of a list is looked up by it. */
let knownVersions = new WeakMap<readonly MaskedSegment[], Map<string, KnownPlaces>>()

/** Filters a version: as many as bitmaps are kept for. */
const knownMax = allowSlotCount

/** To be called when a segment has left memory: places would keep its arena from being given back. The next query of any version looks them up again. */
export function forgetPlaces(): void {
  knownVersions = new WeakMap()
}

/** Where the version is, when every bitmap that takes is there: those are held. Null, and none is held, when one is to be filled. */
export function placesAtOnce(
  target: SearchedRows,
  query: ShardQuery,
  bitmaps: (AllowBitmap | null)[],
): readonly Place[] | null {
  const { segments } = target
  const filterKey = keyOf(query)
  const known = knownVersions.get(segments)?.get(filterKey)
  if (known?.marks === null && known.places.every(isStillThere)) return known.places
  for (const { segment, maskKey } of segments) {
    const bitmap = isWhole(maskKey, query) ? null : segment.resident!.allow.acquireAtOnce(`${maskKey}\n${filterKey}`)
    if (bitmap === undefined) {
      for (const held of bitmaps.splice(0)) held?.release()
      return null
    }
    bitmaps.push(bitmap)
  }
  return placesUnder(target, filterKey, bitmaps)
}

const keyOf = ({ filter }: ShardQuery): string => (filter === null ? '' : formatPredicate(filter))

/** @param bitmaps one a segment, null for all rows */
function placesUnder(
  target: SearchedRows,
  filterKey: string,
  bitmaps: readonly (AllowBitmap | null)[],
): readonly Place[] {
  let version = knownVersions.get(target.segments)
  if (version === undefined) {
    version = new Map()
    knownVersions.set(target.segments, version)
  }
  const known = version.get(filterKey)
  if (known?.marks?.every((mark, i) => mark === markOf(bitmaps[i]!)) === true && known.places.every(isStillThere))
    return known.places
  const places = groupByPlace(shelve(target, bitmaps))
  if (version.size >= knownMax) version.clear()
  version.set(filterKey, { marks: bitmaps.every((bitmap) => bitmap === null) ? null : bitmaps.map(markOf), places })
  return places
}

const markOf = (bitmap: AllowBitmap | null): number => (bitmap === null ? -1 : bitmap.count === 0 ? -2 : bitmap.offset)

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
  const filterKey = keyOf(query)
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
  return placesUnder(target, filterKey, bitmaps)
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
