/** What a pull reads of DuckDB's vectors. Everything here is DuckDB's memory: valid while its chunk is held, never kept. */
import type { DuckDBVector } from '@duckdb/node-api'

type Numbers =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array

/**
 * Fields that every fixed-width vector of @duckdb/node-api has and does not declare public. Going through its public
 * getItem instead makes an object a value, ten times slower.
 */
interface FlatVector {
  readonly items?: unknown
  readonly validity?: { readonly data: BigUint64Array | null; readonly offset: number }
}

/** The values of a fixed-width vector, null ones undefined. */
export function flatItems<T extends Numbers>(vector: DuckDBVector, type: { new (length: number): T }): T {
  const { items } = vector as unknown as FlatVector
  if (items instanceof type) return items
  throw new TypeError(`expected a DuckDB vector of ${type.name}, got ${vector.constructor.name}`)
}

/** Answers whether a row is not null, or null when all rows are. */
export function validity(vector: DuckDBVector): ((row: number) => boolean) | null {
  const { validity: bits } = vector as unknown as FlatVector
  if (bits === undefined) throw new TypeError(`${vector.constructor.name} tells nothing of nulls`)
  if (bits.data === null) return null
  const bytes = new Uint8Array(bits.data.buffer, bits.data.byteOffset, bits.data.byteLength)
  const { offset } = bits
  return (row) => ((bytes[(offset + row) >> 3]! >> ((offset + row) & 7)) & 1) === 1
}

/** A list vector: its rows' extents in the child. */
export interface ListVector extends DuckDBVector {
  getEntryOffset(row: number): number
  getEntryLength(row: number): number
  readonly childVector: DuckDBVector
}

export function asList(vector: DuckDBVector): ListVector {
  if ('getEntryOffset' in vector && 'childVector' in vector) return vector as ListVector
  throw new TypeError(`expected a DuckDB list vector, got ${vector.constructor.name}`)
}

/** A blob vector: bytes without a copy where DuckDB keeps them in place. */
interface BlobVector extends DuckDBVector {
  getItemBytes(row: number): Uint8Array | null
}

export function asBlobs(vector: DuckDBVector): BlobVector {
  if ('getItemBytes' in vector) return vector as BlobVector
  throw new TypeError(`expected a DuckDB blob vector, got ${vector.constructor.name}`)
}
