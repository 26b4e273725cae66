import { describe, expect, test } from 'vitest'
import type { Cell, Column, ColumnType } from '../../src/core/column.js'
import { GatewayError } from '../../src/core/errors.js'
import { parsePredicate } from '../../src/core/predicate.js'
import { bindPredicate } from '../../src/core/predicate-bind.js'
import { evaluatePredicate } from '../../src/core/predicate-evaluate.js'
import { parsePredicateText } from '../../src/core/predicate-text.js'

/** Evaluates over a row given as column -> [type, cell]. */
function evaluate(filter: string | object, row: Record<string, readonly [ColumnType, Cell]>): boolean | null {
  const predicate = typeof filter === 'string' ? parsePredicateText(filter) : parsePredicate(filter)
  const columns: Column[] = Object.entries(row).map(([name, [type]]) => ({ name, type }))
  const cells = Object.values(row).map(([, cell]) => cell)
  return evaluatePredicate(bindPredicate(predicate, columns), (column) => cells[column]!)
}

function bindError(filter: object, type: ColumnType): GatewayError {
  try {
    bindPredicate(parsePredicate(filter), [{ name: 'x', type }])
  } catch (error) {
    if (error instanceof GatewayError) return error
    throw error
  }
  throw new Error(`bound: ${JSON.stringify(filter)}`)
}

const int: ColumnType = { kind: 'int' }
const float: ColumnType = { kind: 'float' }
const text: ColumnType = { kind: 'string' }
const utc: ColumnType = { kind: 'timestamp', utc: true }
const wall: ColumnType = { kind: 'timestamp', utc: false }
const ints: ColumnType = { kind: 'list', element: int }

describe('SQL null logic, by hand', () => {
  const row = { n: [int, null], a: [int, 1n] } as const
  test.each([
    ['n = 1', null],
    ['n <> 1', null],
    ['NOT n = 1', null],
    ['n IS NULL', true],
    ['n IS NOT NULL', false],
    ['a IS NULL', false],
    ['n = 1 AND a = 2', false],
    ['n = 1 AND a = 1', null],
    ['n = 1 OR a = 1', true],
    ['n = 1 OR a = 2', null],
    ['NOT (n = 1 OR a = 2)', null],
    ['NOT (n = 1 AND a = 2)', true],
    ['n IN (1, 2)', null],
    ['n NOT IN (1, 2)', null],
    ['n IN ()', false],
    ['n NOT IN ()', true],
    ['a IN (2, 3)', false],
    ['n BETWEEN 1 AND 2', null],
    ['a BETWEEN 2 AND 0', false],
  ])('%s is %s', (filter, expected) => {
    expect(evaluate(filter, row)).toBe(expected)
  })

  test('membership of a list with nulls is unknown unless found', () => {
    expect(evaluate('t CONTAINS 2', { t: [ints, [1n, null, 2n]] })).toBe(true)
    expect(evaluate('t CONTAINS 3', { t: [ints, [1n, null, 2n]] })).toBe(null)
    expect(evaluate('t CONTAINS 3', { t: [ints, [1n, 2n]] })).toBe(false)
    expect(evaluate('t CONTAINS 3', { t: [ints, []] })).toBe(false)
    expect(evaluate('t CONTAINS 3', { t: [ints, null] })).toBe(null)
  })
})

describe('numbers compare by value', () => {
  test.each<[string, ColumnType, Cell, boolean]>([
    ['x < 2020.5', int, 2020n, true],
    ['x > 2020.5', int, 2021n, true],
    ['x = 2020.5', int, 2020n, false],
    ['x >= -0.5', int, 0n, true],
    ['x < -0.5', int, -1n, true],
    ['x = 9007199254740993', int, 9007199254740993n, true],
    ['x = 9007199254740992', int, 9007199254740993n, false],
    ['x < 18446744073709551616', int, 18446744073709551615n, true],
    ['x < 99999999999999999999999', int, -1n, true],
    ['x > -1e30', int, -(2n ** 63n), true],
    ['x = 9007199254740993', float, 9007199254740992, false],
    ['x < 9007199254740993', float, 9007199254740992, true],
    ['x = 1', float, 1, true],
    ['x = 0', float, -0, true],
    ['x < 1e308', float, Number.NEGATIVE_INFINITY, true],
    ['x = 0.1', { kind: 'decimal', scale: 2 }, 10n, true],
    ["x = '0.10'", { kind: 'decimal', scale: 2 }, 10n, true],
    ['x < 0.105', { kind: 'decimal', scale: 2 }, 10n, true],
    ['x > -0.105', { kind: 'decimal', scale: 2 }, -10n, true],
    ['x = -0.105', { kind: 'decimal', scale: 2 }, -11n, false],
    ['x >= 1.5e3', { kind: 'decimal', scale: 1 }, 15000n, true],
  ])('%s over %j %s', (filter, type, cell, expected) => {
    expect(evaluate(filter, { x: [type, cell] })).toBe(expected)
  })

  test('NaN equals nothing and is neither below nor above anything', () => {
    const row = { x: [float, Number.NaN] } as const
    for (const comparison of ['x = 1', 'x < 1', 'x <= 1', 'x > 1', 'x >= 1', 'x IN (1)', 'x BETWEEN 0 AND 1'])
      expect(evaluate(comparison, row)).toBe(false)
    expect(evaluate('x <> 1', row)).toBe(true)
    expect(evaluate('x IS NULL', row)).toBe(false)
  })
})

