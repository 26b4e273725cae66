/** Rows compared one by one, without codes, bounds or the kernel: what answers are checked against (law 6). */
import { distance, type Metric } from '../core/metric.js'

/** A stretch of rows and the query. Structured-cloneable; vectors in shared memory are not copied. */
export interface CompareWork {
  readonly metric: Metric
  /** float32[dimension] */
  readonly query: Float32Array
  /** float32[rows][stride], borrowed. */
  readonly vectors: Float32Array
  /** Floats from one row to the next, at least the dimension. */
  readonly stride: number
  /** Farther rows are left out (inclusive). */
  readonly within: number
}

/** Rows that are near enough, ascending by row; parallel arrays. */
export interface Compared {
  readonly rows: Uint32Array
  readonly distances: Float64Array
}

export function compareRows({ metric, query, vectors, stride, within }: CompareWork): Compared {
  const count = vectors.length / stride
  const rows = new Uint32Array(count)
  const distances = new Float64Array(count)
  let found = 0
  for (let row = 0; row < count; row++) {
    const away = distance(metric, query, vectors.subarray(row * stride, row * stride + query.length))
    if (!(away <= within)) continue
    rows[found] = row
    distances[found] = away
    found++
  }
  return { rows: rows.slice(0, found), distances: distances.slice(0, found) }
}
