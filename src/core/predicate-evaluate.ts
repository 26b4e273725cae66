import type { Cell } from './column.js'
import { compareUtf8 } from './id.js'
import type { BoundLiteral, BoundPredicate } from './predicate-bind.js'

/** SQL's truth values; null is unknown. */
export type Truth = boolean | null

/**
 * The reference evaluator: one row, one cell at a time, written to be read. src/cache/filter.ts must agree with it on
 * every row (test/properties/filter.test.ts).
 *
 * A test of a null cell is unknown, except that nothing is in an empty list. NaN equals nothing and is neither below nor
 * above anything: every comparison with it is false, so its negation is true. Strings order by UTF-8 bytes, binary by
 * bytes, false before true. `contains` is SQL's `value = ANY (list)`: unknown when it is not found among known elements
 * and some element is null.
 */
export function evaluatePredicate(predicate: BoundPredicate, getCell: (column: number) => Cell): Truth {
  switch (predicate.op) {
    case 'and':
      return predicate.terms.map((term) => evaluatePredicate(term, getCell)).reduce(and, true)
    case 'or':
      return predicate.terms.map((term) => evaluatePredicate(term, getCell)).reduce(or, false)
    case 'not':
      return not(evaluatePredicate(predicate.term, getCell))
    case 'is_null':
      return getCell(predicate.column) === null
    case 'contains': {
      const elements = getCell(predicate.column) as readonly Cell[] | null
      if (elements === null) return null
      return elements.map((element) => equals(element, predicate.value)).reduce(or, false)
    }
    case 'in': {
      const cell = getCell(predicate.column)
      return predicate.values.map((value) => equals(cell, value)).reduce(or, false)
    }
    case 'between': {
      const cell = getCell(predicate.column)
      return and(compares(cell, predicate.low, 'ge'), compares(cell, predicate.high, 'le'))
    }
    case 'starts_with': {
      const cell = getCell(predicate.column) as string | null
      return cell === null ? null : cell.startsWith(predicate.value)
    }
    case 'like': {
      const cell = getCell(predicate.column) as string | null
      return cell === null ? null : matchesLike(cell, predicate.value)
    }
    default:
      return compares(getCell(predicate.column), predicate.value, predicate.op)
  }
}

const and = (a: Truth, b: Truth): Truth => (a === false || b === false ? false : a === null || b === null ? null : true)
const or = (a: Truth, b: Truth): Truth => (a === true || b === true ? true : a === null || b === null ? null : false)
const not = (a: Truth): Truth => (a === null ? null : !a)

const equals = (cell: Cell, literal: BoundLiteral): Truth => compares(cell, literal, 'eq')

function compares(cell: Cell, literal: BoundLiteral, op: 'eq' | 'lt' | 'le' | 'gt' | 'ge'): Truth {
  if (cell === null) return null
  const order = compare(cell, literal)
  if (order === null) return false
  switch (op) {
    case 'eq':
      return order === 0
    case 'lt':
      return order < 0
    case 'le':
      return order <= 0
    case 'gt':
      return order > 0
    case 'ge':
      return order >= 0
  }
}

/** Negative, zero or positive as the cell is below, equal to or above the literal; null for NaN. */
function compare(cell: NonNullable<Cell>, literal: BoundLiteral): number | null {
  switch (literal.kind) {
    case 'cut': {
      const value = typeof cell === 'boolean' ? BigInt(cell) : (cell as bigint)
      if (literal.exact && value === literal.at) return 0
      return value < literal.at || (!literal.exact && value === literal.at) ? -1 : 1
    }
    case 'float': {
      // JavaScript compares a number with a bigint by value, without converting either.
      const value = cell as number
      if (Number.isNaN(value)) return null
      return value < literal.value ? -1 : value > literal.value ? 1 : 0
    }
    case 'string':
      return compareUtf8(cell as string, literal.value)
    case 'binary':
      return Buffer.compare(cell as Uint8Array, literal.value)
  }
}

/** `%` any characters, `_` one (a code point), `\` makes the next stand for itself. */
function matchesLike(text: string, pattern: string): boolean {
  const characters = Array.from(text)
  // reachable: how many characters of the text the pattern so far can have consumed.
  let reachable = new Set([0])
  for (const { kind, value } of likeTokens(pattern)) {
    const next = new Set<number>()
    for (const at of reachable) {
      if (kind === 'any') for (let i = at; i <= characters.length; i++) next.add(i)
      else if (at < characters.length && (kind === 'one' || characters[at] === value)) next.add(at + 1)
    }
    reachable = next
  }
  return reachable.has(characters.length)
}

function likeTokens(pattern: string): { kind: 'any' | 'one' | 'literal'; value: string }[] {
  return Array.from(pattern.matchAll(/\\(.)|(.)/gsu), ([, escaped, plain]) => {
    if (plain === '%') return { kind: 'any', value: plain }
    if (plain === '_') return { kind: 'one', value: plain }
    return { kind: 'literal', value: escaped ?? plain! }
  })
}
