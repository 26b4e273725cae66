/** Columns of a segment from Arrow's and back. */
import assert from 'node:assert'
import {
  Binary,
  Bool,
  type Data,
  DataType,
  DateDay,
  DateUnit,
  Decimal,
  Dictionary,
  Field,
  Float64,
  Int64,
  List,
  makeData,
  Precision,
  TimeNanosecond,
  Timestamp,
  TimeUnit,
  Uint8,
  Uint16,
  Uint64,
  Utf8,
  Vector,
} from 'apache-arrow'
import type { ColumnType } from '../core/column.js'
import { GatewayError } from '../core/errors.js'
import type { BytesColumn, ColumnData, DictionaryColumn, Rows, WordColumn } from './column-data.js'
import { addRow, bitmapWords, hasRow, noRows } from './row-bitmap.js'

/**
 * Joins the chunks of one column, as adapters deliver them, into new memory; strings of few distinct values become a
 * dictionary. Throws LG_OVER_BUDGET when a column's text passes 2 GiB.
 */
export function joinChunks(name: string, type: ColumnType, chunks: readonly Data[]): ColumnData {
  const joined = join(
    name,
    type,
    chunks.map((chunk) => spellOut(name, chunk)),
  )
  return type.kind === 'string' && joined.layout === 'bytes' ? (encodeDictionary(joined) ?? joined) : joined
}

/** A column over the memory of an Arrow column that starts at its row 0 (one read back from IPC); nothing is copied. */
export function viewArrow(data: Data): ColumnData {
  const rows = data.length
  const validity = data.nullCount > 0 ? wordsOver(data.nullBitmap!, rows) : null
  const { type } = data
  if (DataType.isBool(type)) return { layout: 'bits', rows, validity, bits: wordsOver(data.values as Uint8Array, rows) }
  if (DataType.isFloat(type)) return { layout: 'float', rows, validity, values: data.values as Float64Array }
  if (DataType.isUtf8(type) || DataType.isBinary(type))
    return { layout: 'bytes', rows, validity, offsets: data.valueOffsets, bytes: data.values as Uint8Array }
  if (DataType.isDictionary(type)) {
    const values = viewArrow(data.dictionary!.data[0]!) as BytesColumn
    return { layout: 'dictionary', rows, validity, codes: data.values as Uint8Array | Uint16Array, values }
  }
  if (DataType.isList(type))
    return { layout: 'list', rows, validity, offsets: data.valueOffsets, elements: viewArrow(data.children[0]!) }
  const width = wordWidth(type)
  const values = data.values as BigInt64Array
  const words = new Int32Array(values.buffer, values.byteOffset, rows * width)
  const signed = !(DataType.isInt(type) && !type.isSigned)
  return { layout: 'words', rows, validity, width, signed, words, unit: DataType.isTimestamp(type) ? type.unit : null }
}

/** The Arrow column over a column's memory. */
export function toArrow(column: ColumnData, type: ColumnType): Data {
  const length = column.rows
  const nullBitmap = column.validity === null ? null : bytesOver(column.validity)
  const base = { length, nullBitmap, ...(nullBitmap === null ? { nullCount: 0 } : {}) }
  switch (column.layout) {
    case 'bits':
      return makeData({ ...base, type: new Bool(), data: bytesOver(column.bits) })
    case 'float':
      return makeData({ ...base, type: new Float64(), data: column.values })
    case 'bytes': {
      const { offsets: valueOffsets, bytes: data } = column
      if (type.kind === 'binary') return makeData({ ...base, type: new Binary(), valueOffsets, data })
      return makeData({ ...base, type: new Utf8(), valueOffsets, data })
    }
    case 'dictionary':
      return dictionaryToArrow(column, base)
    case 'list': {
      const child = toArrow(column.elements, (type as Extract<ColumnType, { kind: 'list' }>).element)
      const list = new List(new Field('item', child.type, true))
      return makeData({ ...base, type: list, valueOffsets: column.offsets, child })
    }
    case 'words':
      return wordsToArrow(column, type, base)
  }
}

type ArrowBase = Pick<Data, 'length'> & { nullBitmap: Uint8Array | null; nullCount?: number }

function dictionaryToArrow(column: DictionaryColumn, base: ArrowBase): Data {
  const indices = column.codes instanceof Uint8Array ? new Uint8() : new Uint16()
  const dictionary = new Vector([toArrow(column.values, { kind: 'string' })])
  return makeData({ ...base, type: new Dictionary(new Utf8(), indices), data: column.codes, dictionary } as never)
}

function wordsToArrow(column: WordColumn, type: ColumnType, base: ArrowBase): Data {
  const { buffer, byteOffset } = column.words
  const int64s = () => new BigInt64Array(buffer, byteOffset, column.rows)
  switch (type.kind) {
    case 'decimal': {
      const data = new Uint32Array(buffer, byteOffset, column.rows * 4)
      return makeData({ ...base, type: new Decimal(type.scale, 38, 128), data })
    }
    case 'date':
      return makeData({ ...base, type: new DateDay(), data: column.words })
    case 'time':
      return makeData({ ...base, type: new TimeNanosecond(), data: int64s() })
    case 'timestamp':
      return makeData({ ...base, type: new Timestamp(column.unit!, type.utc ? 'UTC' : null), data: int64s() })
    default:
      if (column.signed) return makeData({ ...base, type: new Int64(), data: int64s() })
      return makeData({ ...base, type: new Uint64(), data: new BigUint64Array(buffer, byteOffset, column.rows) })
  }
}

