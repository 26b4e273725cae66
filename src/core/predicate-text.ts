import { GatewayError } from './errors.js'
import { readNumber } from './json.js'
import { checkLikePattern, type Literal, normalizeNumber, type Predicate, PredicateBudget } from './predicate.js'

/*
 * The text form, a small part of SQL:
 *
 *   or        = and { OR and }
 *   and       = not { AND not }
 *   not       = NOT not | "(" or ")" | test
 *   test      = column ( compare literal | IS [NOT] NULL
 *             | [NOT] ( IN "(" [literal {"," literal}] ")" | BETWEEN literal AND literal
 *                     | LIKE string | CONTAINS literal | STARTS WITH string ) )
 *   compare   = "=" | "<>" | "!=" | "<" | "<=" | ">" | ">="
 *   column    = name | "quoted ""name"""        literal = number | 'it''s' | TRUE | FALSE
 */

const keywords = new Set('AND OR NOT IN BETWEEN IS NULL LIKE CONTAINS STARTS WITH TRUE FALSE'.split(' '))

type Token =
  | { readonly kind: 'name'; readonly value: string; readonly at: number }
  | { readonly kind: 'string'; readonly value: string; readonly at: number }
  | { readonly kind: 'number'; readonly value: number | bigint; readonly at: number }
  | { readonly kind: 'keyword' | 'symbol'; readonly value: string; readonly at: number }
  | { readonly kind: 'end'; readonly value: ''; readonly at: number }

/**
 * Reads the text form of a predicate, e.g. `section = 'net' AND installed_size < 1000`. Keywords in any case.
 * Throws LG_INVALID_REQUEST naming the character at fault (counted from 1).
 */
export function parsePredicateText(text: string, field = 'filter'): Predicate {
  return new PredicateReader(text, field).read()
}

/** The text form; parsePredicateText reads it back. */
export function formatPredicateText(predicate: Predicate): string {
  switch (predicate.op) {
    case 'and':
    case 'or':
      return predicate.terms.map(formatTerm).join(predicate.op === 'and' ? ' AND ' : ' OR ')
    case 'not': {
      const { term } = predicate
      if (term.op === 'in' || term.op === 'between' || term.op === 'like') return formatTest(term, 'NOT ')
      if (term.op === 'contains' || term.op === 'starts_with') return formatTest(term, 'NOT ')
      return `NOT (${formatPredicateText(term)})`
    }
    default:
      return formatTest(predicate, '')
  }
}

function formatTerm(predicate: Predicate): string {
  const text = formatPredicateText(predicate)
  return predicate.op === 'and' || predicate.op === 'or' ? `(${text})` : text
}

function formatTest(test: Extract<Predicate, { column: string }>, negation: '' | 'NOT '): string {
  const column = formatName(test.column)
  switch (test.op) {
    case 'in':
      return `${column} ${negation}IN (${test.values.map(formatLiteral).join(', ')})`
    case 'between':
      return `${column} ${negation}BETWEEN ${formatLiteral(test.low)} AND ${formatLiteral(test.high)}`
    case 'is_null':
      return `${column} IS ${test.negated ? 'NOT ' : ''}NULL`
    case 'contains':
      return `${column} ${negation}CONTAINS ${formatLiteral(test.value)}`
    case 'starts_with':
      return `${column} ${negation}STARTS WITH ${formatLiteral(test.value)}`
    case 'like':
      return `${column} ${negation}LIKE ${formatLiteral(test.value)}`
    default:
      return `${column} ${symbolOf[test.op]} ${formatLiteral(test.value)}`
  }
}

const symbolOf = { eq: '=', ne: '<>', lt: '<', le: '<=', gt: '>', ge: '>=' } as const
const operatorOf = { '=': 'eq', '<>': 'ne', '!=': 'ne', '<': 'lt', '<=': 'le', '>': 'gt', '>=': 'ge' } as const

function formatName(name: string): string {
  const plain = /^[\p{L}_][\p{L}\p{N}_]*$/u.test(name) && !keywords.has(name.toUpperCase())
  return plain ? name : `"${name.replaceAll('"', '""')}"`
}

function formatLiteral(literal: Literal): string {
  if (typeof literal === 'string') return `'${literal.replaceAll("'", "''")}'`
  return typeof literal === 'boolean' ? (literal ? 'TRUE' : 'FALSE') : String(literal)
}

class PredicateReader {
  readonly #text: string
  readonly #field: string
  readonly #budget: PredicateBudget
  #next: Token
  #end = 0

  constructor(text: string, field: string) {
    this.#text = text
    this.#field = field
    this.#budget = new PredicateBudget(field)
    this.#next = this.#scan()
  }

  read(): Predicate {
    const predicate = this.#or(1)
    if (this.#next.kind !== 'end') throw this.#expected('AND, OR or the end')
    return predicate
  }

  #or(depth: number): Predicate {
    return this.#chain('or', () => this.#chain('and', () => this.#not(depth)))
  }

  #chain(op: 'and' | 'or', readTerm: () => Predicate): Predicate {
    const first = readTerm()
    const terms = [first]
    while (this.#take('keyword', op.toUpperCase())) terms.push(readTerm())
    return terms.length === 1 ? first : { op, terms }
  }

