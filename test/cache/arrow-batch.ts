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
  Utf8,
} from 'apache-arrow'
import type { Cell, Column, ColumnType } from '../../src/core/column.js'
import { infinityNs } from '../../src/core/temporal.js'

/** A record batch as adapters deliver it (see src/adapters/arrow-columns.ts), from cells by column; timestamps fit the unit. */
export function arrowBatch(
  columns: readonly Column[],
  cells: readonly (readonly Cell[])[],
  unit: TimeUnit = TimeUnit.NANOSECOND,
): RecordBatch {
  const children = columns.map(({ type }, i) => arrowData(type, cells[i]!, unit))
  const fields = children.map((child, i) => new Field(columns[i]!.name, child.type, true))
  const data = makeData({ type: new Struct(fields), length: cells[0]!.length, nullCount: 0, children })
  return new RecordBatch(new Schema(fields), data)
}

/** Nanoseconds in each of Arrow's units. */
export const nsPerUnit: Readonly<Record<TimeUnit, bigint>> = {
  [TimeUnit.SECOND]: 1_000_000_000n,
  [TimeUnit.MILLISECOND]: 1_000_000n,
  [TimeUnit.MICROSECOND]: 1000n,
  [TimeUnit.NANOSECOND]: 1n,
}

function count(cell: bigint | null, unit: TimeUnit): bigint {
  if (cell === null) return 7n
  if (cell === infinityNs || cell === -infinityNs) return cell / 1_000_000_000n
  return cell / nsPerUnit[unit]
}

function arrowData(type: ColumnType, cells: readonly Cell[], unit: TimeUnit): Data {
  const nullBitmap = new Uint8Array(Math.ceil(cells.length / 8))
  for (const [i, cell] of cells.entries()) if (cell !== null) nullBitmap[i >> 3]! |= 1 << (i & 7)
  const nullCount = cells.filter((cell) => cell === null).length
  const base = { length: cells.length, nullCount, nullBitmap: nullCount === 0 ? null : nullBitmap }
  const int64s = () => BigInt64Array.from(cells, (cell) => (cell as bigint | null) ?? 7n)
  switch (type.kind) {
    case 'bool': {
      const data = new Uint8Array(nullBitmap.length)
      for (const [i, cell] of cells.entries()) if (cell === true) data[i >> 3]! |= 1 << (i & 7)
      return makeData({ ...base, type: new Bool(), data })
    }
    case 'int':
      return makeData({ ...base, type: new Int64(), data: int64s() })
    case 'float':
      return makeData({ ...base, type: new Float64(), data: Float64Array.from(cells, (cell) => Number(cell)) })
    case 'decimal': {
      const words = cells.flatMap((cell) => {
        const value = (cell as bigint | null) ?? 0n
        return [0n, 32n, 64n, 96n].map((shift) => Number(BigInt.asUintN(32, value >> shift)))
      })
      return makeData({ ...base, type: new Decimal(type.scale, 38, 128), data: Uint32Array.from(words) })
    }
    case 'date':
      return makeData({ ...base, type: new DateDay(), data: Int32Array.from(cells, (cell) => Number(cell)) })
    case 'time':
      return makeData({ ...base, type: new TimeNanosecond(), data: int64s() })
    case 'timestamp':
      return makeData({
        ...base,
        type: new Timestamp(unit, type.utc ? 'UTC' : null),
        data: BigInt64Array.from(cells, (cell) => count(cell as bigint | null, unit)),
      })
    case 'string':
      return bytesData(base, new Utf8(), cells)
    case 'json':
      return bytesData(
        base,
        new Utf8(),
        cells.map((cell) => (cell === null ? null : JSON.stringify(cell))),
      )
    case 'binary':
      return bytesData(base, new Binary(), cells)
    case 'list': {
      const lists = cells.map((cell) => (cell as readonly Cell[] | null) ?? [])
      const child = arrowData(type.element, lists.flat(1) as Cell[], unit)
      const list = new List(new Field('item', child.type, true))
      return makeData({ ...base, type: list, valueOffsets: offsets(lists), child })
    }
  }
}

function bytesData(base: { length: number }, type: Utf8 | Binary, cells: readonly Cell[]): Data {
  const values = cells.map((cell) => (cell instanceof Uint8Array ? cell : Buffer.from((cell as string | null) ?? '')))
  return makeData({ ...base, type: type as Utf8, valueOffsets: offsets(values), data: Buffer.concat(values) })
}

function offsets(values: readonly { readonly length: number }[]): Int32Array {
  const ends = new Int32Array(values.length + 1)
  for (const [i, { length }] of values.entries()) ends[i + 1] = ends[i]! + length
  return ends
}