function join(name: string, type: ColumnType, chunks: readonly Data[]): ColumnData {
  const rows = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  for (const chunk of chunks) expectArrow(name, type, chunk.type)
  const base: Rows = { rows, validity: joinValidity(rows, chunks) }
  switch (type.kind) {
    case 'bool':
      return { ...base, layout: 'bits', bits: joinBits(rows, chunks) }
    case 'float':
      return { ...base, layout: 'float', values: joinFloats(rows, chunks) }
    case 'string':
    case 'json':
    case 'binary':
      return { ...base, layout: 'bytes', ...joinBytes(name, rows, chunks) }
    case 'list': {
      const { offsets, elements } = joinLists(rows, chunks)
      return { ...base, layout: 'list', offsets, elements: join(name, type.element, elements) }
    }
    case 'int':
    case 'decimal':
    case 'date':
    case 'time':
    case 'timestamp': {
      const width = wordWidth(type)
      const signed = !chunks.some((chunk) => DataType.isInt(chunk.type) && !chunk.type.isSigned)
      const unit = type.kind === 'timestamp' ? joinUnits(name, chunks) : null
      return { ...base, layout: 'words', width, signed, words: joinWords(rows, width, chunks), unit }
    }
  }
}

function joinValidity(rows: number, chunks: readonly Data[]): Uint32Array | null {
  if (chunks.every((chunk) => chunk.nullCount === 0)) return null
  const validity = noRows(rows)
  eachRow(chunks, (chunk, i, row) => {
    if (chunk.getValid(i)) addRow(validity, row)
  })
  return validity
}

function joinBits(rows: number, chunks: readonly Data[]): Uint32Array {
  const bits = noRows(rows)
  eachRow(chunks, (chunk, i, row) => {
    const at = chunk.offset + i
    if (((chunk.values[at >>> 3] >>> (at & 7)) & 1) === 1) addRow(bits, row)
  })
  return bits
}

function eachRow(chunks: readonly Data[], visit: (chunk: Data, index: number, row: number) => void): void {
  let row = 0
  for (const chunk of chunks) for (let i = 0; i < chunk.length; i++) visit(chunk, i, row++)
}

function joinWords(rows: number, width: number, chunks: readonly Data[]): Int32Array {
  const words = new Int32Array(rows * width)
  let at = 0
  for (const chunk of chunks) {
    const values = chunk.values as BigInt64Array | Int32Array
    words.set(new Int32Array(values.buffer, values.byteOffset, chunk.length * width), at)
    at += chunk.length * width
  }
  return words
}

/** The one unit of a part; chunks without values may name any. */
function joinUnits(name: string, chunks: readonly Data[]): TimeUnit {
  const units = new Set<TimeUnit>(chunks.flatMap(({ type, length }) => (length > 0 ? [(type as Timestamp).unit] : [])))
  assert(units.size <= 1, `column ${JSON.stringify(name)} was delivered in several units of time`)
  const [unit = TimeUnit.NANOSECOND] = units
  return unit
}

function joinFloats(rows: number, chunks: readonly Data[]): Float64Array {
  const values = new Float64Array(rows)
  let at = 0
  for (const chunk of chunks) {
    values.set((chunk.values as Float64Array).subarray(0, chunk.length), at)
    at += chunk.length
  }
  return values
}

/** Text of a dictionary, which segments keep and adapters may not, row for row. */
function spellOut(name: string, chunk: Data): Data {
  if (!DataType.isDictionary(chunk.type)) return chunk
  const { length, offset, nullCount, nullBitmap } = chunk
  const codes = chunk.values as Uint8Array | Uint16Array
  const { valueOffsets: starts, values: texts } = chunk.dictionary!.data[0] as Data<Utf8>
  const offsets = new Int32Array(length + 1)
  let end = 0
  for (let row = 0; row < length; row++) {
    if (chunk.getValid(row)) end += starts[codes[row]! + 1]! - starts[codes[row]!]!
    offsets[row + 1] = end
  }
  checkTextBytes(name, end) // offsets past it have wrapped around
  const data = new Uint8Array(end)
  for (let row = 0; row < length; row++) {
    if (offsets[row] === offsets[row + 1]) continue
    const code = codes[row]!
    data.set(texts.subarray(starts[code], starts[code + 1]), offsets[row]!)
  }
  return makeData({ type: new Utf8(), length, offset, nullCount, nullBitmap, valueOffsets: offsets, data })
}

function checkTextBytes(name: string, bytes: number): void {
  if (bytes <= 0x7fffffff) return
  throw new GatewayError(
    'LG_OVER_BUDGET',
    `column ${JSON.stringify(name)} has more than 2 GiB of text in one segment. Leave it out with the option "columns".`,
    { field: 'columns' },
  )
}

