import assert from 'node:assert'
import type { BoundLiteral } from '../core/predicate-bind.js'
import { type BytesTest, bufferOver, likeTest } from './like.js'

/** A test of single values, without the column it is of. */
export type ValueTest =
  | { readonly op: 'eq' | 'lt' | 'le' | 'gt' | 'ge'; readonly value: BoundLiteral }
  | { readonly op: 'in'; readonly values: readonly BoundLiteral[] }
  | { readonly op: 'between'; readonly low: BoundLiteral; readonly high: BoundLiteral }
  | { readonly op: 'starts_with' | 'like'; readonly value: string }

/** Passes values from low to high, both inclusive. */
export interface Interval<T> {
  readonly low: T
  readonly high: T
}

/** Which numbers pass. */
export type NumberTest<T> =
  | { readonly kind: 'intervals'; readonly intervals: readonly Interval<T>[] }
  | { readonly kind: 'members'; readonly members: ReadonlySet<T> }

/** Up to so many values of an in-list are scanned as intervals, one after another; above, each row asks a set (only in-lists have so many). */
const intervalsMax = 16

/**
 * A test of integers as intervals of whole numbers inside what the column can hold.
 * @param bounds  smallest and largest value of the column
 */
export function integerTest(test: ValueTest, bounds: Interval<bigint>): NumberTest<bigint> {
  const intervals = integerIntervals(test).flatMap(({ low, high }) => {
    const inside = {
      low: low === null || low < bounds.low ? bounds.low : low,
      high: high === null || high > bounds.high ? bounds.high : high,
    }
    return inside.low <= inside.high ? [inside] : []
  })
  if (intervals.length <= intervalsMax) return { kind: 'intervals', intervals }
  return { kind: 'members', members: new Set(intervals.map(({ low }) => low)) }
}

function integerIntervals(test: ValueTest): readonly Interval<bigint | null>[] {
  switch (test.op) {
    case 'eq':
      return integerPoints([test.value])
    case 'in':
      return integerPoints(test.values)
    case 'lt':
      return [{ low: null, high: below(test.value) }]
    case 'le':
      return [{ low: null, high: asCut(test.value).at }]
    case 'gt':
      return [{ low: asCut(test.value).at + 1n, high: null }]
    case 'ge':
      return [{ low: atLeast(test.value), high: null }]
    case 'between':
      return [{ low: atLeast(test.low), high: asCut(test.high).at }]
    default:
      assert.fail(`${test.op} of integers`)
  }
}

/** Literals between two integers equal none. */
function integerPoints(literals: readonly BoundLiteral[]): readonly Interval<bigint>[] {
  return literals.map(asCut).flatMap(({ at, exact }) => (exact ? [{ low: at, high: at }] : []))
}

/** The largest integer below a literal, and the smallest that is not below it. */
function below(literal: BoundLiteral): bigint {
  const { at, exact } = asCut(literal)
  return exact ? at - 1n : at
}
const atLeast = (literal: BoundLiteral): bigint => below(literal) + 1n

/** A test of float64 as intervals of doubles; NaN passes none. */
export function floatTest(test: ValueTest): NumberTest<number> {
  const intervals = floatIntervals(test)
  if (intervals.length <= intervalsMax) return { kind: 'intervals', intervals }
  return { kind: 'members', members: new Set(intervals.map(({ low }) => low)) }
}

function floatIntervals(test: ValueTest): readonly Interval<number>[] {
  const { POSITIVE_INFINITY: max, NEGATIVE_INFINITY: min } = Number
  switch (test.op) {
    case 'eq':
      return doublePoints([test.value])
    case 'in':
      return doublePoints(test.values)
    case 'lt': {
      const { low, high } = nearestDoubles(test.value)
      return [{ low: min, high: low === high ? nextDown(low) : low }]
    }
    case 'le':
      return [{ low: min, high: nearestDoubles(test.value).low }]
    case 'gt': {
      const { low, high } = nearestDoubles(test.value)
      return [{ low: low === high ? nextUp(high) : high, high: max }]
    }
    case 'ge':
      return [{ low: nearestDoubles(test.value).high, high: max }]
    case 'between':
      return [{ low: nearestDoubles(test.low).high, high: nearestDoubles(test.high).low }]
    default:
      assert.fail(`${test.op} of floats`)
  }
}

