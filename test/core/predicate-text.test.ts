import { describe, expect, test } from 'vitest'
import { parsePredicate } from '../../src/core/predicate.js'
import { formatPredicateText, parsePredicateText } from '../../src/core/predicate-text.js'

describe('the text form says what the JSON form says', () => {
  test.each([
    ["section = 'net' AND installed_size < 1000", { section: 'net', installed_size: { lt: 1000 } }],
    ['a = 1 or b = 2 and c = 3', { or: [{ a: 1 }, { and: [{ b: 2 }, { c: 3 }] }] }],
    ['(a = 1 OR b = 2) AND c = 3', { and: [{ or: [{ a: 1 }, { b: 2 }] }, { c: 3 }] }],
    ['NOT a = 1 AND b = 2', { and: [{ not: { a: 1 } }, { b: 2 }] }],
    ['a != 1', { a: { ne: 1 } }],
    ['a<>-1.5e3', { a: { ne: -1500 } }],
    ["a IN ('x', 'it''s')", { a: { in: ['x', "it's"] } }],
    ['a NOT IN (1)', { not: { a: { in: [1] } } }],
    ['a BETWEEN 1 AND 2 AND b = TRUE', { and: [{ a: { between: [1, 2] } }, { b: true }] }],
    ['a IS NOT NULL', { a: { is_null: false } }],
    ["a NOT LIKE '%x'", { not: { a: { like: '%x' } } }],
    ["tags CONTAINS 'x'", { tags: { contains: 'x' } }],
    ["a starts with 'x'", { a: { starts_with: 'x' } }],
    ['"odd ""name""" = 1', { 'odd "name"': 1 }],
    ['"and" = 9007199254740993', { '"and"': 9007199254740993n }],
    ['año = 1', { año: 1 }],
  ])('%s', (text, json) => {
    const predicate = parsePredicateText(text)
    expect(predicate).toStrictEqual(parsePredicate(json))
    expect(parsePredicateText(formatPredicateText(predicate))).toStrictEqual(predicate)
  })
})

test.each([
  ['', /at character 1: expected a column.*found the end/],
  ['a =', /at character 4: expected a value.*found the end/],
  ['a = b', /at character 5: expected a value.*found "b"/],
  ['a = NULL', /IS NULL/],
  ["a = 'x", /at character 5: the ' opened here is never closed/],
  ['a = 1 b = 2', /at character 7: expected AND, OR or the end, found "b"/],
  ['(a = 1', /at character 7: expected \), found the end/],
  ['1 = a', /a column comes before its value/],
  ['active', /active = TRUE/],
  ['a == 1', /at character 4: expected a value/],
  ['a = 12abc', /at character 5: cannot read "12abc"/],
  ['a = 1; DROP', /at character 6: cannot read ";/],
  ['a = 1e999', /too large/],
  [`${'NOT '.repeat(100)}a = 1`, /64 levels/],
  [`${'('.repeat(100)}a = 1`, /64 levels/],
])('%s is refused with its position', (text, message) => {
  expect(() => parsePredicateText(text)).toThrow(message)
})
