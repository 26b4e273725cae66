import type { RowId } from '../core/id.js'
import type { IdValues } from '../core/vector-batch.js'
import { lastAtMost } from './ascending.js'

/** How a segment's ids lie in memory and in its file. `mixed`: integers and strings together, or integers of 64 bits of both kinds. */
export type IdKind = 'int64' | 'uint64' | 'string' | 'mixed'

/** The ids of one segment's rows. Immutable. */
export interface SegmentIds {
  readonly kind: IdKind
  readonly count: number
  readonly byteLength: number
  get(row: number): RowId
  /** Of rows [from, to); borrowed. */
  slice(from: number, to: number): IdValues
  /** Rows with this id, ascending. */
  find(id: RowId): readonly number[]
  /** Sections of the segment file, in the order `readIds` takes them. */
  sections(): readonly Uint8Array[]
}

const int64Min = -(2n ** 63n)
const int64Max = 2n ** 63n - 1n
const uint64Max = 2n ** 64n - 1n

/** Joins the ids of consecutive batches, in the narrowest form that holds them all. */
export function joinIds(batches: readonly IdValues[]): SegmentIds {
  const count = batches.reduce((sum, batch) => sum + batch.length, 0)
  if (batches.length > 0 && batches.every((batch) => batch instanceof BigInt64Array))
    return integerIds('int64', concatenate(new BigInt64Array(count), batches))
  if (batches.length > 0 && batches.every((batch) => batch instanceof BigUint64Array))
    return integerIds('uint64', concatenate(new BigUint64Array(count), batches))
  const ids = batches.flatMap((batch) => Array.from<RowId>(batch))
  if (ids.every((id) => typeof id === 'bigint' && id >= int64Min && id <= int64Max))
    return integerIds('int64', BigInt64Array.from(ids as bigint[]))
  if (ids.every((id) => typeof id === 'bigint' && id >= 0n && id <= uint64Max))
    return integerIds('uint64', BigUint64Array.from(ids as bigint[]))
  const kind = ids.every((id) => typeof id === 'string') ? 'string' : 'mixed'
  const write = kind === 'string' ? (id: RowId) => id as string : tagged
  const offsets = new Uint32Array(count + 1)
  for (let row = 0; row < count; row++) offsets[row + 1] = offsets[row]! + Buffer.byteLength(write(ids[row]!), 'utf8')
  const text = Buffer.alloc(offsets[count]!)
  for (let row = 0; row < count; row++) text.write(write(ids[row]!), offsets[row]!, 'utf8')
  return textIds(kind, text, offsets)
}

/** Ids as `sections` wrote them; the arrays are taken. */
export function readIds(kind: IdKind, sections: readonly Uint8Array[]): SegmentIds {
  const [first, second] = sections.map(aligned)
  switch (kind) {
    case 'int64':
      return integerIds(kind, new BigInt64Array(first!.buffer, first!.byteOffset, first!.byteLength / 8))
    case 'uint64':
      return integerIds(kind, new BigUint64Array(first!.buffer, first!.byteOffset, first!.byteLength / 8))
    case 'string':
    case 'mixed':
      return textIds(kind, first!, new Uint32Array(second!.buffer, second!.byteOffset, second!.byteLength / 4))
  }
}

function integerIds<Kind extends 'int64' | 'uint64'>(
  kind: Kind,
  values: Kind extends 'int64' ? BigInt64Array : BigUint64Array,
): SegmentIds {
  const [low, high] = kind === 'int64' ? [int64Min, int64Max] : [0n, uint64Max]
  return {
    kind,
    count: values.length,
    byteLength: values.byteLength,
    get: (row) => values[row]!,
    slice: (from, to) => values.subarray(from, to),
    find(id) {
      const rows: number[] = []
      if (typeof id !== 'bigint' || id < low || id > high) return rows
      // Out of order as often as not, and a native scan reads a million ids in 3 ms: no index to build, hold and count.
      for (let row = values.indexOf(id); row >= 0; row = values.indexOf(id, row + 1)) rows.push(row)
      return rows
    },
    sections: () => [bytesOf(values)],
  }
}

/** `text`: UTF-8 of all ids one after another; `offsets`: uint32[count + 1]. */
function textIds(kind: 'string' | 'mixed', text: Uint8Array, offsets: Uint32Array): SegmentIds {
  const buffer = Buffer.from(text.buffer, text.byteOffset, text.byteLength)
  const read = kind === 'string' ? (written: string) => written : untagged
  const write = kind === 'string' ? (id: RowId) => (typeof id === 'string' ? id : null) : tagged
  const count = offsets.length - 1
  const get = (row: number): RowId => read(buffer.toString('utf8', offsets[row], offsets[row + 1]))
  return {
    kind,
    count,
    byteLength: text.byteLength + offsets.byteLength,
    get,
    slice: (from, to) => Array.from({ length: to - from }, (_, i) => get(from + i)),
    find(id) {
      const rows: number[] = []
      const wanted = write(id)
      if (wanted === null) return rows
      const bytes = Buffer.from(wanted, 'utf8')
      if (bytes.length === 0) {
        for (let row = 0; row < count; row++) if (offsets[row] === offsets[row + 1]) rows.push(row)
        return rows
      }
      // A match may start inside one id and end in the next; only one that fills an id counts.
      for (let at = buffer.indexOf(bytes); at >= 0; at = buffer.indexOf(bytes, at + 1)) {
        // Among equal offsets (empty ids) the last starts the id that is not empty.
        const row = lastAtMost(offsets, at)
        if (offsets[row] === at && offsets[row + 1] === at + bytes.length) rows.push(row)
      }
      return rows
    },
    sections: () => [text, bytesOf(offsets)],
  }
}

const tagged = (id: RowId): string => (typeof id === 'bigint' ? `i${id}` : `s${id}`)
const untagged = (written: string): RowId => (written.startsWith('i') ? BigInt(written.slice(1)) : written.slice(1))

const bytesOf = (array: BigInt64Array | BigUint64Array | Uint32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

/** Typed arrays of eight-byte values cannot start anywhere; bytes read from the middle of a file may. */
const aligned = (bytes: Uint8Array): Uint8Array => (bytes.byteOffset % 8 === 0 ? bytes : Uint8Array.from(bytes))

function concatenate<T extends BigInt64Array | BigUint64Array>(
  into: T,
  batches: readonly (readonly RowId[] | BigInt64Array | BigUint64Array)[],
): T {
  let at = 0
  for (const batch of batches) {
    into.set(batch as T, at)
    at += batch.length
  }
  return into
}