function joinBytes(name: string, rows: number, chunks: readonly Data[]): Pick<BytesColumn, 'offsets' | 'bytes'> {
  const length = chunks.reduce((sum, chunk) => sum + offsetsSpan(chunk), 0)
  checkTextBytes(name, length)
  const offsets = joinOffsets(rows, chunks)
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    if (chunk.length === 0) continue
    const from = chunk.valueOffsets[0] as number
    bytes.set((chunk.values as Uint8Array).subarray(from, from + offsetsSpan(chunk)), at)
    at += offsetsSpan(chunk)
  }
  return { offsets, bytes }
}

function joinLists(rows: number, chunks: readonly Data[]): { offsets: Int32Array; elements: Data[] } {
  const elements = chunks
    .filter((chunk) => chunk.length > 0)
    .map((chunk) => (chunk.children[0] as Data).slice(chunk.valueOffsets[0] as number, offsetsSpan(chunk)))
  return { offsets: joinOffsets(rows, chunks), elements }
}

function joinOffsets(rows: number, chunks: readonly Data[]): Int32Array {
  const offsets = new Int32Array(rows + 1)
  let row = 0
  let end = 0
  for (const chunk of chunks) {
    const from = chunk.valueOffsets as Int32Array
    for (let i = 0; i < chunk.length; i++) {
      end += from[i + 1]! - from[i]!
      row += 1
      offsets[row] = end
    }
  }
  return offsets
}

/** Bytes or elements that a chunk's rows cover. */
function offsetsSpan(chunk: Data): number {
  if (chunk.length === 0) return 0
  return (chunk.valueOffsets[chunk.length] as number) - (chunk.valueOffsets[0] as number)
}

/** Codes are two bytes at most, and a dictionary pays when values repeat. */
const distinctMax = 65_536
/** From so many distinct values on, a column that is mostly new values so far is given up. */
const distinctTrial = 1024

function encodeDictionary(column: BytesColumn): DictionaryColumn | null {
  const { rows, validity, offsets } = column
  const bytes = Buffer.from(column.bytes.buffer, column.bytes.byteOffset, column.bytes.byteLength)
  const countMax = Math.min(distinctMax, Math.floor(rows / 4))
  const codeOf = new Map<string, number>()
  const codes = new Uint16Array(rows)
  for (let row = 0; row < rows; row++) {
    if (validity !== null && !hasRow(validity, row)) continue
    // latin1 maps bytes to characters one to one: a cheap key that keeps every byte.
    const key = bytes.toString('latin1', offsets[row]!, offsets[row + 1]!)
    let code = codeOf.get(key)
    if (code === undefined) {
      code = codeOf.size
      if (code === countMax || (code >= distinctTrial && 2 * code > row)) return null
      codeOf.set(key, code)
    }
    codes[row] = code
  }
  const small = codeOf.size <= 256
  return {
    layout: 'dictionary',
    rows,
    validity,
    codes: small ? Uint8Array.from(codes) : codes,
    values: bytesColumn([...codeOf.keys()]),
  }
}

function bytesColumn(latin1: readonly string[]): BytesColumn {
  const offsets = new Int32Array(latin1.length + 1)
  for (const [i, key] of latin1.entries()) offsets[i + 1] = offsets[i]! + key.length
  const bytes = new Uint8Array(Buffer.from(latin1.join(''), 'latin1'))
  return { layout: 'bytes', rows: latin1.length, validity: null, offsets, bytes }
}

function wordWidth(type: ColumnType | DataType): 1 | 2 | 4 {
  if (type instanceof DataType) return DataType.isDecimal(type) ? 4 : DataType.isDate(type) ? 1 : 2
  return type.kind === 'decimal' ? 4 : type.kind === 'date' ? 1 : 2
}

function expectArrow(name: string, type: ColumnType, arrow: DataType): void {
  const fits = {
    bool: DataType.isBool(arrow),
    int: DataType.isInt(arrow) && arrow.bitWidth === 64,
    float: DataType.isFloat(arrow) && arrow.precision === Precision.DOUBLE,
    decimal: DataType.isDecimal(arrow) && arrow.bitWidth === 128,
    string: DataType.isUtf8(arrow),
    json: DataType.isUtf8(arrow),
    binary: DataType.isBinary(arrow),
    date: DataType.isDate(arrow) && arrow.unit === DateUnit.DAY,
    time: DataType.isTime(arrow) && arrow.unit === TimeUnit.NANOSECOND,
    timestamp: DataType.isTimestamp(arrow),
    list: DataType.isList(arrow),
  }[type.kind]
  assert(fits, `column ${JSON.stringify(name)} is ${type.kind}, but was delivered as Arrow ${arrow}`)
}

/** Arrow's bitmaps have the same bits as ours; its buffers are padded to 8 bytes, so whole words are there. */
function wordsOver(bitmap: Uint8Array, rows: number): Uint32Array {
  return new Uint32Array(bitmap.buffer, bitmap.byteOffset, bitmapWords(rows))
}

function bytesOver(bitmap: Uint32Array): Uint8Array {
  return new Uint8Array(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength)
}
