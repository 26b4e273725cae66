import { describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/core/errors.js'
import { limits } from '../../src/core/limits.js'
import { formatPredicate, parsePredicate, predicateToJson } from '../../src/core/predicate.js'

function refusal(json: unknown): { field: string | undefined; code: string; message: string } {
  try {
    parsePredicate(json)
  } catch (error) {
    if (error instanceof GatewayError) return { field: error.field, code: error.code, message: error.message }
    throw error
  }
  throw new Error(`parsed: ${JSON.stringify(json)}`)
}

describe('the JSON form', () => {
  test.each([
    [{ section: 'net' }, { op: 'eq', column: 'section', value: 'net' }],
    [{ year: { ge: 2020 } }, { op: 'ge', column: 'year', value: 2020 }],
    [{ year: { in: [] } }, { op: 'in', column: 'year', values: [] }],
    [{ year: { between: [1, 2.5] } }, { op: 'between', column: 'year', low: 1, high: 2.5 }],
    [{ year: { is_null: false } }, { op: 'is_null', column: 'year', negated: true }],
    [{ tags: { contains: true } }, { op: 'contains', column: 'tags', value: true }],
    [{ name: { like: '%x\\%' } }, { op: 'like', column: 'name', value: '%x\\%' }],
    [{ not: { a: 1 } }, { op: 'not', term: { op: 'eq', column: 'a', value: 1 } }],
    [{ and: [{ a: 1 }] }, { op: 'eq', column: 'a', value: 1 }],
    [{ '"and"': 1 }, { op: 'eq', column: 'and', value: 1 }],
    [{ '"say ""hi"""': 1 }, { op: 'eq', column: 'say "hi"', value: 1 }],
    [{ id: 9007199254740993n }, { op: 'eq', column: 'id', value: 9007199254740993n }],
    [{ id: 5n }, { op: 'eq', column: 'id', value: 5 }],
    [{ id: 2 ** 60 }, { op: 'eq', column: 'id', value: 1152921504606846976n }],
    [{ id: -0 }, { op: 'eq', column: 'id', value: 0 }],
  ])('%o', (json, expected) => {
    expect(parsePredicate(json)).toStrictEqual(expected)
  })

  test('several operators of a column and several columns of an object are a conjunction', () => {
    const year = [
      { op: 'ge', column: 'year', value: 2020 },
      { op: 'lt', column: 'year', value: 2022 },
    ]
    const lang = { op: 'eq', column: 'lang', value: 'en' }
    expect(parsePredicate({ year: { ge: 2020, lt: 2022 }, lang: 'en' })).toStrictEqual({
      op: 'and',
      terms: [...year, lang],
    })
    expect(parsePredicate({ or: [{ year: { ge: 2020, lt: 2022 } }, { lang: 'en' }] })).toStrictEqual({
      op: 'or',
      terms: [{ op: 'and', terms: year }, lang],
    })
  })

  test('equal predicates have one canonical text, whatever the spelling', () => {
    expect(formatPredicate(parsePredicate({ and: [{ a: 5n }, { b: { eq: 'x' } }] }))).toBe(
      formatPredicate(parsePredicate({ a: { eq: 5 }, b: 'x' })),
    )
    expect(formatPredicate(parsePredicate({ id: 9007199254740993n }))).toBe('{"id":{"eq":9007199254740993}}')
    expect(formatPredicate(parsePredicate({ a: 5 }))).not.toBe(formatPredicate(parsePredicate({ a: '5' })))
    const odd = parsePredicate({ '"not"': { like: 'x' }, '"""q"""': 1, __proto__x: 2 })
    expect(parsePredicate(predicateToJson(odd))).toStrictEqual(odd)
  })
})

describe('refusals name the place', () => {
  test.each([
    ['not an object', 'section', 'filter'],
    ['empty', {}, 'filter'],
    ['null literal', { year: null }, 'filter.year'],
    ['null operand', { and: [{ a: 1 }, { year: { lt: null } }] }, 'filter.and[1].year.lt'],
    ['between of one', { and: [{ a: 1 }, { year: { between: [1] } }] }, 'filter.and[1].year.between'],
    ['unknown operator', { year: { gte: 1 } }, 'filter.year.gte'],
    ['no operator', { year: {} }, 'filter.year'],
    ['list as value', { year: [1] }, 'filter.year'],
    ['in of no list', { year: { in: 1 } }, 'filter.year.in'],
    ['object in a list', { year: { in: [1, {}] } }, 'filter.year.in[1]'],
    ['is_null of no boolean', { year: { is_null: 1 } }, 'filter.year.is_null'],
    ['like of a number', { name: { like: 1 } }, 'filter.name.like'],
    ['lone escape', { name: { like: 'x\\' } }, 'filter.name.like'],
    ['long pattern', { name: { like: 'x'.repeat(limits.filterPatternMax + 1) } }, 'filter.name.like'],
    ['and of no list', { and: { a: 1 } }, 'filter.and'],
    ['empty or', { or: [] }, 'filter.or'],
    ['not of a list', { not: [{ a: 1 }] }, 'filter.not'],
    ['infinite', { x: Number.POSITIVE_INFINITY }, 'filter.x'],
    ['bad quotes', { '"a"b"': 1 }, 'filter."a"b"'],
    ['long list', { a: { in: Array(limits.filterListMax + 1).fill(1) } }, 'filter.a.in'],
    ['many nodes', { or: Array(limits.filterNodesMax).fill({ a: 1 }) }, 'filter'],
  ])('%s', (_name, json, field) => {
    expect(refusal(json)).toMatchObject({ code: 'LG_INVALID_REQUEST', field })
  })

  test('a null says what to write instead', () => {
    expect(refusal({ year: null }).message).toContain('is_null')
  })

  test('nesting ends at limits.jsonDepthMax', () => {
    const nested = (levels: number): unknown => (levels === 1 ? { a: 1 } : { not: nested(levels - 1) })
    expect(() => parsePredicate(nested(limits.jsonDepthMax))).not.toThrow()
    expect(refusal(nested(limits.jsonDepthMax + 1)).message).toContain(`${limits.jsonDepthMax} levels`)
  })
})
