/** An answer as one Arrow IPC stream: a row a result, metadata typed as in its source, the receipt in the schema's metadata. */
import {
  Binary,
  Bool,
  type Data,
  type DataType,
  DateDay,
  Decimal,
  Field,
  Float32,
  Float64,
  Int64,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  TimeNanosecond,
  Timestamp,
  TimeUnit,
  tableToIPC,
  Uint64,
  Utf8,
  vectorFromArray,
} from 'apache-arrow'
import { cellToJson, cellToValue } from '../core/cell.js'
import type { Cell, ColumnType } from '../core/column.js'
import type { RowId } from '../core/id.js'
import { infinityNs } from '../core/temporal.js'
import type { Answer, Result } from '../federation/answer.js'
import { receiptJson } from './answer-json.js'

interface NamedData {
  readonly name: string
  readonly data: Data
}

/**
 * Columns: id (int64, uint64 or utf8; with id_kind when integers and strings mix), distance, backend, collection, one for
 * each metadata column, and vector when asked for.
 */
export function arrowStream(answer: Answer): Uint8Array {
  const { results, receipt } = answer
  const columns: NamedData[] = [
    ...idColumns(results.map((result) => result.id)),
    {
      name: 'distance',
      data: numbers(
        new Float32(),
        Float32Array,
        results.map((result) => result.distance),
      ),
    },
    { name: 'backend', data: texts(results.map((result) => result.backend)) },
    { name: 'collection', data: texts(results.map((result) => result.collection)) },
    ...metadataColumns(results),
  ]
  if (results.some((result) => result.vector !== null)) columns.push({ name: 'vector', data: vectors(results) })
  const schema = new Schema(
    columns.map(({ name, data }) => new Field(name, data.type, true)),
    new Map(receipt === null ? [] : [['lakegate.receipt', receiptJson(receipt)]]),
  )
  const rows = makeData({
    type: new Struct(schema.fields),
    length: results.length,
    nullCount: 0,
    children: columns.map(({ data }) => data),
  })
  return tableToIPC(new Table(schema, [new RecordBatch(schema, rows)]), 'stream')
}

const int64Max = 2n ** 63n - 1n
const inInt64 = (value: bigint): boolean => value >= -int64Max - 1n && value <= int64Max

function idColumns(ids: readonly RowId[]): NamedData[] {
  const integers = ids.filter((id) => typeof id === 'bigint')
  const data = integers.length === ids.length ? integerData(integers) : null
  if (data !== null) return [{ name: 'id', data }]
  const text = { name: 'id', data: texts(ids.map(String)) }
  return integers.length === 0
    ? [text]
    : [text, { name: 'id_kind', data: texts(ids.map((id) => (typeof id === 'bigint' ? 'integer' : 'string'))) }]
}

/** Null when no 64-bit type holds all of them. */
function integerData(values: readonly (bigint | null)[]): Data | null {
  if (values.every((value) => value === null || inInt64(value))) return numbers(new Int64(), BigInt64Array, values)
  if (values.every((value) => value === null || (value >= 0n && value < 2n ** 64n)))
    return numbers(new Uint64(), BigUint64Array, values)
  return null
}

/** Every metadata column of any result; where collections disagree on a type, its values as JSON text. */
function metadataColumns(results: readonly Result[]): NamedData[] {
  const types = new Map<string, ColumnType | 'mixed'>()
  for (const { metadata } of results) {
    for (const { name, type } of metadata ?? []) {
      const known = types.get(name)
      if (known === undefined) types.set(name, type)
      else if (known !== 'mixed' && JSON.stringify(known) !== JSON.stringify(type)) types.set(name, 'mixed')
    }
  }
  return Array.from(types, ([name, type]) => {
    const fields = results.map((result) => result.metadata?.find((field) => field.name === name))
    const data =
      type === 'mixed'
        ? texts(fields.map((field) => (field === undefined ? null : cellToJson(field.value, field.type))))
        : cellData(
            type,
            fields.map((field) => field?.value ?? null),
          )
    return { name, data }
  })
}

