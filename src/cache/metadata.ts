import assert from 'node:assert'
import type { Cell, Column, ColumnType } from '../core/column.js'
import { parseJson } from '../core/json.js'
import { type BytesColumn, type ColumnData, readInteger } from './column-data.js'
import { hasRow } from './row-bitmap.js'
import { toNanoseconds } from './timestamp-unit.js'

/** Stored values may nest deeper than requests; reading and writing them recurses. */
const storedJsonDepthMax = 1000

/** The metadata columns of one segment, row by row as its vectors. */
export class SegmentMetadata {
  readonly rows: number
  readonly columns: readonly Column[]
  /** In the order of `columns`. */
  readonly data: readonly ColumnData[]

  /** Borrows the columns. */
  constructor(rows: number, columns: readonly Column[], data: readonly ColumnData[]) {
    this.rows = rows
    this.columns = columns
    this.data = data
  }

  /** A copy of one value. */
  cell(row: number, column: number): Cell {
    assert(row >= 0 && row < this.rows)
    return readCell(this.data[column]!, this.columns[column]!.type, row)
  }
}

function readCell(data: ColumnData, type: ColumnType, row: number): Cell {
  if (data.validity !== null && !hasRow(data.validity, row)) return null
  switch (data.layout) {
    case 'bits':
      return hasRow(data.bits, row)
    case 'words':
      return data.unit === null ? readInteger(data, row) : toNanoseconds(readInteger(data, row), data.unit)
    case 'float':
      return data.values[row]!
    case 'bytes':
      return readBytes(data, type, row)
    case 'dictionary':
      return readBytes(data.values, type, data.codes[row]!)
    case 'list': {
      assert(type.kind === 'list')
      const cells: Cell[] = []
      for (let i = data.offsets[row]!; i < data.offsets[row + 1]!; i++)
        cells.push(readCell(data.elements, type.element, i))
      return cells
    }
  }
}

function readBytes({ bytes, offsets }: BytesColumn, type: ColumnType, row: number): Cell {
  const start = offsets[row]!
  const length = offsets[row + 1]! - start
  if (type.kind === 'binary') return bytes.slice(start, start + length)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString()
  return type.kind === 'json' ? (parseJson(text, 'metadata', storedJsonDepthMax) as Cell) : text
}
