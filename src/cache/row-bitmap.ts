/*
 * Sets of rows as one bit a row: row i is bit i & 31 of word i >> 5. Bits past the last row mean nothing until
 * `trim` clears them.
 */

export const bitmapWords = (rows: number): number => (rows + 31) >>> 5

export function noRows(rows: number): Uint32Array {
  return new Uint32Array(bitmapWords(rows))
}

/** into := into and other. */
export function intersect(into: Uint32Array, other: Uint32Array): void {
  for (let i = 0; i < into.length; i++) into[i]! &= other[i]!
}

/** into := into or other. */
export function unite(into: Uint32Array, other: Uint32Array): void {
  for (let i = 0; i < into.length; i++) into[i]! |= other[i]!
}

export function complement(bitmap: Uint32Array): void {
  for (let i = 0; i < bitmap.length; i++) bitmap[i] = ~bitmap[i]!
}

/** Clears the bits past the last row. */
export function trim(bitmap: Uint32Array, rows: number): void {
  const used = rows & 31
  if (used !== 0) bitmap[rows >>> 5]! &= 0xffffffff >>> (32 - used)
}

export function hasRow(bitmap: Uint32Array, row: number): boolean {
  return ((bitmap[row >>> 5]! >>> (row & 31)) & 1) === 1
}

export function addRow(bitmap: Uint32Array, row: number): void {
  bitmap[row >>> 5]! |= 1 << (row & 31)
}

/** Rows in a trimmed bitmap. */
export function countRows(bitmap: Uint32Array): number {
  let count = 0
  for (let i = 0; i < bitmap.length; i++) {
    // Bits added in pairs, nibbles, bytes (Hacker's Delight, 5-1).
    let word = bitmap[i]!
    word -= (word >>> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >>> 2) & 0x33333333)
    count += Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
  }
  return count
}
