/** Which rows of a segment a version does not have. */
import type { MaskedSegment } from './shelf.js'

/** Rows of a segment that are not live. */
export function* deletedRows({ segment, masks }: MaskedSegment, ordinals: Uint32Array): Generator<number> {
  for (const [index, mask] of masks.entries()) {
    if (mask === null) continue
    const { start, rows } = segment.runs[index]!
    const end = start + rows
    if (mask === 'all') {
      for (let row = start; row < end; row++) yield row
      continue
    }
    let row = start
    for (let i = firstAtLeast(mask.ordinals, ordinals[start] ?? 0); i < mask.ordinals.length; i++) {
      const deleted = mask.ordinals[i]!
      row = firstAtLeast(ordinals, deleted, row, end)
      if (row === end) break
      if (ordinals[row] === deleted) yield row
    }
  }
}

/** Whether a row is not live. */
export function isDeleted({ segment, masks }: MaskedSegment, ordinals: Uint32Array, row: number): boolean {
  const mask = masks[segment.runOf(row)]!
  if (mask === null || mask === 'all') return mask === 'all'
  const ordinal = ordinals[row]!
  return mask.ordinals[firstAtLeast(mask.ordinals, ordinal)] === ordinal
}

/** The first index in [from, to) whose value is at least `value`; `to` when there is none. */
function firstAtLeast(ascending: Uint32Array, value: number, from = 0, to = ascending.length): number {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ascending[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
