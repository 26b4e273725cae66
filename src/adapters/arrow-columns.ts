/**
 * Metadata columns as Arrow. What a pull delivers for each logical type (src/core/column.ts):
 *
 *     bool            Bool
 *     int             Int64; Uint64 when the source column is an unsigned 64-bit integer
 *     float           Float64
 *     decimal         Decimal(precision 38, scale, 128 bits)
 *     string          Utf8
 *     binary          Binary
 *     date            DateDay (int32 days)
 *     time            TimeNanosecond (int64)
 *     timestamp       Timestamp in the unit of the part's own column (int64), time zone 'UTC' for instants, none for wall-clock
 *                     readings; ±(2^63 - 1) is DuckDB's infinity in every unit. Batches without values may name any unit
 *     list            List of the element's form, child field "item"
 *     json            Utf8 holding JSON text: integers in full, NaN and infinities as null
 *
 * Every field is nullable; fields are in the order of the manifest's columns. Values of null rows are undefined.
 */
import type { DuckDBVector } from '@duckdb/node-api'
import {
  Binary,
  Bool,
  type Data,
  DateDay,
  Decimal,
  Field,
  Float64,
  Int64,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  TimeNanosecond,
  Timestamp,
  TimeUnit,
  Uint64,
  Utf8,
} from 'apache-arrow'
import type { Cell } from '../core/column.js'
import type { StoredType } from './column-type.js'
import { asBlobs, asList, flatItems, validity } from './duckdb-vectors.js'

/** Collects some rows of one column. */
interface ColumnBuilder {
  /** Copies the rows at these positions of a DuckDB vector. */
  append(vector: DuckDBVector, rows: Uint32Array): void
  /** Adds one value, as src/core/column.ts writes it; json as its text. */
  push(cell: Cell): void
  /** Bytes of values without a fixed width, so far. */
  bytes(): number
  /** Everything collected; the builder is not used afterwards. */
  finish(): Data
}

export interface NamedType {
  readonly name: string
  readonly type: StoredType
}

/** Builds record batches of these columns. */
export interface BatchBuilder {
  readonly columns: readonly ColumnBuilder[]
  /** Bytes of values without a fixed width, so far. */
  bytes(): number
  finish(count: number): RecordBatch
}

export function buildBatch(columns: readonly NamedType[]): BatchBuilder {
  const builders = columns.map(({ type }) => columnBuilder(type))
  return {
    columns: builders,
    bytes: () => builders.reduce((sum, builder) => sum + builder.bytes(), 0),
    finish(count) {
      const children = builders.map((builder) => builder.finish())
      const fields = children.map((child, index) => new Field(columns[index]!.name, child.type, true))
      const data = makeData({ type: new Struct(fields), length: count, nullCount: 0, children })
      return new RecordBatch(new Schema(fields), data)
    },
  }
}

function columnBuilder(type: StoredType): ColumnBuilder {
  switch (type.kind) {
    case 'bool':
      return boolBuilder()
    case 'int':
      return type.unsigned
        ? fixedBuilder(() => new Uint64(), BigUint64Array, 1, readItems(BigUint64Array), asBigint)
        : fixedBuilder(() => new Int64(), BigInt64Array, 1, readItems(BigInt64Array), asBigint)
    case 'float':
      return fixedBuilder(() => new Float64(), Float64Array, 1, readItems(Float64Array), asNumber)
    case 'date':
      return fixedBuilder(
        () => new DateDay(),
        Int32Array,
        1,
        readItems(Int32Array),
        (cell) => Number(asBigint(cell)),
      )
    case 'time':
      return fixedBuilder(() => new TimeNanosecond(), BigInt64Array, 1, readTimes, asBigint)
    case 'timestamp':
      return timestampBuilder(type.utc)
    case 'decimal':
      return fixedBuilder(() => new Decimal(type.scale, 38, 128), BigInt64Array, 2, readDecimals, asBigint)
    case 'string':
      return bytesBuilder(new Utf8(), null)
    case 'json':
      return bytesBuilder(new Utf8(), strictJson)
    case 'binary':
      return bytesBuilder(new Binary(), null)
    case 'list':
      return listBuilder(columnBuilder(type.element))
  }
}

function asBigint(cell: Cell): bigint {
  if (typeof cell === 'bigint') return cell
  throw new TypeError(`expected a bigint cell, got ${typeof cell}`)
}

function asNumber(cell: Cell): number {
  if (typeof cell === 'number') return cell
  throw new TypeError(`expected a number cell, got ${typeof cell}`)
}

