import fc from 'fast-check'
import { expect, test } from 'vitest'
import { distance, innerProduct, l2Squared, metrics } from '../../src/core/metric.js'

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(-1e10), max: Math.fround(1e10) })
const pair = fc.integer({ min: 1, max: 65 }).chain((dimension) =>
  fc.tuple(
    fc.float32Array({
      minLength: dimension,
      maxLength: dimension,
      noNaN: true,
      noDefaultInfinity: true,
      min: Math.fround(-1e10),
      max: Math.fround(1e10),
    }),
    fc.array(float32, { minLength: dimension, maxLength: dimension }).map((row) => Float32Array.from(row)),
  ),
)

/** Sums that lose almost nothing: Neumaier's compensated summation, in another order than ours. */
function preciseSum(terms: readonly number[]): number {
  let sum = 0
  let lost = 0
  for (const term of terms.toReversed()) {
    const next = sum + term
    lost += Math.abs(sum) >= Math.abs(term) ? sum - next + term : term - next + sum
    sum = next
  }
  return sum + lost
}

const products = (a: Float32Array, b: Float32Array) => Array.from(a, (x, i) => x * b[i]!)
const magnitude = (terms: readonly number[]) => preciseSum(terms.map(Math.abs))

test('law 6: distances agree with an independent summation within 1e-12 of the terms summed', () => {
  fc.assert(
    fc.property(pair, ([a, b]) => {
      const squares = Array.from(a, (x, i) => (x - b[i]!) ** 2)
      expect(Math.abs(l2Squared(a, b) - preciseSum(squares))).toBeLessThanOrEqual(1e-12 * preciseSum(squares))
      const product = preciseSum(products(a, b))
      expect(Math.abs(innerProduct(a, b) - product)).toBeLessThanOrEqual(1e-12 * magnitude(products(a, b)))
      expect(distance('dot', a, b)).toBe(innerProduct(a, b) === 0 ? 0 : -innerProduct(a, b))
      const norms = Math.sqrt(preciseSum(products(a, a)) * preciseSum(products(b, b)))
      if (norms > 1e-60) expect(Math.abs(distance('cosine', a, b) - (1 - product / norms))).toBeLessThanOrEqual(1e-12)
    }),
    { numRuns: 2000 },
  )
})

test('law 6: terms are summed in one fixed order, in four sums by index modulo 4', () => {
  const inOrder = (terms: readonly number[]) => {
    const [s0, s1, s2, s3] = [0, 1, 2, 3].map((lane) =>
      terms.filter((_, i) => i % 4 === lane).reduce((sum, term) => sum + term, 0),
    )
    return s0! + s2! + (s1! + s3!)
  }
  fc.assert(
    fc.property(pair, ([a, b]) => {
      expect(innerProduct(a, b)).toBe(inOrder(products(a, b)))
      expect(l2Squared(a, b)).toBe(inOrder(Array.from(a, (x, i) => (x - b[i]!) ** 2)))
    }),
  )
})

test('law 3: distances are symmetric, and padding with zeros changes no bit', () => {
  fc.assert(
    fc.property(pair, fc.nat(9), ([a, b], zeros) => {
      const padded = (v: Float32Array) => Float32Array.from([...v, ...Array(zeros).fill(0)])
      for (const metric of metrics) {
        expect(distance(metric, b, a)).toBe(distance(metric, a, b))
        expect(distance(metric, padded(a), padded(b))).toBe(distance(metric, a, b))
      }
    }),
  )
})

test('zero vectors: cosine distance 1, also to themselves; dot is plain zero', () => {
  const zero = new Float32Array(3)
  const one = Float32Array.of(1, -2, 3)
  expect(distance('cosine', zero, one)).toBe(1)
  expect(distance('cosine', zero, zero)).toBe(1)
  expect(Object.is(distance('dot', zero, one), 0)).toBe(true)
  expect(distance('l2', zero, one)).toBe(14)
  expect(distance('l2', one, one)).toBe(0)
})
