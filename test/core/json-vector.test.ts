import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseJson } from '../../src/core/json.js'
import { parseJsonWithVector } from '../../src/core/json-vector.js'

const parsed = (text: string) => parseJsonWithVector(Buffer.from(text))

/** Float32Array where the plain case was read, else whatever parseJson gave. */
const vectorOf = (text: string): unknown => (parsed(text) as { vector: unknown }).vector

const space = fc.constantFrom('', ' ', '\n\t')
const digits = fc.stringMatching(/^\d{1,25}$/)
/** Number tokens of JSON as people and programs write them. */
const token = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  // Beside the middle between two neighbouring float32: what was dropped decides.
  fc
    .tuple(fc.float({ noNaN: true, noDefaultInfinity: true, min: 1, max: 2 }), fc.constantFrom(-1, 0, 1))
    .map(([x, side]) => (x + 2 ** -24 + side * 2 ** -52).toPrecision(25)),
  fc
    .tuple(
      fc.constantFrom('', '-'),
      fc.stringMatching(/^(0|[1-9]\d{0,20})$/),
      fc.option(digits),
      fc.integer({ min: -60, max: 60 }),
    )
    .map(
      ([sign, whole, fraction, exponent]) => `${sign}${whole}${fraction === null ? '' : `.${fraction}`}e${exponent}`,
    ),
  fc.tuple(fc.stringMatching(/^(0|[1-9]\d{0,30})$/), digits).map(([whole, fraction]) => `${whole}.${fraction}`),
)

describe('a vector in a JSON body', () => {
  test('is what JSON.parse reads, rounded to float32', () => {
    fc.assert(
      fc.property(fc.array(token, { minLength: 1, maxLength: 8 }), space, (tokens, gap) => {
        const text = `{"k":1,"vector"${gap}:${gap}[${gap}${tokens.join(`${gap},${gap}`)}${gap}],"select":["a"]}`
        const expected = new Float32Array((JSON.parse(text) as { vector: number[] }).vector)
        if (!expected.every(Number.isFinite)) expect(parsed(text)).toEqual(parseJson(text))
        else {
          expect(vectorOf(text)).toBeInstanceOf(Float32Array)
          expect(parsed(text)).toEqual({ k: 1, vector: expected, select: ['a'] })
        }
      }),
      { numRuns: 3000 },
    )
  })

  test.each([
    '{"queries":[{"vector":[1]},{"vector":[2]}]}',
    '{"filter":{"vector":[1,2]},"vector":[3]}',
    '{"filter":{"vector":[1,2]},"k":1}',
    '{"vector":[1],"vector":[2]}',
    '{"vector":[1],"filter":{"vector":3}}',
    '{"a\\"vector":[1]}',
    '{"note":"vector","k":[1]}',
    '{"vector":"vector"}',
    '{"vector":[]}',
    '{"vector":[1,"2"]}',
    '{"vector":[1e39]}',
    '{"vector":[[1]]}',
    ' {"vector":[1]}',
    '[1]',
  ])('that is not the plain case is left to parseJson: %s', (text) => {
    expect(parsed(text)).toEqual(parseJson(text))
  })

  test.each([
    '{"vector":[1,2}',
    '{"vector":[01]}',
    '{"vector":[1.]}',
    '{"vector":[.5]}',
    '{"vector":[1e]}',
    '{"vector":[+1]}',
    '{"vector":[1,]}',
    '{"vector":[1 2]}',
    '{"vector":[1]',
    '{"vector":[1]}}',
    '{"a":"x"vector":[1]}',
    '{"k":1 "vector":[1]}',
    '{"vector":[-]}',
    '{"vector":[NaN]}',
  ])('that is no JSON is refused as parseJson refuses it: %s', (text) => {
    const failure = (read: () => unknown): unknown => {
      try {
        return read()
      } catch (error) {
        return String(error)
      }
    }
    expect(failure(() => parsed(text))).toMatch(/expected JSON/)
    expect(failure(() => parsed(text))).toBe(failure(() => parseJson(text)))
  })
})
