/** 8-bit codes of a range of rows, and of rows alone. */
import { putCandidate, putLanes, rowOf } from './candidates'
import { ceiling, offerUpper } from './ceiling'
import { limitTo, threshold } from './hits'
import {
  metricCosine,
  metricDot,
  recordResidualsAt,
  recordRows,
  recordRowsAt,
  recordScalesAt,
  recordTailBytes,
  scratchIntegersAt,
} from './layout'
import { byteGround, byteLimit, byteStep, byteWeight, followThreshold, upperBound } from './limits'
import { productBytes, productsOfCodes, productsOfRows, touch } from './lanes'
import { queryBytes, queryMetric } from './query'
import { recordCode, recordTail } from './records'
import { allowedRows, candidates, inverseNorms, lanes, records, vectors } from './rows'

/** Records that are brought into the cache at a time. */
export const fetchRows: i32 = 64
/** Of 32 rows, so few are cheaper to look at alone. */
const aloneMax: i32 = 12

let integers: usize = 0

export function beginBytes(scratch: usize): void {
  integers = scratch + scratchIntegersAt
}

/** Squared distances (for dot: negative products) to 8-bit codes; emits rows whose residual does not put them beyond the limit, and lowers it. */
export function scanBytes(from: u32, to: u32, found: i32): i32 {
  const padded = queryBytes >> 2
  const isDot = queryMetric == metricDot
  const step = f32x4.splat(byteStep)
  const ground = f32x4.splat(byteGround)
  let limit = f32x4.splat(byteLimit)
  const weight = f32x4.splat(byteWeight)
  const recordBytes = (padded << 2) + recordTailBytes
  let count = found
  /** End of the rows from `count` on that are still to be looked at. */
  let waiting = found
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    if (<i32>popcnt(word) <= aloneMax) {
      for (; word != 0; word &= word - 1) putCandidate(candidates, waiting++, 0, start + ctz(word))
      if (waiting - count < fetchRows) continue
      word = 0
    }
    if (waiting > count) {
      fetchRecords(count, waiting)
      count = keepWithinBytes(count, waiting, count)
      limit = f32x4.splat(byteLimit)
    }
    let code = records + <usize>(start / recordRows) * recordBytes
    for (let row = start; word != 0; row += 4, word >>= 4, code += recordBytes) {
      if ((word & 15) == 0) continue
      const sums = productsOfRows(integers, code, padded)
      const tail = code + (padded << 2)
      const product = f32x4.mul(f32x4.convert_i32x4_s(sums), step)
      const estimate = f32x4.add(
        f32x4.add(ground, v128.load(tail)),
        f32x4.mul(v128.load(tail, recordScalesAt), product),
      )
      const residual = v128.load(tail, recordResidualsAt)
      let beyond: i32
      if (isDot) {
        beyond = i32x4.bitmask(f32x4.gt(estimate, f32x4.add(limit, f32x4.mul(weight, residual))))
      } else {
        const reach = f32x4.add(limit, residual)
        beyond = i32x4.bitmask(f32x4.gt(estimate, f32x4.mul(reach, reach)))
      }
      let kept = word & 15 & ~(<u32>beyond)
      if (kept == 0) continue
      v128.store(lanes, estimate)
      count = putLanes(candidates, count, lanes, kept, row)
      for (; kept != 0; kept &= kept - 1) {
        const lane = <usize>ctz(kept) << 2
        if (lowerThreshold(tail + lane, load<f32>(lanes + lane))) limit = f32x4.splat(byteLimit)
      }
    }
    waiting = count
  }
  fetchRecords(count, waiting)
  return keepWithinBytes(count, waiting, count)
}

/**
 * Brings the records of the candidates [from, to) into the cache. They are far apart: looking at many, with nothing else
 * between, lets the processor wait for all of them at once.
 */
export function fetchRecords(from: i32, to: i32): void {
  const padded = queryBytes >> 2
  let sum: u32 = 0
  for (let i = from; i < to; i++) {
    const position = rowOf(candidates, i)
    sum += touch(recordCode(records, position, padded), padded) + load<u32>(recordTail(records, position, padded))
  }
  store<u32>(lanes, sum)
}

/** Takes the upper bound of one more row, whose lane of a record's tail is at `tail`; returns whether it lowers the threshold. */
function lowerThreshold(tail: usize, estimate: f32): bool {
  // Few rows come near enough: only of those is it asked, elsewhere in memory, whether they have a direction.
  if (!(upperBound(estimate, load<f32>(tail, recordResidualsAt)) < ceiling())) return false
  if (!offerUpper(rowUpper(tail, estimate)) || ceiling() >= threshold) return false
  limitTo(ceiling())
  followThreshold()
  return true
}

/** Upper bound of the distance of the row whose lane of a record's tail is at `tail`. */
export function rowUpper(tail: usize, estimate: f32): f64 {
  // A row without a direction has distance 1, whatever its code.
  if (queryMetric == metricCosine) {
    const row = <usize>load<u32>(tail, recordRowsAt)
    if (isNaN<f32>(load<f32>(inverseNorms + (row << 2)))) return 2.1
  }
  return upperBound(estimate, load<f32>(tail, recordResidualsAt))
}

// @ts-ignore: decorator
@inline
export function byteEstimate(position: u32): f32 {
  const padded = queryBytes >> 2
  const product = productBytes(integers, recordCode(records, position, padded), padded)
  return estimateFrom(recordTail(records, position, padded), product)
}

// @ts-ignore: decorator
@inline
function estimateFrom(tail: usize, product: i32): f32 {
  return byteGround + load<f32>(tail) + load<f32>(tail, recordScalesAt) * (<f32>product * byteStep)
}

/** Leaves those of the candidates [from, to) that their 8-bit codes do not rule out, with these estimates, from index `kept` on; returns their end. */
export function keepWithinBytes(from: i32, to: i32, kept: i32): i32 {
  const padded = queryBytes >> 2
  const products = lanes
  let end = kept
  for (let first = from; first < to; first += 4) {
    const sums = productsOfCodes(
      integers,
      codeOf(first, to, padded),
      codeOf(first + 1, to, padded),
      codeOf(first + 2, to, padded),
      codeOf(first + 3, to, padded),
      padded,
    )
    v128.store(products, sums)
    for (let i = first; i < min<i32>(first + 4, to); i++) {
      const position = rowOf(candidates, i)
      const tail = recordTail(records, position, padded)
      const estimate = estimateFrom(tail, load<i32>(products + (<usize>(i - first) << 2)))
      if (isBeyondBytes(position, estimate)) continue
      putCandidate(candidates, end++, estimate, position)
      lowerThreshold(tail, estimate)
    }
  }
  return end
}

/** The code of a candidate; past the last one, its. */
// @ts-ignore: decorator
@inline
function codeOf(index: i32, to: i32, padded: usize): usize {
  return recordCode(records, rowOf(candidates, min<i32>(index, to - 1)), padded)
}

// @ts-ignore: decorator
@inline
export function isBeyondBytes(position: u32, estimate: f32): bool {
  const residual = load<f32>(recordTail(records, position, queryBytes >> 2), recordResidualsAt)
  if (queryMetric == metricDot) return estimate > byteLimit + byteWeight * residual
  const reach = byteLimit + residual
  return estimate > reach * reach
}