/** Arrow validity: one bit a row, least significant first. */
function validityBits() {
  let bits = new Uint8Array(256)
  let length = 0
  let nulls = 0
  return {
    push(valid: boolean) {
      if (length >> 3 === bits.length) bits = grow(bits, bits.length + 1)
      if (valid) bits[length >> 3]! |= 1 << (length & 7)
      else nulls++
      length++
    },
    pushValid(count: number) {
      for (let i = 0; i < count; i++) this.push(true)
    },
    finish: () => ({ length, nullCount: nulls, nullBitmap: nulls === 0 ? null : bits }),
  }
}

function grow<T extends Uint8Array | Int32Array | Float64Array | BigInt64Array | BigUint64Array>(
  array: T,
  lengthMin: number,
): T {
  const larger = new (array.constructor as new (length: number) => T)(Math.max(lengthMin, array.length * 2))
  larger.set(array as never)
  return larger
}

/** Reads values into `out` from position `at`, one a row; values of null rows may be anything. */
type Reader<A> = (vector: DuckDBVector, rows: Uint32Array, out: A, at: number) => void

function readItems<A extends Int32Array | Float64Array | BigInt64Array | BigUint64Array>(type: {
  new (length: number): A
}): Reader<A> {
  return (vector, rows, out, at) => {
    const items = flatItems(vector, type)
    if (rows.length === items.length) out.set(items as never, at)
    else for (let i = 0; i < rows.length; i++) out[at + i] = items[rows[i]!]!
  }
}

/** What the integers of a vector of times or timestamps count. */
function timeUnit(vector: DuckDBVector): TimeUnit {
  const suffix = /_(S|MS|NS)$/.exec(vector.type.toString())?.[1]
  if (suffix === undefined) return TimeUnit.MICROSECOND
  return suffix === 'S' ? TimeUnit.SECOND : suffix === 'MS' ? TimeUnit.MILLISECOND : TimeUnit.NANOSECOND
}

/** Microseconds, or nanoseconds where the column has them, to nanoseconds. */
const readTimes: Reader<BigInt64Array> = (vector, rows, out, at) => {
  const items = flatItems(vector, BigInt64Array)
  const factor = timeUnit(vector) === TimeUnit.NANOSECOND ? 1n : 1000n
  for (let i = 0; i < rows.length; i++) out[at + i] = items[rows[i]!]! * factor
}

const readDecimals: Reader<BigInt64Array> = (vector, rows, out, at) => {
  const decimals = vector as DuckDBVector & { getScaledValue(row: number): bigint | null }
  for (let i = 0; i < rows.length; i++) setInt128(out, at + i, decimals.getScaledValue(rows[i]!) ?? 0n)
}

function setInt128(out: BigInt64Array, index: number, value: bigint): void {
  out[2 * index] = BigInt.asIntN(64, value)
  out[2 * index + 1] = value >> 64n
}

type FixedType = Int64 | Uint64 | Float64 | DateDay | TimeNanosecond | Timestamp | Decimal

/** Values of one width: `words` elements of `array` each. `type` is asked when all values are there. */
function fixedBuilder<A extends Int32Array | Float64Array | BigInt64Array | BigUint64Array>(
  type: () => FixedType,
  array: { new (length: number): A },
  words: number,
  read: Reader<A>,
  convert: (cell: Cell) => A[number],
): ColumnBuilder {
  const bits = validityBits()
  let values = new array(2048 * words)
  let length = 0
  const reserve = (count: number) => {
    if ((length + count) * words > values.length) values = grow(values, (length + count) * words)
  }
  return {
    append(vector, rows) {
      reserve(rows.length)
      read(vector, rows, values, length)
      appendValidity(bits, vector, rows)
      length += rows.length
    },
    push(cell) {
      reserve(1)
      if (cell !== null) {
        if (words === 2) setInt128(values as BigInt64Array, length, asBigint(cell))
        else values[length] = convert(cell)
      }
      bits.push(cell !== null)
      length++
    },
    bytes: () => 0,
    finish() {
      const data = values.subarray(0, length * words)
      // Arrow's JavaScript reads decimals as 32-bit words.
      const buffer = words === 2 ? new Uint32Array(data.buffer, 0, length * 4) : data
      return makeData({ type: type(), ...bits.finish(), data: buffer } as Parameters<typeof makeData>[0])
    },
  }
}

const int64Min = -(2n ** 63n)

/** Keeps the unit of the vectors it reads, which all come from one file; cells that are pushed are nanoseconds. */
function timestampBuilder(utc: boolean): ColumnBuilder {
  let unit = TimeUnit.NANOSECOND
  const copy = readItems<BigInt64Array>(BigInt64Array)
  const read: Reader<BigInt64Array> = (vector, rows, out, at) => {
    unit = timeUnit(vector)
    copy(vector, rows, out, at)
    // One below DuckDB's negative infinity, which a file may hold: nothing is earlier than that.
    for (let i = at; i < at + rows.length; i++) if (out[i] === int64Min) out[i] = int64Min + 1n
  }
  return fixedBuilder(() => new Timestamp(unit, utc ? 'UTC' : null), BigInt64Array, 1, read, asBigint)
}

