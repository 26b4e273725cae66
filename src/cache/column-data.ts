import type { TimeUnit } from 'apache-arrow'

/** What columns of every type have. */
export interface Rows {
  readonly rows: number
  /** Bitmap of the rows that are not null; null when none is. */
  readonly validity: Uint32Array | null
}

/** bool: bitmap of the rows that are true. */
export interface BitColumn extends Rows {
  readonly layout: 'bits'
  readonly bits: Uint32Array
}

/** int, decimal, date, time, timestamp: `width` 32-bit words a row, little-endian, two's complement when signed. */
export interface WordColumn extends Rows {
  readonly layout: 'words'
  readonly width: 1 | 2 | 4
  readonly signed: boolean
  readonly words: Int32Array
  /** What a timestamp's integers count; null for other types. The largest and smallest are its infinities. */
  readonly unit: TimeUnit | null
}

export interface FloatColumn extends Rows {
  readonly layout: 'float'
  readonly values: Float64Array
}

/** string (UTF-8), binary, json (UTF-8): row i is bytes[offsets[i], offsets[i + 1]). */
export interface BytesColumn extends Rows {
  readonly layout: 'bytes'
  readonly offsets: Int32Array
  readonly bytes: Uint8Array
}

/** Strings of few distinct values: row i is value codes[i]. */
export interface DictionaryColumn extends Rows {
  readonly layout: 'dictionary'
  readonly codes: Uint8Array | Uint16Array
  readonly values: BytesColumn
}

/** Row i is elements[offsets[i], offsets[i + 1]). */
export interface ListColumn extends Rows {
  readonly layout: 'list'
  readonly offsets: Int32Array
  readonly elements: ColumnData
}

/** One column of a segment in one piece. The arrays may be views of the segment's memory. */
export type ColumnData = BitColumn | WordColumn | FloatColumn | BytesColumn | DictionaryColumn | ListColumn

/** The value of a row, not null, from its words. */
export function readInteger({ words, width, signed }: WordColumn, row: number): bigint {
  const top = (row + 1) * width - 1
  let value = BigInt(signed ? words[top]! : words[top]! >>> 0)
  for (let i = top - 1; i >= row * width; i--) value = (value << 32n) | BigInt(words[i]! >>> 0)
  return value
}
