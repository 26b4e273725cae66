import { canonicalJson } from './canonical-json.js'
import { GatewayError } from './errors.js'
import type { JsonValue } from './json.js'
import { limits } from './limits.js'

/**
 * Values as callers write them; strings stand for dates, timestamps, decimals and binary too. A parsed number is finite;
 * an integer is a number when it is safe (below 2^53) and a bigint otherwise, so equal values are written alike.
 */
export type Literal = string | number | bigint | boolean

/**
 * A filter over metadata columns, SQL three-valued logic: a row is kept when the predicate is true, not null.
 * A parsed `and` or `or` has at least two terms.
 */
export type Predicate =
  | { readonly op: 'and' | 'or'; readonly terms: readonly Predicate[] }
  | { readonly op: 'not'; readonly term: Predicate }
  | { readonly op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'; readonly column: string; readonly value: Literal }
  | { readonly op: 'in'; readonly column: string; readonly values: readonly Literal[] }
  | { readonly op: 'between'; readonly column: string; readonly low: Literal; readonly high: Literal }
  | { readonly op: 'is_null'; readonly column: string; readonly negated: boolean }
  | { readonly op: 'contains'; readonly column: string; readonly value: Literal }
  | { readonly op: 'starts_with' | 'like'; readonly column: string; readonly value: string }

const columnOperators = [
  'eq',
  'ne',
  'lt',
  'le',
  'gt',
  'ge',
  'in',
  'between',
  'is_null',
  'contains',
  'starts_with',
  'like',
] as const
type ColumnOperator = (typeof columnOperators)[number]

/**
 * Reads the JSON form of a predicate. A key is a column, one of `and`, `or`, `not`, or a column in double quotes
 * (`"\"and\""`, inner quotes doubled), which reaches any name.
 * @param field  how the caller spells the place, e.g. `filter`; errors extend it: `filter.and[1].year.between`
 * Throws LG_INVALID_REQUEST.
 */
export function parsePredicate(json: unknown, field = 'filter'): Predicate {
  return parseNode(json, field, new PredicateBudget(field), 1)
}

/** Canonical JSON (RFC 8785) of a predicate in its JSON form: equal texts mean equal predicates; for cache keys and receipts. */
export function formatPredicate(predicate: Predicate): string {
  return canonicalJson(predicateToJson(predicate))
}

/** The JSON form; parsePredicate reads it back. */
export function predicateToJson(predicate: Predicate): JsonValue {
  switch (predicate.op) {
    case 'and':
    case 'or':
      return { [predicate.op]: predicate.terms.map(predicateToJson) }
    case 'not':
      return { not: predicateToJson(predicate.term) }
    case 'in':
      return { [columnKey(predicate.column)]: { in: predicate.values } }
    case 'between':
      return { [columnKey(predicate.column)]: { between: [predicate.low, predicate.high] } }
    case 'is_null':
      return { [columnKey(predicate.column)]: { is_null: !predicate.negated } }
    default:
      return { [columnKey(predicate.column)]: { [predicate.op]: predicate.value } }
  }
}

/** Counts what a predicate may hold (limits.filterNodesMax, filterListMax, jsonDepthMax) while it is parsed. */
export class PredicateBudget {
  readonly #field: string
  #nodes = 0

  constructor(field: string) {
    this.#field = field
  }

  /** Call once a node, with its nesting depth (the outermost is 1). */
  addNode(depth: number): void {
    this.#nodes += 1
    if (this.#nodes > limits.filterNodesMax)
      throw invalid(this.#field, `has more than ${limits.filterNodesMax} conditions; split the query or use "in"`)
    if (depth > limits.jsonDepthMax)
      throw invalid(this.#field, `is nested more than ${limits.jsonDepthMax} levels deep; flatten it`)
  }

  checkList(length: number, field: string): void {
    if (length > limits.filterListMax)
      throw invalid(field, `expected at most ${limits.filterListMax} values, found ${length}; split the query`)
  }
}

/** Brings numbers to their one form (see Literal). */
export function normalizeNumber(value: number | bigint): number | bigint {
  if (typeof value === 'number')
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(value) : value + 0
  const asNumber = Number(value)
  return Number.isSafeInteger(asNumber) ? asNumber : value
}

/** Refuses patterns that end in an escape. Backslash makes the next character stand for itself. */
export function checkLikePattern(pattern: string, field: string): void {
  const trailing = /\\*$/.exec(pattern)![0].length
  if (trailing % 2 === 1) throw invalid(field, 'the pattern ends in a lone backslash; write "\\\\" for one backslash')
  if (pattern.length > limits.filterPatternMax)
    throw invalid(field, `expected a pattern of at most ${limits.filterPatternMax} characters, found ${pattern.length}`)
}

function parseNode(json: unknown, field: string, budget: PredicateBudget, depth: number): Predicate {
  budget.addNode(depth)
  if (!isObject(json))
    throw invalid(field, `expected an object such as {"year": {"ge": 2020}}, found ${describe(json)}`)
  const terms = Object.entries(json).flatMap(([key, value]) => parseEntry(key, value, field, budget, depth))
  return conjunction(terms, field)
}

function parseEntry(
  key: string,
  value: unknown,
  field: string,
  budget: PredicateBudget,
  depth: number,
): readonly Predicate[] {
  const at = `${field}.${key}`
  if (key === 'and' || key === 'or') {
    if (!Array.isArray(value) || value.length === 0)
      throw invalid(
        at,
        `expected a list of at least one predicate, found ${describe(value)}; a column of this name is written "\\"${key}\\""`,
      )
    const terms = value.map((term, i) => parseNode(term, `${at}[${i}]`, budget, depth + 1))
    return terms.length === 1 ? terms : [{ op: key, terms }]
  }
  if (key === 'not') {
    if (!isObject(value))
      throw invalid(at, `expected a predicate, found ${describe(value)}; a column of this name is written "\\"not\\""`)
    return [{ op: 'not', term: parseNode(value, at, budget, depth + 1) }]
  }
  const column = unquote(key, at)
  if (!isObject(value)) {
    if (Array.isArray(value)) throw invalid(at, 'expected a value or an operator, found a list; write {"in": […]}')
    return [{ op: 'eq', column, value: literal(value, at) }]
  }
  const operators = Object.entries(value)
  if (operators.length === 0) throw invalid(at, `expected one of ${columnOperators.join(', ')}, found {}`)
  return operators.map(([operator, operand]) => {
    budget.addNode(depth)
    if (!isColumnOperator(operator))
      throw invalid(
        `${at}.${operator}`,
        `unknown operator ${JSON.stringify(operator)}; expected one of ${columnOperators.join(', ')}`,
      )
    return parseOperator(column, operator, operand, `${at}.${operator}`, budget)
  })
}

function parseOperator(
  column: string,
  op: ColumnOperator,
  operand: unknown,
  field: string,
  budget: PredicateBudget,
): Predicate {
  switch (op) {
    case 'in':
      if (!Array.isArray(operand)) throw invalid(field, `expected a list of values, found ${describe(operand)}`)
      budget.checkList(operand.length, field)
      return { op, column, values: operand.map((value, i) => literal(value, `${field}[${i}]`)) }
    case 'between':
      if (!Array.isArray(operand) || operand.length !== 2)
        throw invalid(field, `expected [low, high], found ${describe(operand)}`)
      return { op, column, low: literal(operand[0], `${field}[0]`), high: literal(operand[1], `${field}[1]`) }
    case 'is_null':
      if (typeof operand !== 'boolean') throw invalid(field, `expected true or false, found ${describe(operand)}`)
      return { op, column, negated: !operand }
    case 'starts_with':
    case 'like':
      if (typeof operand !== 'string') throw invalid(field, `expected a string, found ${describe(operand)}`)
      if (op === 'like') checkLikePattern(operand, field)
      return { op, column, value: operand }
    default:
      return { op, column, value: literal(operand, field) }
  }
}

function conjunction(terms: readonly Predicate[], field: string): Predicate {
  const [first] = terms
  if (first === undefined) throw invalid(field, 'expected at least one column or "and", "or", "not", found {}')
  return terms.length === 1 ? first : { op: 'and', terms }
}

function literal(value: unknown, field: string): Literal {
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'bigint') return normalizeNumber(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw invalid(field, 'expected a finite number')
    return normalizeNumber(value)
  }
  if (value === null) throw invalid(field, 'nothing equals null; write {"is_null": true} or {"is_null": false}')
  throw invalid(field, `expected a string, a number or a boolean, found ${describe(value)}`)
}

/** `"odd ""name"""` with its quotes is a column whose name is what they enclose; other keys are names as they are. */
function unquote(key: string, field: string): string {
  if (key.length < 2 || !key.startsWith('"') || !key.endsWith('"')) return key
  const inner = key.slice(1, -1)
  if (/^(?:[^"]|"")*$/.test(inner)) return inner.replaceAll('""', '"')
  throw invalid(field, 'a key in double quotes is a quoted column name: double the quotes inside it')
}

function columnKey(column: string): string {
  const reserved = column === 'and' || column === 'or' || column === 'not'
  const looksQuoted = column.length >= 2 && column.startsWith('"') && column.endsWith('"')
  return reserved || looksQuoted ? `"${column.replaceAll('"', '""')}"` : column
}

function isColumnOperator(name: string): name is ColumnOperator {
  return (columnOperators as readonly string[]).includes(name)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'string')
    return `the string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`
  return `${value}`
}

function invalid(field: string, problem: string): GatewayError {
  return new GatewayError('LG_INVALID_REQUEST', `${field}: ${problem}`, { field })
}