function appendValidity(bits: ReturnType<typeof validityBits>, vector: DuckDBVector, rows: Uint32Array): void {
  const isValid = validity(vector)
  if (isValid === null) bits.pushValid(rows.length)
  else for (const row of rows) bits.push(isValid(row))
}

/** Reads DuckDB's UTINYINT 0 and 1. */
function boolBuilder(): ColumnBuilder {
  const bits = validityBits()
  const values = validityBits()
  return {
    append(vector, rows) {
      const items = flatItems(vector, Uint8Array)
      for (const row of rows) values.push(items[row] !== 0)
      appendValidity(bits, vector, rows)
    },
    push(cell) {
      values.push(cell === true)
      bits.push(cell !== null)
    },
    bytes: () => 0,
    finish() {
      const { length, nullBitmap } = values.finish()
      // A bitmap without zeros is left out above, but values need theirs.
      const data = nullBitmap ?? new Uint8Array((length + 7) >> 3).fill(0xff)
      return makeData({ type: new Bool(), ...bits.finish(), data })
    },
  }
}

const encoder = new TextEncoder()

/** Bytes of any length, from DuckDB blobs, or strings inside lists. */
function bytesBuilder(type: Utf8 | Binary, convert: ((bytes: Uint8Array) => Uint8Array) | null): ColumnBuilder {
  const bits = validityBits()
  let offsets = new Int32Array(2049)
  let data = new Uint8Array(16 * 1024)
  let length = 0
  let end = 0
  const push = (bytes: Uint8Array | null) => {
    if (bytes !== null) {
      const value = convert === null ? bytes : convert(bytes)
      if (end + value.length > data.length) data = grow(data, end + value.length)
      data.set(value, end)
      end += value.length
    }
    bits.push(bytes !== null)
    length++
    if (length === offsets.length) offsets = grow(offsets, length + 1)
    offsets[length] = end
  }
  return {
    append(vector, rows) {
      if (vector.type.toString() === 'VARCHAR')
        for (const row of rows) {
          const text = vector.getItem(row)
          push(typeof text === 'string' ? encoder.encode(text) : null)
        }
      else {
        const blobs = asBlobs(vector)
        for (const row of rows) push(blobs.getItemBytes(row))
      }
    },
    push(cell) {
      if (cell === null || cell instanceof Uint8Array) push(cell)
      else push(encoder.encode(typeof cell === 'string' ? cell : String(cell)))
    },
    bytes: () => end,
    finish() {
      const valueOffsets = offsets.subarray(0, length + 1)
      return makeData({ type, ...bits.finish(), valueOffsets, data: data.subarray(0, end) } as Parameters<
        typeof makeData
      >[0])
    },
  }
}

/** DuckDB writes NaN and infinities bare, which JSON does not have. */
function strictJson(bytes: Uint8Array): Uint8Array {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!buffer.includes('NaN') && !buffer.includes('Infinity')) return bytes
  const strict = buffer.toString().replace(/("(?:[^"\\]|\\.)*")|-?(?:NaN|Infinity)/g, (_, quoted) => quoted ?? 'null')
  return encoder.encode(strict)
}

function listBuilder(element: ColumnBuilder): ColumnBuilder {
  const bits = validityBits()
  let offsets = new Int32Array(2049)
  let length = 0
  let end = 0
  const close = (valid: boolean, count: number) => {
    bits.push(valid)
    end += count
    length++
    if (length === offsets.length) offsets = grow(offsets, length + 1)
    offsets[length] = end
  }
  return {
    append(vector, rows) {
      const list = asList(vector)
      const isValid = validity(vector)
      const children: number[] = []
      for (const row of rows) {
        const valid = isValid === null || isValid(row)
        const count = valid ? list.getEntryLength(row) : 0
        const start = count === 0 ? 0 : list.getEntryOffset(row)
        for (let i = 0; i < count; i++) children.push(start + i)
        close(valid, count)
      }
      if (children.length > 0) element.append(list.childVector, Uint32Array.from(children))
    },
    push(cell) {
      const cells = Array.isArray(cell) ? cell : []
      for (const child of cells) element.push(child)
      close(cell !== null, cells.length)
    },
    bytes: () => 8 * end + element.bytes(),
    finish() {
      const child = element.finish()
      const type = new List(new Field('item', child.type, true))
      return makeData({ type, ...bits.finish(), valueOffsets: offsets.subarray(0, length + 1), child })
    },
  }
}
