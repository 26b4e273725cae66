import assert from 'node:assert'
import {
  RecordBatch as Batch,
  Field,
  makeData,
  type RecordBatch,
  Schema,
  Struct,
  Table,
  tableFromIPC,
  tableToIPC,
} from 'apache-arrow'
import type { Cell, Column, ColumnType } from '../core/column.js'
import { parseJson } from '../core/json.js'
import { type BytesColumn, type ColumnData, joinChunks, readInteger, toArrow, viewArrow } from './column-data.js'
import { hasRow } from './row-bitmap.js'
import { toNanoseconds } from './timestamp-unit.js'

/** Schema metadata of the IPC form: the logical columns, which Arrow's types say only in part. */
const columnsKey = 'lakegate.columns'

/** Stored values may nest deeper than requests; reading and writing them recurses. */
const storedJsonDepthMax = 1000

/** The metadata columns of one segment, row by row as its vectors. */
export class SegmentMetadata {
  readonly rows: number
  readonly columns: readonly Column[]
  /** In the order of `columns`. */
  readonly data: readonly ColumnData[]

  private constructor(rows: number, columns: readonly Column[], data: readonly ColumnData[]) {
    this.rows = rows
    this.columns = columns
    this.data = data
  }

  /**
   * Joins batches, as a pull delivers them, into new memory. Strings of few distinct values become dictionaries.
   * @param columns  of the manifest, in the order of the batches' columns
   * Throws LG_OVER_BUDGET when a column's text passes 2 GiB.
   */
  static fromBatches(columns: readonly Column[], batches: readonly RecordBatch[]): SegmentMetadata {
    const rows = batches.reduce((sum, batch) => sum + batch.numRows, 0)
    const data = columns.map(({ name, type }, index) => {
      const chunks = batches.map((batch) => batch.data.children[index])
      return joinChunks(
        name,
        type,
        chunks.map((chunk) => chunk ?? missing(name)),
      )
    })
    return new SegmentMetadata(rows, columns, data)
  }

  /** Reads toIpc's bytes without copying them: they must start at a multiple of 8 bytes and stay as they are. */
  static fromIpc(bytes: Uint8Array): SegmentMetadata {
    assert(bytes.byteOffset % 8 === 0, 'metadata starts at a multiple of 8 bytes')
    const table = tableFromIPC(bytes)
    const batch = table.batches[0]
    const columns = JSON.parse(table.schema.metadata.get(columnsKey) ?? 'null') as readonly Column[] | null
    assert(
      batch !== undefined && columns !== null && table.batches.length === 1,
      'metadata is one batch of known columns',
    )
    return new SegmentMetadata(batch.numRows, columns, batch.data.children.map(viewArrow))
  }

  /** One Arrow IPC stream of one batch. */
  toIpc(): Uint8Array {
    const batch = this.toBatch()
    return tableToIPC(new Table(batch.schema, [batch]), 'stream')
  }

  /** Borrows the columns. */
  toBatch(): RecordBatch {
    const children = this.data.map((data, i) => toArrow(data, this.columns[i]!.type))
    const fields = children.map((child, i) => new Field(this.columns[i]!.name, child.type, true))
    const schema = new Schema(fields, new Map([[columnsKey, JSON.stringify(this.columns)]]))
    const rows = makeData({ type: new Struct(fields), length: this.rows, nullCount: 0, children })
    return new Batch(schema, rows)
  }

  /** A copy of one value. */
  cell(row: number, column: number): Cell {
    assert(row >= 0 && row < this.rows)
    return readCell(this.data[column]!, this.columns[column]!.type, row)
  }
}

function missing(name: string): never {
  assert.fail(`column ${JSON.stringify(name)} is missing from a batch`)
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
