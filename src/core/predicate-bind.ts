import type { Column, ColumnType } from './column.js'
import { GatewayError } from './errors.js'
import type { Literal, Predicate } from './predicate.js'
import { type Cut, parseDate, parseTime, parseTimestamp } from './temporal.js'

/**
 * A literal in the terms of its column. `cut`: bool (0 or 1), int, decimal (unscaled), date, time and timestamp, in the
 * units of Cell. `float`: compared with float64 cells as numbers, without rounding. `string`: well-formed.
 */
export type BoundLiteral =
  | ({ readonly kind: 'cut' } & Cut)
  | { readonly kind: 'float'; readonly value: number | bigint }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'binary'; readonly value: Uint8Array }

/** A predicate over columns by their index: every literal fits its column, so evaluating it cannot fail. */
export type BoundPredicate =
  | { readonly op: 'and' | 'or'; readonly terms: readonly BoundPredicate[] }
  | { readonly op: 'not'; readonly term: BoundPredicate }
  | { readonly op: 'is_null'; readonly column: number }
  | { readonly op: 'eq' | 'lt' | 'le' | 'gt' | 'ge'; readonly column: number; readonly value: BoundLiteral }
  | { readonly op: 'in'; readonly column: number; readonly values: readonly BoundLiteral[] }
  | { readonly op: 'between'; readonly column: number; readonly low: BoundLiteral; readonly high: BoundLiteral }
  /** `column` is a list; `value` is compared with its elements. */
  | { readonly op: 'contains'; readonly column: number; readonly value: BoundLiteral }
  | { readonly op: 'starts_with' | 'like'; readonly column: number; readonly value: string }

/**
 * Resolves columns and literals. `ne` becomes `not eq`, `is_null: false` becomes `not is_null`.
 * @param field  how the caller spells the place; errors extend it with the column
 * Throws LG_INVALID_REQUEST (no such column, a literal of another type) and LG_UNSUPPORTED (a test the column cannot do).
 */
export function bindPredicate(predicate: Predicate, columns: readonly Column[], field = 'filter'): BoundPredicate {
  switch (predicate.op) {
    case 'and':
    case 'or':
      return { op: predicate.op, terms: predicate.terms.map((term) => bindPredicate(term, columns, field)) }
    case 'not':
      return { op: 'not', term: bindPredicate(predicate.term, columns, field) }
    default:
      return bindTest(predicate, columns, field)
  }
}

type ColumnTest = Extract<Predicate, { column: string }>

function bindTest(test: ColumnTest, columns: readonly Column[], field: string): BoundPredicate {
  const index = columns.findIndex((column) => column.name === test.column)
  if (index < 0) throw unknownColumn(test.column, columns, field)
  const { type } = columns[index]!
  const at = `${field}.${test.column}`
  if (test.op === 'is_null') {
    const isNull = { op: 'is_null', column: index } as const
    return test.negated ? { op: 'not', term: isNull } : isNull
  }
  if (type.kind === 'json') throw unsupported(at, test, 'holds nested values (JSON); only is_null tests it')
  if (test.op === 'contains') {
    if (type.kind !== 'list')
      throw invalid(
        at,
        `"contains" tests membership of a list, and the column is ${describeType(type)}; for a part of a text use "like": "%…%"`,
      )
    return { op: 'contains', column: index, value: bindLiteral(test.value, type.element, at) }
  }
  if (type.kind === 'list') throw unsupported(at, test, 'is a list; use "contains" or "is_null"')
  switch (test.op) {
    case 'starts_with':
    case 'like':
      if (type.kind !== 'string')
        throw invalid(at, `"${test.op}" tests a string column, and the column is ${describeType(type)}`)
      return { op: test.op, column: index, value: wellFormed(test.value) }
    case 'in':
      return {
        op: 'in',
        column: index,
        values: test.values.map((value, i) => bindLiteral(value, type, `${at}.in[${i}]`)),
      }
    case 'between':
      return {
        op: 'between',
        column: index,
        low: bindLiteral(test.low, type, `${at}.between[0]`),
        high: bindLiteral(test.high, type, `${at}.between[1]`),
      }
    case 'ne':
      return { op: 'not', term: { op: 'eq', column: index, value: bindLiteral(test.value, type, at) } }
    default:
      return { op: test.op, column: index, value: bindLiteral(test.value, type, at) }
  }
}

function bindLiteral(literal: Literal, type: ColumnType, field: string): BoundLiteral {
  const bound = convert(literal, type)
  if (bound !== null) return bound
  const found = typeof literal === 'string' ? JSON.stringify(literal) : `${typeof literal} ${literal}`
  throw invalid(field, `the column is ${describeType(type)}: expected ${expectedLiteral(type)}, found ${found}`)
}

