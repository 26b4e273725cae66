/** Prefix codes of a range of rows, and of rows alone. */
import { putLanes, rowOf } from './candidates'
import {
  blockPrefixFactorsAt,
  blockPrefixesAt,
  metricDot,
  prefixErrorsAt,
  prefixRestsAt,
  prefixScalesAt,
  scratchPrefixIntegersAt,
} from './layout'
import { byteWeight, prefixLimit, preparePrefixes } from './limits'
import { productBytes, productsOfRows, touch } from './lanes'
import { prefixBytes, prefixFactors, prefixGround, prefixRest, prefixStep } from './prefix'
import { queryMetric } from './query'
import { allowedRows, candidates, lanes } from './rows'

let prefixes: usize = 0
let factors: usize = 0
let prefixIntegers: usize = 0
let ground: f32 = 0
/** Of the query's integers; for dot, whose estimate is half of a squared distance's cross term, half of it. */
let productStep: f32 = 0

/** @param framedMax largest norm of a framed row */
export function beginPrefixes(block: usize, scratch: usize, framedMax: f64): void {
  prefixes = block + load<u32>(block, blockPrefixesAt)
  factors = block + load<u32>(block, blockPrefixFactorsAt)
  prefixIntegers = scratch + scratchPrefixIntegersAt
  productStep = prefixStep
  if (queryMetric == metricDot) {
    productStep = prefixStep * 0.5
    preparePrefixes(framedMax)
  } else ground = prefixGround(framedMax)
}

/** Squared distances to prefixes and their rests (for dot: what negative products are at least); emits positions that these do not put beyond the limit. */
export function scanPrefixes(from: u32, to: u32, found: i32): i32 {
  const padded = prefixBytes
  const isDot = queryMetric == metricDot
  const step = f32x4.splat(productStep)
  const grounds = f32x4.splat(ground)
  const limit = f32x4.splat(prefixLimit)
  const weight = f32x4.splat(byteWeight)
  const queryRest = f32x4.splat(prefixRest)
  let count = found
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    for (let row = start; word != 0; row += 4, word >>= 4) {
      if ((word & 15) == 0) continue
      const code = prefixes + <usize>row * padded
      const sums = productsOfRows(prefixIntegers, code, padded)
      const record = prefixFactors(factors, row)
      const products = f32x4.mul(
        v128.load(record, prefixScalesAt),
        f32x4.mul(f32x4.convert_i32x4_s(sums), step),
      )
      const errors = v128.load(record, prefixErrorsAt)
      let estimate: v128
      let beyond: i32
      if (isDot) {
        estimate = f32x4.sub(products, f32x4.mul(queryRest, v128.load(record, prefixRestsAt)))
        beyond = i32x4.bitmask(f32x4.gt(estimate, f32x4.add(limit, f32x4.mul(weight, errors))))
      } else {
        const apart = f32x4.sub(queryRest, v128.load(record, prefixRestsAt))
        estimate = f32x4.add(f32x4.add(f32x4.add(grounds, v128.load(record)), products), f32x4.mul(apart, apart))
        const most = f32x4.add(limit, errors)
        beyond = i32x4.bitmask(f32x4.gt(estimate, f32x4.mul(most, most)))
      }
      const kept = word & 15 & ~(<u32>beyond)
      if (kept == 0) continue
      v128.store(lanes, estimate)
      count = putLanes(candidates, count, lanes, kept, row)
    }
  }
  return count
}

/** Brings the prefixes of the candidates [from, to) into the cache, all at once. */
export function fetchPrefixes(from: i32, to: i32): void {
  let sum: u32 = 0
  for (let i = from; i < to; i++) {
    const position = rowOf(candidates, i)
    sum += touch(prefixes + <usize>position * prefixBytes, prefixBytes) + load<u32>(prefixFactors(factors, position))
  }
  store<u32>(lanes, sum)
}

// @ts-ignore: decorator
@inline
export function prefixEstimate(position: u32): f32 {
  const record = prefixFactors(factors, position)
  const code = prefixes + <usize>position * prefixBytes
  const product = load<f32>(record, prefixScalesAt) * (<f32>productBytes(prefixIntegers, code, prefixBytes) * productStep)
  if (queryMetric == metricDot) return product - prefixRest * load<f32>(record, prefixRestsAt)
  const apart = prefixRest - load<f32>(record, prefixRestsAt)
  return ground + load<f32>(record) + product + apart * apart
}

// @ts-ignore: decorator
@inline
export function isBeyondPrefix(position: u32, estimate: f32): bool {
  const error = load<f32>(prefixFactors(factors, position), prefixErrorsAt)
  if (queryMetric == metricDot) return estimate > prefixLimit + byteWeight * error
  const most = prefixLimit + error
  return estimate > most * most
}