describe('dates and times', () => {
  const noon = 1709208000_000000000n // 2024-02-29T12:00:00Z
  test.each<[string, ColumnType, Cell, boolean]>([
    ["x = '2024-02-29'", { kind: 'date' }, 19782n, true],
    ["x < '1970-01-01'", { kind: 'date' }, -1n, true],
    ["x = '2024-02-29T12:00:00Z'", utc, noon, true],
    ["x = '2024-02-29T14:00:00+02:00'", utc, noon, true],
    ["x = '2024-02-29 12:00:00'", utc, noon, true],
    ["x = '2024-02-29 12:00:00.000000001'", utc, noon + 1n, true],
    ["x < '2024-02-29 12:00:00.0000000005'", utc, noon, true],
    ["x = '2024-02-29 12:00:00.0000000005'", utc, noon, false],
    ["x > '2024-02-29'", utc, noon, true],
    ["x = '2024-02-29 12:00:00'", wall, noon, true],
    ["x > '0001-01-01T00:00:00Z'", utc, -(2n ** 63n), true],
    ["x < '9999-12-31T23:59:59Z'", utc, 2n ** 63n - 1n, true],
    ["x = '12:30:00.5'", { kind: 'time' }, 45000_500000000n, true],
  ])('%s over %j %s', (filter, type, cell, expected) => {
    expect(evaluate(filter, { x: [type, cell] })).toBe(expected)
  })

  test.each([
    ['2023-02-29', { kind: 'date' } as const],
    ['2024-13-01', { kind: 'date' } as const],
    ['2024-02-29T24:00:00Z', utc],
    ['2024-02-29T23:59:60Z', utc],
    ['2024-02-29T12:00:00Z', wall],
    ['yesterday', utc],
    ['25:00', { kind: 'time' } as const],
  ])('%s is refused by %j', (literal, type) => {
    expect(bindError({ x: literal }, type)).toMatchObject({ code: 'LG_INVALID_REQUEST', field: 'filter.x' })
  })
})

describe('texts and bytes', () => {
  test.each<[string, string, boolean]>([
    ["x LIKE 'a%c'", 'abbc', true],
    ["x LIKE 'a%c'", 'abcd', false],
    ["x LIKE '%'", '', true],
    ["x LIKE '_'", '😀', true],
    ["x LIKE '__'", '😀', false],
    ["x LIKE '100\\%'", '100%', true],
    ["x LIKE '100\\%'", '1000', false],
    ["x LIKE '\\\\_'", '\\x', true],
    ["x LIKE '%a%a%'", 'xaxx', false],
    ["x LIKE 'A'", 'a', false],
    ["x STARTS WITH 'ab%'", 'ab%c', true],
    ["x STARTS WITH ''", '', true],
    ["x > '\uffff'", '😀', true],
    ["x = 'é'", 'e\u0301', false],
  ])('%s over %s', (filter, cell, expected) => {
    expect(evaluate(filter, { x: [text, cell] })).toBe(expected)
  })

  test('binary compares by bytes with a base64 literal', () => {
    const row = { x: [{ kind: 'binary' }, Uint8Array.of(255, 1)] } as const
    expect(evaluate("x = '/wE='", row)).toBe(true)
    expect(evaluate("x > '/w=='", row)).toBe(true)
    expect(bindError({ x: '/wE' }, { kind: 'binary' }).message).toContain('base64')
  })
})

describe('what a column cannot be asked', () => {
  test.each<[object, ColumnType, string]>([
    [{ x: 1 }, text, 'LG_INVALID_REQUEST'],
    [{ x: '1' }, int, 'LG_INVALID_REQUEST'],
    [{ x: true }, int, 'LG_INVALID_REQUEST'],
    [{ x: 1 }, { kind: 'bool' }, 'LG_INVALID_REQUEST'],
    [{ x: { like: '1' } }, int, 'LG_INVALID_REQUEST'],
    [{ x: { contains: 'a' } }, text, 'LG_INVALID_REQUEST'],
    [{ x: { contains: 'a' } }, ints, 'LG_INVALID_REQUEST'],
    [{ x: 1 }, ints, 'LG_UNSUPPORTED'],
    [{ x: 1 }, { kind: 'json' }, 'LG_UNSUPPORTED'],
    [{ y: 1 }, int, 'LG_INVALID_REQUEST'],
  ])('%j of %j', (filter, type, code) => {
    expect(bindError(filter, type).code).toBe(code)
  })

  test('an unknown column is named with those there are; a literal with what was expected', () => {
    expect(bindError({ y: 1 }, int).message).toMatch(/no column "y"; it has x/)
    expect(bindError({ x: 5 }, text).message).toMatch(/is string: expected a string, found number 5/)
    expect(bindError({ x: { between: ['a', 5] } }, text).field).toBe('filter.x.between[1]')
  })

  test('nested columns answer is_null', () => {
    expect(evaluate('x IS NULL', { x: [{ kind: 'json' }, { a: 1 }] })).toBe(false)
    expect(evaluate('x IS NULL', { x: [ints, null] })).toBe(true)
  })
})
