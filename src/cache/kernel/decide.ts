/** The distance of a row that codes do not rule out: float32 may, float64 decides. */
import { offer, threshold } from './hits'
import { product32, product64, square32, square64 } from './lanes'
import { metricCosine, metricDot, metricL2, recordResidualsAt, recordRowsAt, scratchQueryAt } from './layout'
import { directLimit, followThreshold, lowerBound } from './limits'
import { directQuery, queryBytes, queryMetric, queryNorm } from './query'
import { recordTail } from './records'
import { inverseNorms, ranks, records, vectors } from './rows'
import { byteEstimate, rowUpper } from './scan-bytes'
import { putSurvivor } from './survivors'

let query: usize = 0
let withCodes: bool = false

/** @param coded whether 8-bit codes say where rows are */
export function beginDecisions(scratch: usize, coded: bool): void {
  query = scratch + scratchQueryAt
  withCodes = coded
}

/** The row at a position. */
// @ts-ignore: decorator
@inline
export function rowAt(position: u32): u32 {
  return records != 0 ? load<u32>(recordTail(records, position, queryBytes >> 2), recordRowsAt) : position
}

/** Computes a row's distance, in float64 unless float32 already puts it beyond the limit, and offers it. */
export function decide(position: u32): void {
  const row = rowAt(position)
  if (vectors == 0) {
    defer(position, row)
    return
  }
  const vector = vectors + <usize>row * queryBytes
  if (directLimit < Infinity && isBeyondDirect(row, vector)) return
  if (offer(exactDistance(vector), ranks != 0 ? load<u32>(ranks + (<usize>row << 2)) : row, row)) followThreshold()
}

/** Without its original a row is as near as its upper bound, and stays as long as its lower bound may matter. */
function defer(position: u32, row: u32): void {
  let lower: f64 = -Infinity
  let upper: f64 = Infinity
  if (withCodes) {
    const estimate = byteEstimate(position)
    const tail = recordTail(records, position, queryBytes >> 2)
    lower = lowerBound(estimate, load<f32>(tail, recordResidualsAt))
    upper = rowUpper(tail, estimate)
  }
  if (lower > threshold) return
  putSurvivor(lower, position, row, threshold)
  if (offer(upper, position, row)) followThreshold()
}

// @ts-ignore: decorator
@inline
function isBeyondDirect(row: u32, vector: usize): bool {
  if (queryMetric == metricL2) {
    const square = <f64>square32(directQuery, vector, queryBytes)
    // An overflow says nothing.
    return square > directLimit && square < 1e38
  }
  const product = <f64>product32(directQuery, vector, queryBytes)
  if (queryMetric == metricDot) return -product > directLimit
  return 1 - product * <f64>load<f32>(inverseNorms + (<usize>row << 2)) > directLimit
}

/** `distance` of src/core/metric.ts, to the bit. */
function exactDistance(vector: usize): f64 {
  if (queryMetric == metricL2) return square64(query, vector, queryBytes)
  const product = product64(query, vector, queryBytes)
  if (queryMetric == metricDot) return product == 0 ? 0 : -product
  const norms = queryNorm * sqrt<f64>(product64(vector, vector, queryBytes))
  return norms == 0 ? 1 : 1 - product / norms
}
