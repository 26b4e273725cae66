import assert from 'node:assert'
import type { BoundPredicate } from '../core/predicate-bind.js'
import type { ColumnData, DictionaryColumn, ListColumn, WordColumn } from './column-data.js'
import { matchBits, matchBytes, matchCodes, matchDoubles, matchIntegers } from './column-scan.js'
import type { BytesTest } from './like.js'
import type { SegmentMetadata } from './metadata.js'
import { addRow, bitmapWords, complement, hasRow, intersect, noRows, trim, unite } from './row-bitmap.js'
import { inUnit } from './timestamp-unit.js'
import { bytesTest, floatTest, type Interval, integerTest, type ValueTest } from './value-test.js'

/** Rows where a predicate is true and where it is unknown (null: nowhere); elsewhere it is false. Owned by whoever holds it. */
interface Truths {
  readonly yes: Uint32Array
  readonly unknown: Uint32Array | null
}

/**
 * Evaluates a predicate over whole columns. Agrees with core's evaluatePredicate on every row.
 * @param bound  bound to metadata.columns
 * @returns bitmap of the rows where it is true: bit i & 31 of word i >> 5; ceil(rows / 32) words, yours
 */
export function evaluateFilter(bound: BoundPredicate, metadata: SegmentMetadata, rows: number): Uint32Array {
  assert(metadata.rows === rows, `metadata has ${metadata.rows} rows, expected ${rows}`)
  const { yes } = evaluate(bound, metadata)
  trim(yes, rows)
  return yes
}

function evaluate(predicate: BoundPredicate, metadata: SegmentMetadata): Truths {
  switch (predicate.op) {
    case 'and':
    case 'or': {
      const combine = predicate.op === 'and' ? and : or
      const [first, ...rest] = predicate.terms
      if (first === undefined) return constant(predicate.op === 'and', metadata.rows)
      let truths = evaluate(first, metadata)
      for (const term of rest) truths = combine(truths, evaluate(term, metadata))
      return truths
    }
    case 'not':
      return not(evaluate(predicate.term, metadata))
    case 'is_null': {
      const { validity, rows } = metadata.data[predicate.column]!
      if (validity === null) return constant(false, rows)
      return not({ yes: validity.slice(), unknown: null })
    }
    case 'contains': {
      const column = metadata.data[predicate.column]!
      assert(column.layout === 'list')
      return anyElement(column, testColumn(column.elements, { op: 'eq', value: predicate.value }))
    }
    case 'in':
      if (predicate.values.length === 0) return constant(false, metadata.rows)
      return testColumn(metadata.data[predicate.column]!, predicate)
    default:
      return testColumn(metadata.data[predicate.column]!, predicate)
  }
}

function constant(value: boolean, rows: number): Truths {
  const yes = noRows(rows)
  return { yes: value ? yes.fill(0xffffffff) : yes, unknown: null }
}

function and(a: Truths, b: Truths): Truths {
  const unknown = possible(a, b, intersect)
  intersect(a.yes, b.yes)
  return settle(a.yes, unknown)
}

function or(a: Truths, b: Truths): Truths {
  const unknown = possible(a, b, unite)
  unite(a.yes, b.yes)
  return settle(a.yes, unknown)
}

function not({ yes, unknown }: Truths): Truths {
  if (unknown !== null) unite(yes, unknown)
  complement(yes)
  return { yes, unknown }
}

/** Rows where neither side, or not both, are false: where the result may be true. Null when nothing is unknown. */
function possible(a: Truths, b: Truths, combine: typeof intersect): Uint32Array | null {
  if (a.unknown === null && b.unknown === null) return null
  const left = a.yes.slice()
  if (a.unknown !== null) unite(left, a.unknown)
  const right = b.yes.slice()
  if (b.unknown !== null) unite(right, b.unknown)
  combine(left, right)
  return left
}

/** What may be true and is not, is unknown. */
function settle(yes: Uint32Array, possible: Uint32Array | null): Truths {
  if (possible !== null) for (let i = 0; i < yes.length; i++) possible[i]! &= ~yes[i]!
  return { yes, unknown: possible }
}

/** One test of every value of a column; null values are unknown. */
function testColumn(column: ColumnData, test: ValueTest): Truths {
  const yes = new Uint32Array(bitmapWords(column.rows))
  scan(column, test, yes)
  if (column.validity === null) return { yes, unknown: null }
  intersect(yes, column.validity)
  const unknown = column.validity.slice()
  complement(unknown)
  return { yes, unknown }
}

/** Sets the bits of rows whose value passes; the value under a null may be anything. */
function scan(column: ColumnData, test: ValueTest, out: Uint32Array): void {
  switch (column.layout) {
    case 'bits':
      matchBits(column, integerTest(test, { low: 0n, high: 1n }), out)
      break
    case 'words':
      matchIntegers(column, integerTest(column.unit === null ? test : inUnit(test, column.unit), rangeOf(column)), out)
      break
    case 'float':
      matchDoubles(column, floatTest(test), out)
      break
    case 'bytes':
      matchBytes(column, bytesTest(test), out)
      break
    case 'dictionary':
      matchCodes(column, testValues(column, bytesTest(test)), out)
      break
    case 'list':
      assert.fail('lists are tested through their elements')
  }
}

/** The smallest and largest integer a column can hold. */
function rangeOf({ width, signed }: WordColumn): Interval<bigint> {
  const count = 1n << BigInt(32 * width)
  return signed ? { low: -count / 2n, high: count / 2n - 1n } : { low: 0n, high: count - 1n }
}

/** Tests each distinct value once: 1 for the codes that pass. */
function testValues({ values }: DictionaryColumn, passes: BytesTest): Uint8Array {
  return Uint8Array.from({ length: values.rows }, (_, code) =>
    Number(passes(values.bytes, values.offsets[code]!, values.offsets[code + 1]!)),
  )
}

/** SQL's `= ANY`: true when it is for some element, else unknown when it is for some element. */
function anyElement(list: ListColumn, elements: Truths): Truths {
  const yes = noRows(list.rows)
  const unknown = noRows(list.rows)
  for (let row = 0; row < list.rows; row++) {
    if (list.validity !== null && !hasRow(list.validity, row)) {
      addRow(unknown, row)
      continue
    }
    let someUnknown = false
    for (let i = list.offsets[row]!; i < list.offsets[row + 1]!; i++) {
      if (hasRow(elements.yes, i)) {
        addRow(yes, row)
        someUnknown = false
        break
      }
      someUnknown ||= elements.unknown !== null && hasRow(elements.unknown, i)
    }
    if (someUnknown) addRow(unknown, row)
  }
  return { yes, unknown }
}