/** Null when a literal of this kind says nothing about the type. */
function convert(literal: Literal, type: ColumnType): BoundLiteral | null {
  const isNumber = typeof literal === 'number' || typeof literal === 'bigint'
  switch (type.kind) {
    case 'bool':
      return typeof literal === 'boolean' ? cut({ at: literal ? 1n : 0n, exact: true }) : null
    case 'int':
      return isNumber ? cut(integerCut(literal)) : null
    case 'float':
      return isNumber ? { kind: 'float', value: literal } : null
    case 'decimal':
      return typeof literal === 'boolean' ? null : cut(parseDecimal(String(literal), type.scale))
    case 'string':
      return typeof literal === 'string' ? { kind: 'string', value: wellFormed(literal) } : null
    case 'binary':
      return typeof literal === 'string' ? parseBase64(literal) : null
    case 'date': {
      const days = typeof literal === 'string' ? parseDate(literal) : null
      return days === null ? null : cut({ at: days, exact: true })
    }
    case 'time':
      return typeof literal === 'string' ? cut(parseTime(literal)) : null
    case 'timestamp': {
      const timestamp = typeof literal === 'string' ? parseTimestamp(literal) : null
      if (timestamp === null || (timestamp.zoned && !type.utc)) return null
      return cut(timestamp)
    }
    case 'list':
    case 'json':
      return null
  }
}

function cut(point: Cut | null): BoundLiteral | null {
  return point === null ? null : { kind: 'cut', at: point.at, exact: point.exact }
}

function integerCut(value: number | bigint): Cut {
  if (typeof value === 'bigint') return { at: value, exact: true }
  return { at: BigInt(Math.floor(value)), exact: Number.isInteger(value) }
}

/** A decimal text in units of 10^-scale. A JSON number counts as the decimal it is written as, not as the nearest double. */
function parseDecimal(text: string, scale: number): Cut | null {
  const match = /^([+-]?)(\d{1,400})(?:\.(\d{1,400}))?(?:[eE]([+-]?\d{1,4}))?$/.exec(text)
  if (match === null) return null
  const [, sign, whole, fraction = '', exponent = '0'] = match
  const digits = BigInt(`${whole}${fraction}`) * (sign === '-' ? -1n : 1n)
  const shift = scale + Number(exponent) - fraction.length
  if (shift >= 0) return { at: digits * 10n ** BigInt(shift), exact: true }
  const unit = 10n ** BigInt(-shift)
  const remainder = ((digits % unit) + unit) % unit
  return { at: (digits - remainder) / unit, exact: remainder === 0n }
}

function parseBase64(text: string): BoundLiteral | null {
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) return null
  return { kind: 'binary', value: new Uint8Array(Buffer.from(text, 'base64')) }
}

/** Stored text is UTF-8, which has no lone surrogates: they become U+FFFD here as they do when encoded. */
const wellFormed = (text: string): string => Buffer.from(text).toString()

function expectedLiteral(type: ColumnType): string {
  switch (type.kind) {
    case 'bool':
      return 'true or false'
    case 'int':
    case 'float':
      return 'a number'
    case 'decimal':
      return 'a number, or a string such as "12.50"'
    case 'string':
      return 'a string'
    case 'binary':
      return 'a string of base64'
    case 'date':
      return 'a date such as "2024-02-29"'
    case 'time':
      return 'a time of day such as "23:59:59.5"'
    case 'timestamp':
      return type.utc
        ? 'a time such as "2024-02-29T12:00:00Z" or "2024-02-29 12:00:00" (UTC)'
        : 'a time without offset such as "2024-02-29 12:00:00" (the column has no zone)'
    case 'list':
    case 'json':
      return 'no literal'
  }
}

function describeType(type: ColumnType): string {
  switch (type.kind) {
    case 'decimal':
      return `decimal with ${type.scale} places`
    case 'timestamp':
      return type.utc ? 'timestamp (UTC)' : 'timestamp without zone'
    case 'list':
      return `a list of ${describeType(type.element)}`
    default:
      return type.kind
  }
}

function unknownColumn(name: string, columns: readonly Column[], field: string): GatewayError {
  const shown = columns.slice(0, 50).map((column) => column.name)
  const more = columns.length > shown.length ? `, … (${columns.length} in all)` : ''
  const available = columns.length === 0 ? 'it has no metadata columns' : `it has ${shown.join(', ')}${more}`
  return invalid(`${field}.${name}`, `the collection has no column ${JSON.stringify(name)}; ${available}`)
}

function invalid(field: string, problem: string): GatewayError {
  return new GatewayError('LG_INVALID_REQUEST', `${field}: ${problem}`, { field })
}

function unsupported(field: string, test: ColumnTest, problem: string): GatewayError {
  return new GatewayError('LG_UNSUPPORTED', `${field}: "${test.op}" cannot be asked: the column ${problem}`, { field })
}
