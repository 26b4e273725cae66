/** Prefix codes of a range of rows, and of rows alone. */
import { putLanes } from './candidates'
import {
  blockPrefixFactorsAt,
  blockPrefixesAt,
  prefixErrorsAt,
  prefixRestsAt,
  prefixScalesAt,
  scratchPrefixIntegersAt,
} from './layout'
import { prefixLimit } from './limits'
import { productBytes, productsOfRows } from './lanes'
import { prefixBytes, prefixFactors, prefixGround, prefixRest, prefixStep } from './prefix'
import { allowedRows, candidates, lanes } from './rows'

let prefixes: usize = 0
let factors: usize = 0
let prefixIntegers: usize = 0
let ground: f32 = 0

/** @param framedMax largest norm of a framed row */
export function beginPrefixes(block: usize, scratch: usize, framedMax: f64): void {
  prefixes = block + load<u32>(block, blockPrefixesAt)
  factors = block + load<u32>(block, blockPrefixFactorsAt)
  prefixIntegers = scratch + scratchPrefixIntegersAt
  ground = prefixGround(framedMax)
}

/** Squared distances to prefixes and their rests; emits positions that these do not put beyond the limit. */
export function scanPrefixes(from: u32, to: u32, found: i32): i32 {
  const padded = prefixBytes
  const step = f32x4.splat(prefixStep)
  const grounds = f32x4.splat(ground)
  const limit = f32x4.splat(prefixLimit)
  const queryRest = f32x4.splat(prefixRest)
  let count = found
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    for (let row = start; word != 0; row += 4, word >>= 4) {
      if ((word & 15) == 0) continue
      const code = prefixes + <usize>row * padded
      const sums = productsOfRows(prefixIntegers, code, padded)
      const record = prefixFactors(factors, row)
      const product = f32x4.mul(f32x4.convert_i32x4_s(sums), step)
      const apart = f32x4.sub(queryRest, v128.load(record, prefixRestsAt))
      const estimate = f32x4.add(
        f32x4.add(
          f32x4.add(grounds, v128.load(record)),
          f32x4.mul(v128.load(record, prefixScalesAt), product),
        ),
        f32x4.mul(apart, apart),
      )
      const most = f32x4.add(limit, v128.load(record, prefixErrorsAt))
      let kept = word & 15 & ~(<u32>i32x4.bitmask(f32x4.gt(estimate, f32x4.mul(most, most))))
      if (kept == 0) continue
      v128.store(lanes, estimate)
      count = putLanes(candidates, count, lanes, kept, row)
    }
  }
  return count
}

// @ts-ignore: decorator
@inline
export function prefixEstimate(position: u32): f32 {
  const record = prefixFactors(factors, position)
  const code = prefixes + <usize>position * prefixBytes
  const product = <f32>productBytes(prefixIntegers, code, prefixBytes) * prefixStep
  const apart = prefixRest - load<f32>(record, prefixRestsAt)
  return ground + load<f32>(record) + load<f32>(record, prefixScalesAt) * product + apart * apart
}

// @ts-ignore: decorator
@inline
export function isBeyondPrefix(position: u32, estimate: f32): bool {
  const most = prefixLimit + load<f32>(prefixFactors(factors, position), prefixErrorsAt)
  return estimate > most * most
}
