import { expect, test } from 'vitest'
import { regularizedBeta, sphereQuantile, sphereTail } from '../../src/cache/beta-tail.js'
import { seededRandom } from '../../src/core/clock.js'

test('the incomplete beta function takes known values', () => {
  // I_x(a, 1) = x^a, I_x(1, b) = 1 - (1 - x)^b, I_x(1/2, 1/2) = 2/pi asin(sqrt x), I_x(2, 3) a polynomial.
  for (const x of [0, 1e-9, 0.01, 0.3, 0.5, 0.9, 0.999, 1]) {
    expect(regularizedBeta(x, 3.5, 1)).toBeCloseTo(x ** 3.5, 12)
    expect(regularizedBeta(x, 1, 40)).toBeCloseTo(1 - (1 - x) ** 40, 12)
    expect(regularizedBeta(x, 0.5, 0.5)).toBeCloseTo((2 / Math.PI) * Math.asin(Math.sqrt(x)), 12)
    expect(regularizedBeta(x, 2, 3)).toBeCloseTo(6 * x ** 2 - 8 * x ** 3 + 3 * x ** 4, 12)
  }
})

test('small tails keep their relative accuracy', () => {
  // In three dimensions a coordinate is uniform in [-1, 1]; in five its density is 3/4 (1 - t^2).
  for (const t of [0.5, 0.999, 0.999999]) {
    const s = 1 - t
    expect(sphereTail(t, 3) / (s / 2)).toBeCloseTo(1, 6)
    expect(sphereTail(t, 5) / ((3 * s * s - s ** 3) / 4)).toBeCloseTo(1, 6)
  }
})

test('quantiles invert the tail, from the safe side', () => {
  for (const dimension of [15, 127, 767, 4095])
    for (const probability of [0.4, 0.05, 1e-3, 1e-7, 1e-12]) {
      const tail = sphereTail(sphereQuantile(probability, dimension), dimension)
      expect(tail).toBeLessThanOrEqual(probability)
      expect(tail / probability).toBeGreaterThan(0.999)
    }
  expect(sphereQuantile(0.7, 100)).toBe(0)
})

test('random points on a sphere have this tail', () => {
  const random = seededRandom(1)
  const gaussian = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const dimension = 20
  const t = sphereQuantile(0.1, dimension)
  let beyond = 0
  for (let i = 0; i < 20_000; i++) {
    const point = Array.from({ length: dimension }, gaussian)
    if (point[0]! / Math.hypot(...point) > t) beyond++
  }
  expect(beyond / 20_000).toBeCloseTo(0.1, 2)
})
