/** Ground truth by brute force in float64 over the same float32 data, and recall against it. */
import { distance } from '#lakegate/core/metric.js'
import { type Dataset, row } from './dataset.js'

/** The k-th smallest distance of each query, float64[queryCount]; Infinity when there are fewer than k rows. */
export interface GroundTruth {
  readonly k: number
  readonly kthDistances: Float64Array
}

export function bruteForce(dataset: Dataset, k: number, allowed: (index: number) => boolean = () => true): GroundTruth {
  const nearest = Array.from({ length: dataset.queryCount }, (): Near[] => [])
  nearer(nearest, dataset, { k, firstId: 0, allowed })
  return { k, kthDistances: Float64Array.from(nearest, (near) => near[k - 1]?.distance ?? Number.POSITIVE_INFINITY) }
}

export interface Near {
  readonly id: number
  readonly distance: number
}

/**
 * Takes rows of the dataset that are nearer into each query's list of the k nearest so far, ascending.
 * @param firstId  of the dataset's first row; the others count on
 */
export function nearer(
  nearest: readonly Near[][],
  dataset: Dataset,
  { k, firstId, allowed }: { readonly k: number; readonly firstId: number; allowed(index: number): boolean },
): void {
  const { base, dimension, metric } = dataset
  for (const [q, best] of nearest.entries()) {
    const query = row(dataset.queries, dimension, q)
    for (let i = 0; i < dataset.count; i++) {
      if (!allowed(i)) continue
      const limit = best.length === k ? best[k - 1]!.distance : Number.POSITIVE_INFINITY
      if (metric === 'l2' && best.length === k && fartherThan(limit, query, base, i * dimension)) continue
      const value = distance(metric, query, row(base, dimension, i))
      if (value >= limit) continue
      let at = best.length
      while (at > 0 && best[at - 1]!.distance > value) at--
      best.splice(at, 0, { id: firstId + i, distance: value })
      if (best.length > k) best.pop()
    }
  }
}

/** Far above what summing up to 8,192 squares in another order changes, relatively. */
const slack = 1 + 1e-9
const stride = 16

/** True only when the squared distance of the row at `from` is above the limit; most rows show that by their first coordinates. */
function fartherThan(limit: number, query: Float32Array, base: Float32Array, from: number): boolean {
  const enough = limit * slack
  let sum = 0
  for (let start = 0; start < query.length; start += stride) {
    const end = Math.min(query.length, start + stride)
    for (let i = start; i < end; i++) {
      const difference = query[i]! - base[from + i]!
      sum += difference * difference
    }
    if (sum > enough) return true
  }
  return false
}

/**
 * How many of the rows an engine returned belong to the k nearest. A row at exactly the k-th distance counts, whichever of
 * the equal ones it is; a row returned twice counts once.
 */
export function countHits(dataset: Dataset, truth: GroundTruth, query: number, ids: readonly number[]): number {
  const vector = row(dataset.queries, dataset.dimension, query)
  const limit = truth.kthDistances[query]!
  let hits = 0
  for (const id of new Set(ids.slice(0, truth.k)))
    if (distance(dataset.metric, vector, row(dataset.base, dataset.dimension, id)) <= limit) hits++
  return hits
}