  #not(depth: number): Predicate {
    this.#budget.addNode(depth)
    if (this.#take('keyword', 'NOT')) return { op: 'not', term: this.#not(depth + 1) }
    if (!this.#take('symbol', '(')) return this.#test()
    const inner = this.#or(depth + 1)
    this.#require('symbol', ')')
    return inner
  }

  #test(): Predicate {
    const name = this.#next
    if (name.kind !== 'name') throw this.#expected('a column, NOT or "(" (a column comes before its value)')
    this.#advance()
    const column = name.value
    const { kind, value } = this.#next
    if (kind === 'symbol' && value in operatorOf) {
      this.#advance()
      return { op: operatorOf[value as keyof typeof operatorOf], column, value: this.#literal() }
    }
    if (this.#take('keyword', 'IS')) {
      const negated = this.#take('keyword', 'NOT')
      this.#require('keyword', 'NULL')
      return { op: 'is_null', column, negated }
    }
    const negated = this.#take('keyword', 'NOT')
    const term = this.#keywordTest(column, negated)
    return negated ? { op: 'not', term } : term
  }

  #keywordTest(column: string, negated: boolean): Predicate {
    if (this.#take('keyword', 'IN')) return { op: 'in', column, values: this.#list() }
    if (this.#take('keyword', 'BETWEEN')) {
      const low = this.#literal()
      this.#require('keyword', 'AND')
      return { op: 'between', column, low, high: this.#literal() }
    }
    if (this.#take('keyword', 'LIKE')) {
      const value = this.#string()
      checkLikePattern(value, this.#field)
      return { op: 'like', column, value }
    }
    if (this.#take('keyword', 'CONTAINS')) return { op: 'contains', column, value: this.#literal() }
    if (this.#take('keyword', 'STARTS')) {
      this.#require('keyword', 'WITH')
      return { op: 'starts_with', column, value: this.#string() }
    }
    const operators = 'IN, BETWEEN, LIKE, CONTAINS or STARTS WITH'
    throw this.#expected(
      negated ? operators : `=, <>, <, <=, >, >=, IS, NOT, ${operators} (a boolean is written active = TRUE)`,
    )
  }

  #list(): Literal[] {
    const values: Literal[] = []
    this.#require('symbol', '(')
    if (this.#take('symbol', ')')) return values
    do {
      values.push(this.#literal())
      this.#budget.checkList(values.length, this.#field)
    } while (this.#take('symbol', ','))
    this.#require('symbol', ')')
    return values
  }

  #literal(): Literal {
    const token = this.#next
    if (token.kind === 'string' || token.kind === 'number') {
      this.#advance()
      return token.value
    }
    if (this.#take('keyword', 'TRUE')) return true
    if (this.#take('keyword', 'FALSE')) return false
    if (token.kind === 'keyword' && token.value === 'NULL')
      throw this.#expected('a value (nothing equals NULL; write IS NULL or IS NOT NULL)')
    throw this.#expected("a value: a number, a 'string' in single quotes, TRUE or FALSE")
  }

  #string(): string {
    const token = this.#next
    if (token.kind !== 'string') throw this.#expected("a 'string' in single quotes")
    this.#advance()
    return token.value
  }

  #take(kind: Token['kind'], value: string): boolean {
    if (this.#next.kind !== kind || this.#next.value !== value) return false
    this.#advance()
    return true
  }

  #require(kind: Token['kind'], value: string): void {
    if (!this.#take(kind, value)) throw this.#expected(value)
  }

  #advance(): void {
    this.#next = this.#scan()
  }

  #scan(): Token {
    const at = this.#skip(/\s*/y)
    if (at === this.#text.length) return { kind: 'end', value: '', at }
    const word = this.#match(/[\p{L}_][\p{L}\p{N}_]*/uy)
    if (word !== null) {
      const upper = word.toUpperCase()
      return keywords.has(upper) ? { kind: 'keyword', value: upper, at } : { kind: 'name', value: word, at }
    }
    const number = this.#match(/-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\p{L}\p{N}_.])/uy)
    if (number !== null) return { kind: 'number', value: this.#number(number, at), at }
    const symbol = this.#match(/<>|!=|<=|>=|[=<>(),]/y)
    if (symbol !== null) return { kind: 'symbol', value: symbol, at }
    const quote = this.#text[at]
    if (quote === "'" || quote === '"') {
      const value = this.#quoted(quote, at)
      return { kind: quote === "'" ? 'string' : 'name', value, at }
    }
    throw this.#error(at, `cannot read ${JSON.stringify(this.#text.slice(at, at + 20))}`)
  }

  /** Reads up to the closing quote; a doubled quote stands for one. */
  #quoted(quote: string, start: number): string {
    for (let at = start + 1; ; at += 2) {
      at = this.#text.indexOf(quote, at)
      if (at < 0) throw this.#error(start, `the ${quote} opened here is never closed`)
      if (this.#text[at + 1] === quote) continue
      this.#end = at + 1
      return this.#text.slice(start + 1, at).replaceAll(quote + quote, quote)
    }
  }

  #number(token: string, at: number): number | bigint {
    const value = readNumber(token)
    if (typeof value === 'number' && !Number.isFinite(value)) throw this.#error(at, 'the number is too large')
    return normalizeNumber(value)
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#end
    const found = pattern.exec(this.#text)?.[0] ?? null
    if (found !== null) this.#end += found.length
    return found
  }

  #skip(pattern: RegExp): number {
    this.#match(pattern)
    return this.#end
  }

  #expected(what: string): GatewayError {
    const { kind, at } = this.#next
    const found = kind === 'end' ? 'the end' : JSON.stringify(this.#text.slice(at, this.#end))
    return this.#error(at, `expected ${what}, found ${found}`)
  }

  #error(at: number, problem: string): GatewayError {
    const place = `at character ${at + 1}`
    return new GatewayError('LG_INVALID_REQUEST', `${this.#field}: ${place}: ${problem}`, { field: this.#field })
  }
}