/** Numbers between two doubles equal none. */
function doublePoints(literals: readonly BoundLiteral[]): readonly Interval<number>[] {
  return literals.map(nearestDoubles).filter(({ low, high }) => low === high)
}

/** The doubles next to a number: the largest that is not above and the smallest that is not below it. */
function nearestDoubles(literal: BoundLiteral): Interval<number> {
  assert(literal.kind === 'float')
  const { value } = literal
  const double = Number(value)
  if (double < value) return { low: double, high: nextUp(double) }
  if (double > value) return { low: nextDown(double), high: double }
  return { low: double, high: double }
}

const double = new Float64Array(1)
const bits = new BigInt64Array(double.buffer)

/** The next double above a value that is not Infinity. */
function nextUp(value: number): number {
  double[0] = value === 0 ? 0 : value
  bits[0]! += value < 0 ? -1n : 1n
  return double[0]
}
const nextDown = (value: number): number => -nextUp(-value)

/** A test of UTF-8 or binary values. */
export function bytesTest(test: ValueTest): BytesTest {
  switch (test.op) {
    case 'in':
      return memberTest(test.values.map(asBytes))
    case 'between': {
      const [low, high] = [asBytes(test.low), asBytes(test.high)]
      return (bytes, start, end) =>
        compareBytes(bytes, start, end, low) >= 0 && compareBytes(bytes, start, end, high) <= 0
    }
    case 'starts_with': {
      const prefix = Buffer.from(test.value)
      return (bytes, start, end) =>
        end - start >= prefix.length && compareBytes(bytes, start, start + prefix.length, prefix) === 0
    }
    case 'like':
      return likeTest(test.value)
    default: {
      const value = asBytes(test.value)
      return orderTest(test.op, value)
    }
  }
}

function memberTest(values: readonly Uint8Array[]): BytesTest {
  // latin1 maps bytes to characters one to one.
  const members = new Set(values.map((value) => bufferOver(value).toString('latin1')))
  const lengths = new Set(values.map((value) => value.length))
  let column: Buffer | null = null
  return (bytes, start, end) => {
    if (!lengths.has(end - start)) return false
    if (column?.buffer !== bytes.buffer || column.byteOffset !== bytes.byteOffset) column = bufferOver(bytes)
    return members.has(column.toString('latin1', start, end))
  }
}

function orderTest(op: 'eq' | 'lt' | 'le' | 'gt' | 'ge', value: Uint8Array): BytesTest {
  switch (op) {
    case 'eq':
      return (bytes, start, end) => end - start === value.length && compareBytes(bytes, start, end, value) === 0
    case 'lt':
      return (bytes, start, end) => compareBytes(bytes, start, end, value) < 0
    case 'le':
      return (bytes, start, end) => compareBytes(bytes, start, end, value) <= 0
    case 'gt':
      return (bytes, start, end) => compareBytes(bytes, start, end, value) > 0
    case 'ge':
      return (bytes, start, end) => compareBytes(bytes, start, end, value) >= 0
  }
}

function compareBytes(bytes: Uint8Array, start: number, end: number, other: Uint8Array): number {
  const length = Math.min(end - start, other.length)
  for (let i = 0; i < length; i++) {
    const difference = bytes[start + i]! - other[i]!
    if (difference !== 0) return difference
  }
  return end - start - other.length
}

function asCut(literal: BoundLiteral): { readonly at: bigint; readonly exact: boolean } {
  assert(literal.kind === 'cut')
  return literal
}

function asBytes(literal: BoundLiteral): Uint8Array {
  if (literal.kind === 'string') return Buffer.from(literal.value)
  assert(literal.kind === 'binary')
  return literal.value
}
