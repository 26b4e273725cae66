import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalJson } from '../../src/core/canonical-json.js'
import { type JsonValue, parseJson, stringifyJson } from '../../src/core/json.js'

const big = fc.oneof(fc.bigInt({ min: 2n ** 53n }), fc.bigInt({ max: -(2n ** 53n) }))
const value = fc.letrec<{ node: JsonValue }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(fc.constant(null), fc.boolean(), fc.string({ unit: 'binary' }), big),
    fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x)),
      fc.maxSafeInteger(),
    ),
    fc.array(tie('node')),
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor')), tie('node')),
  ),
})).node

/** A double that is whole and prints without an exponent is written as an integer, and read as one. */
const sameJson = (json: JsonValue): JsonValue => {
  if (typeof json === 'number')
    return Number.isInteger(json) && !Number.isSafeInteger(json) && Math.abs(json) < 1e21 ? BigInt(String(json)) : json
  if (json === null || typeof json !== 'object') return json
  if (Array.isArray(json)) return json.map(sameJson)
  return Object.fromEntries(Object.entries(json).map(([key, member]) => [key, sameJson(member!)]))
}

test('64-bit integers keep every digit through JSON, and everything else reads as JSON.parse reads it', () => {
  fc.assert(
    fc.property(value, (json) => {
      expect(parseJson(stringifyJson(json))).toEqual(sameJson(json))
      expect(parseJson(Buffer.from(canonicalJson(json)))).toEqual(sameJson(json))
      // Forces the reader of large integers over the same text.
      const read = parseJson(`[12345678901234567890,${stringifyJson(json)}]`) as readonly JsonValue[]
      expect(read[1]).toEqual(sameJson(json))
    }),
    { numRuns: 1000 },
  )
})

describe('parseJson', () => {
  test.each([
    ['9007199254740993', 9007199254740993n],
    ['-9223372036854775808', -9223372036854775808n],
    ['9007199254740991', 9007199254740991],
    ['0.12345678901234567', Number('0.12345678901234567')],
    ['[1.2345678901234567e-5,18446744073709551615]', [Number('1.2345678901234567e-5'), 18446744073709551615n]],
    [
      '{"a":"1234567890123456789","b" : [ ] , "c":{}, "d":12345678901234567890}',
      { a: '1234567890123456789', b: [], c: {}, d: 12345678901234567890n },
    ],
    ['[1e400,12345678901234567]', [Number.POSITIVE_INFINITY, 12345678901234567n]],
    [`1${'0'.repeat(400)}`, Number.POSITIVE_INFINITY],
    ['{"a":1,"a":12345678901234567}', { a: 12345678901234567n }],
  ])('%s', (text, expected) => {
    expect(parseJson(text)).toEqual(expected)
  })

  test.each([
    '',
    '[1,]',
    '{"a":12345678901234567890,}',
    '[12345678901234567890',
    '12345678901234567890 x',
    '{12345678901234567890:1}',
    '[012345678901234567]',
    '["\n",12345678901234567]',
    '[nul,12345678901234567]',
    '"12345678901234567',
  ])('%s is refused', (text) => {
    expect(() => JSON.parse(text)).toThrow()
    expect(() => parseJson(text, 'filter')).toThrow(
      expect.objectContaining({ code: 'LG_INVALID_REQUEST', field: 'filter' }),
    )
  })

  test('__proto__ is a key like any other', () => {
    for (const text of ['{"__proto__":{"x":1}}', '{"__proto__":{"x":12345678901234567}}']) {
      const parsed = parseJson(text) as Record<string, unknown>
      expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype)
      expect(Object.keys(parsed)).toEqual(['__proto__'])
    }
  })

  test('depth and encoding are bounded; brackets in strings do not count', () => {
    expect(() => parseJson('['.repeat(65) + ']'.repeat(65))).toThrow(/deeper than 64/)
    expect(() => parseJson('{"a":'.repeat(100_000))).toThrow(/deeper than 64/)
    expect(parseJson(JSON.stringify('["\\'.repeat(100)))).toBe('["\\'.repeat(100))
    expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow(/UTF-8/)
  })
})

test('canonical JSON is RFC 8785, with integers in full', () => {
  // The RFC's example of sorting, 3.2.3, and of numbers, 3.2.2.
  const keys = {
    '\u20ac': 'Euro Sign',
    '\r': 'Carriage Return',
    '\ufb33': 'Hebrew',
    '1': 'One',
    '\ud83d\ude00': 'Smiley',
    '\u0080': 'Control',
    '\u00f6': 'o',
  }
  expect(Object.values(JSON.parse(canonicalJson(keys)))).toHaveLength(7)
  expect(canonicalJson(keys).match(/:"(\w+)/g)).toEqual([
    ':"Carriage',
    ':"One',
    ':"Control',
    ':"o',
    ':"Euro',
    ':"Smiley',
    ':"Hebrew',
  ])
  expect(canonicalJson([333333333.3333333, 1e30, 4.5, 2e-3, 0.000000000000000000000000001, -0])).toBe(
    '[333333333.3333333,1e+30,4.5,0.002,1e-27,0]',
  )
  expect(canonicalJson({ b: [18446744073709551615n, null], a: { d: true, c: undefined } })).toBe(
    '{"a":{"d":true},"b":[18446744073709551615,null]}',
  )
  expect(() => canonicalJson(Number.NaN)).toThrow(RangeError)
})
