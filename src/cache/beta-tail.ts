/**
 * The tail of one coordinate T of a uniform point on the unit sphere in `dimension` dimensions: T * T is
 * Beta(1/2, (dimension - 1) / 2), and T is symmetric. It bounds the error of the 1-bit estimate (docs/rounding.md).
 */

/** ln Gamma(x) for x > 0: Stirling's series above 10, the recurrence below. */
function logGamma(x: number): number {
  let shift = 0
  let z = x
  while (z < 10) {
    shift -= Math.log(z)
    z += 1
  }
  const w = 1 / (z * z)
  const series = (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w / 1188)))) / z
  return shift + (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series
}

/** Continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22). */
function betaFraction(x: number, a: number, b: number): number {
  const floor = 1e-300
  const guard = (value: number): number => (Math.abs(value) < floor ? floor : value)
  let c = 1
  let d = 1 / guard(1 - ((a + b) * x) / (a + 1))
  let result = d
  for (let m = 1; m <= 10_000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    d = 1 / guard(1 + even * d)
    c = guard(1 + even / c)
    result *= d * c
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    d = 1 / guard(1 + odd * d)
    c = guard(1 + odd / c)
    const step = d * c
    result *= step
    if (Math.abs(step - 1) < 1e-15) break
  }
  return result
}

/** I_x(a, b), the regularised incomplete beta function, for a, b > 0 and x in [0, 1]. */
export function regularizedBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x))
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(x, a, b)) / a : 1 - (front * betaFraction(1 - x, b, a)) / b
}

/** P(T > t) for t in [0, 1]. */
export const sphereTail = (t: number, dimension: number): number =>
  0.5 * regularizedBeta(1 - t * t, (dimension - 1) / 2, 0.5)

/** The smallest t (rounded up) with P(T > t) <= probability; 0 when the probability is a half or more. */
export function sphereQuantile(probability: number, dimension: number): number {
  let low = 0
  let high = 1
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    if (sphereTail(middle, dimension) > probability) low = middle
    else high = middle
  }
  return probability >= 0.5 ? 0 : Math.min(1, high * (1 + 1e-9))
}
