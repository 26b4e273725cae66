/** Reading a vector column of a DuckDB chunk into row-major float32. */
import type { DuckDBType, DuckDBVector } from '@duckdb/node-api'
import { listElement } from './column-type.js'
import { asBlobs, asList, flatItems, validity } from './duckdb-vectors.js'

/** How a file stores its vectors: a list of numbers, little-endian float32 bytes, or text. */
export type VectorEncoding = 'list' | 'blob' | 'text'

const candidateElements = new Set(['FLOAT', 'DOUBLE', 'TINYINT', 'UTINYINT'])
const namedElements = /^(FLOAT|DOUBLE|U?TINYINT|U?SMALLINT|U?INTEGER|U?BIGINT|HUGEINT|DECIMAL\(.*\))$/

/** How a column of this type can hold vectors when it is named as the vector column; null when it cannot. */
export function vectorEncoding(type: DuckDBType): VectorEncoding | null {
  const element = listElement(type)
  if (element !== null) return namedElements.test(element.toString()) ? 'list' : null
  if (type.toString() === 'BLOB') return 'blob'
  return type.toString() === 'VARCHAR' ? 'text' : null
}

/** Whether a column of this type is taken for the vector column without being named. */
export function isVectorCandidate(type: DuckDBType): boolean {
  const element = listElement(type)
  return element !== null && candidateElements.has(element.toString())
}

/** SQL that reads the column in a form copyVectors takes. */
export function selectVector(reference: string, type: DuckDBType): string {
  const element = listElement(type)
  return element === null || candidateElements.has(element.toString()) ? reference : `${reference}::DOUBLE[]`
}

interface BadVector {
  /** Position in the chunk. */
  readonly row: number
  /** What was found, e.g. "31 elements". */
  readonly found: string
}

interface CopiedVectors {
  /** Positions in the chunk of the rows copied, ascending. */
  readonly kept: Uint32Array
  readonly nulls: number
  readonly bad: readonly BadVector[]
}

/**
 * Copies the usable vectors of a chunk: of the right length, without null, NaN and infinity (also after narrowing).
 * @param rows  positions to read, ascending
 * @param out   float32[], overwritten from element `at`; room for rows.length * dimension
 */
export function copyVectors(
  vector: DuckDBVector,
  encoding: VectorEncoding,
  rows: Uint32Array,
  dimension: number,
  out: Float32Array,
  at: number,
): CopiedVectors {
  if (encoding === 'list' && copyWhole(vector, rows, dimension, out, at)) return { kept: rows, nulls: 0, bad: [] }
  const copyRow = rowCopier(vector, encoding)
  const kept = new Uint32Array(rows.length)
  const bad: BadVector[] = []
  let count = 0
  let nulls = 0
  for (const row of rows) {
    const found = copyRow(row, dimension, out, at + count * dimension)
    if (found === 'null') nulls++
    else if (found !== null) bad.push({ row, found })
    else kept[count++] = row
  }
  return { kept: kept.subarray(0, count), nulls, bad }
}

type ListItems = Float32Array | Float64Array | Int8Array | Uint8Array

function listItems(child: DuckDBVector): ListItems {
  const type = child.type.toString()
  if (type === 'FLOAT') return flatItems(child, Float32Array)
  if (type === 'DOUBLE') return flatItems(child, Float64Array)
  return type === 'TINYINT' ? flatItems(child, Int8Array) : flatItems(child, Uint8Array)
}

/** The common case in one copy: every row wanted, none null, lists of the right length end to end, all finite. */
function copyWhole(vector: DuckDBVector, rows: Uint32Array, dimension: number, out: Float32Array, at: number): boolean {
  const list = asList(vector)
  if (rows.length !== list.itemCount || rows.length === 0) return false
  if (validity(list) !== null && !everyRow(validity(list), rows.length)) return false
  const start = list.getEntryOffset(0)
  for (let row = 0; row < rows.length; row++) {
    if (list.getEntryLength(row) !== dimension || list.getEntryOffset(row) !== start + row * dimension) return false
  }
  const end = start + rows.length * dimension
  if (!everyRow(validity(list.childVector), end)) return false
  out.set(listItems(list.childVector).subarray(start, end), at)
  return allFinite(out, at, at + rows.length * dimension)
}

