/** Smaller is nearer. l2 = squared Euclidean, cosine = 1 - cosine similarity, dot = -inner product. */
export type Metric = 'l2' | 'cosine' | 'dot'

export const metrics = ['l2', 'cosine', 'dot'] as const satisfies readonly Metric[]

/*
 * The one float64 summation order of lakegate (law 6): four running sums by index modulo 4, added as
 * (s0 + s2) + (s1 + s3). The kernel's float64 stage does the same operations in the same order, so both give the same
 * bits, and zero padding at the end never shows.
 */

/** Squared Euclidean distance in float64. Both vectors: float32[dimension], borrowed. */
export function l2Squared(a: Float32Array, b: Float32Array): number {
  const sums = [0, 0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!
    sums[i & 3]! += difference * difference
  }
  return sums[0]! + sums[2]! + (sums[1]! + sums[3]!)
}

/** Inner product in float64. Both vectors: float32[dimension], borrowed. */
export function innerProduct(a: Float32Array, b: Float32Array): number {
  const sums = [0, 0, 0, 0]
  for (let i = 0; i < a.length; i++) sums[i & 3]! += a[i]! * b[i]!
  return sums[0]! + sums[2]! + (sums[1]! + sums[3]!)
}

/**
 * The distance that answers are ordered by, in float64 over float32 vectors.
 * A zero vector has cosine distance 1 to everything, itself included.
 */
export function distance(metric: Metric, query: Float32Array, row: Float32Array): number {
  switch (metric) {
    case 'l2':
      return l2Squared(query, row)
    case 'dot': {
      const product = innerProduct(query, row)
      return product === 0 ? 0 : -product
    }
    case 'cosine': {
      const norms = Math.sqrt(innerProduct(query, query)) * Math.sqrt(innerProduct(row, row))
      return norms === 0 ? 1 : 1 - innerProduct(query, row) / norms
    }
  }
}