/** What does not fit its Arrow type (integers past 64 bits, decimals past 38 digits, infinite times) is written as text. */
function cellData(type: ColumnType, cells: readonly Cell[]): Data {
  switch (type.kind) {
    case 'bool':
      return vectorFromArray(cells as (boolean | null)[], new Bool()).data[0]!
    case 'int':
      return integerData(cells as (bigint | null)[]) ?? asText(type, cells)
    case 'float':
      return numbers(new Float64(), Float64Array, cells as (number | null)[])
    case 'string':
      return texts(cells as (string | null)[])
    case 'binary':
      return vectorFromArray(cells as (Uint8Array | null)[], new Binary()).data[0]!
    case 'date':
      return numbers(
        new DateDay(),
        Int32Array,
        (cells as (bigint | null)[]).map((days) => (days === null ? null : Number(days))),
      )
    case 'time':
      return numbers(new TimeNanosecond(), BigInt64Array, cells as (bigint | null)[])
    case 'timestamp':
      return timestampData(type.utc, cells as (bigint | null)[]) ?? asText(type, cells)
    case 'decimal':
      return decimalData(type.scale, cells as (bigint | null)[]) ?? asText(type, cells)
    case 'list':
      return listData(type.element, cells as (readonly Cell[] | null)[])
    case 'json':
      return texts(cells.map((cell) => (cell === null ? null : cellToJson(cell, type))))
  }
}

const asText = (type: ColumnType, cells: readonly Cell[]): Data =>
  texts(cells.map((cell) => (cell === null ? null : String(cellToValue(cell, type)))))

const texts = (values: readonly (string | null)[]): Data => vectorFromArray(values, new Utf8()).data[0]!

type NumberArray = Float32Array | Float64Array | Int32Array | BigInt64Array | BigUint64Array

/** A column of a fixed width; null rows hold zero. */
function numbers<A extends NumberArray>(
  type: DataType,
  array: new (length: number) => A,
  values: readonly (A[number] | null)[],
): Data {
  const data = new array(values.length)
  for (const [i, value] of values.entries()) if (value !== null) data[i] = value
  return makeData({ type, length: values.length, ...validity(values), data } as never)
}

function validity(values: readonly unknown[]): { readonly nullCount: number; readonly nullBitmap: Uint8Array } {
  const nullBitmap = new Uint8Array(Math.ceil(values.length / 8))
  let nullCount = 0
  for (const [i, value] of values.entries()) {
    if (value === null) nullCount += 1
    else nullBitmap[i >> 3]! |= 1 << (i & 7)
  }
  return { nullCount, nullBitmap }
}

/** From the finest: most readers expect it. */
const timeUnits = [
  [TimeUnit.NANOSECOND, 1n],
  [TimeUnit.MICROSECOND, 1000n],
  [TimeUnit.MILLISECOND, 1_000_000n],
  [TimeUnit.SECOND, 1_000_000_000n],
] as const

/** In the finest unit whose 64 bits hold every value; null when none holds all exactly. */
function timestampData(utc: boolean, values: readonly (bigint | null)[]): Data | null {
  const known = values.filter((value) => value !== null)
  if (known.some((value) => value >= infinityNs || value <= -infinityNs)) return null
  for (const [unit, size] of timeUnits) {
    if (!known.every((value) => value % size === 0n && inInt64(value / size))) continue
    const counts = values.map((value) => (value === null ? null : value / size))
    return numbers(new Timestamp(unit, utc ? 'UTC' : null), BigInt64Array, counts)
  }
  return null
}

const decimalDigitsMax = 38

function decimalData(scale: number, values: readonly (bigint | null)[]): Data | null {
  const limit = 10n ** BigInt(decimalDigitsMax)
  if (!values.every((value) => value === null || (value < limit && value > -limit))) return null
  const data = new Uint32Array(values.length * 4)
  for (const [i, value] of values.entries()) {
    let rest = BigInt.asUintN(128, value ?? 0n)
    for (let word = 0; word < 4; word++, rest >>= 32n) data[i * 4 + word] = Number(rest & 0xffffffffn)
  }
  return makeData({ type: new Decimal(scale, decimalDigitsMax, 128), length: values.length, ...validity(values), data })
}

function listData(element: ColumnType, lists: readonly (readonly Cell[] | null)[]): Data {
  return nested(
    cellData(
      element,
      lists.flatMap((list) => list ?? []),
    ),
    lists,
  )
}

function nested(child: Data, lists: readonly (ArrayLike<unknown> | null)[]): Data {
  const valueOffsets = new Int32Array(lists.length + 1)
  for (const [i, list] of lists.entries()) valueOffsets[i + 1] = valueOffsets[i]! + (list?.length ?? 0)
  const type = new List(new Field('item', child.type, true))
  return makeData({ type, length: lists.length, ...validity(lists), valueOffsets, child })
}

function vectors(results: readonly Result[]): Data {
  const all = results.flatMap((result) => Array.from(result.vector ?? []))
  return nested(
    numbers(new Float32(), Float32Array, all),
    results.map((result) => result.vector),
  )
}