function everyRow(isValid: ((row: number) => boolean) | null, count: number): boolean {
  if (isValid !== null) for (let row = 0; row < count; row++) if (!isValid(row)) return false
  return true
}

/** Sums x - x, which is 0 for finite numbers and NaN for all others. */
function allFinite(values: Float32Array, from: number, to: number): boolean {
  let sum = 0
  for (let i = from; i < to; i++) sum += values[i]! - values[i]!
  return sum === 0
}

/** Copies one row; answers null when done, 'null' for a null vector, else what is wrong with it. */
type RowCopier = (row: number, dimension: number, out: Float32Array, at: number) => string | null

function rowCopier(vector: DuckDBVector, encoding: VectorEncoding): RowCopier {
  if (encoding === 'list') return listCopier(vector)
  if (encoding === 'blob') {
    const blobs = asBlobs(vector)
    return (row, dimension, out, at) => {
      const bytes = blobs.getItemBytes(row)
      if (bytes === null) return 'null'
      if (bytes.length !== 4 * dimension)
        return `${bytes.length} bytes, expected ${4 * dimension} (${dimension} little-endian float32)`
      return copyNumbers(blobNumbers(bytes), out, at)
    }
  }
  return (row, dimension, out, at) => {
    const text = vector.getItem(row)
    if (typeof text !== 'string') return 'null'
    const numbers = parseVectorText(text)
    if (numbers === null) return `text that is not a list of numbers: ${JSON.stringify(text.slice(0, 40))}`
    if (numbers.length !== dimension) return wrongLength(numbers.length, dimension)
    return copyNumbers(numbers, out, at)
  }
}

function listCopier(vector: DuckDBVector): RowCopier {
  const list = asList(vector)
  const isValid = validity(list)
  const items = listItems(list.childVector)
  const childValid = validity(list.childVector)
  return (row, dimension, out, at) => {
    if (isValid !== null && !isValid(row)) return 'null'
    const length = list.getEntryLength(row)
    if (length !== dimension) return wrongLength(length, dimension)
    const start = list.getEntryOffset(row)
    if (childValid !== null)
      for (let i = 0; i < length; i++) if (!childValid(start + i)) return `a null at element ${i}`
    return copyNumbers(items.subarray(start, start + length), out, at)
  }
}

const wrongLength = (length: number, dimension: number): string =>
  `${length} ${length === 1 ? 'element' : 'elements'}, expected ${dimension}`

function copyNumbers(numbers: ListItems | readonly number[], out: Float32Array, at: number): string | null {
  out.set(numbers, at)
  if (allFinite(out, at, at + numbers.length)) return null
  const element = out.subarray(at, at + numbers.length).findIndex((value) => !Number.isFinite(value))
  const value = numbers[element]!
  return Number.isFinite(value)
    ? `${value} at element ${element}, too large for float32`
    : `${value} at element ${element}`
}

/** Little-endian float32 bytes of any alignment. */
export function blobNumbers(bytes: Uint8Array): Float32Array {
  const numbers = new Float32Array(bytes.length >> 2)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let i = 0; i < numbers.length; i++) numbers[i] = view.getFloat32(4 * i, true)
  return numbers
}

/** Numbers of `[1, 2]`, `[1 2]` (as numpy prints them) or the same without brackets; null when the text is anything else. */
export function parseVectorText(text: string): number[] | null {
  const inner = /^\s*\[([^\][]*)\]\s*$/.exec(text)?.[1] ?? text
  const tokens = inner.split(/\s*,\s*|\s+/).filter((token) => token !== '')
  const numbers: number[] = []
  for (const token of tokens) {
    const special = specialNumbers[token.toLowerCase()]
    if (special === undefined && !/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(token)) return null
    numbers.push(special ?? Number(token))
  }
  return numbers
}

/** Spellings of Python and JavaScript; a null element is no number either. */
const specialNumbers: Readonly<Record<string, number>> = {
  nan: Number.NaN,
  null: Number.NaN,
  none: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
  infinity: Number.POSITIVE_INFINITY,
  '-infinity': Number.NEGATIVE_INFINITY,
}
