/** Cells of principal coordinates: where the axis of each is cut, so that rows are told apart by 4 bits of it. */
import { cellEdgesStride } from './kernel/layout.js'

/** Cells an axis. */
const cellsEach = 16
const rounds = 12

export interface Cells {
  /** Axes: all but the last are leading principal directions, the last is the norm of what these leave. A multiple of 4. */
  readonly count: number
  /** float32[count][20]: -Infinity, 15 ascending edges, Infinity; the rest is padding. */
  readonly edges: Float32Array
}

/** Puts axes together, each as `cutAxis` cut it. */
export function joinAxes(axes: readonly Float32Array[]): Cells {
  const stride = cellEdgesStride / 4
  const edges = new Float32Array(axes.length * stride)
  for (const [axis, values] of axes.entries()) edges.set(values, axis * stride)
  return { count: axes.length, edges }
}

/**
 * Edges between cells that values are nearest the means of (Lloyd's rounds from quantiles on): float32[17], ascending, from
 * -Infinity to Infinity.
 * @param sorted ascending
 */
export function cutAxis(sorted: Float64Array): Float32Array {
  const edges = Float64Array.from(
    { length: cellsEach - 1 },
    (_, i) => sorted[Math.floor(((i + 1) * sorted.length) / cellsEach)] ?? 0,
  )
  for (let round = 0; round < rounds; round++) {
    const sums = new Float64Array(cellsEach)
    const counts = new Float64Array(cellsEach)
    let cell = 0
    for (const value of sorted) {
      while (cell < cellsEach - 1 && value >= edges[cell]!) cell++
      sums[cell]! += value
      counts[cell]!++
    }
    for (let i = 0; i < edges.length; i++) {
      if (counts[i] === 0 || counts[i + 1] === 0) continue
      edges[i] = (sums[i]! / counts[i]! + sums[i + 1]! / counts[i + 1]!) / 2
    }
  }
  return Float32Array.of(Number.NEGATIVE_INFINITY, ...edges.sort(), Number.POSITIVE_INFINITY)
}
