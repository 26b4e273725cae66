/** Codes along leading principal directions, and the norm of what is left (docs/rounding.md, "PCA prefix"). */
import { madeError, madeSquare, madeStep, makeIntegers } from './integers'
import {
  blockDirectionsAt,
  blockPrefixFactorsAt,
  blockPrefixesAt,
  codebookPrefixAt,
  prefixErrorsAt,
  prefixFactorBytes,
  prefixRestsAt,
  prefixScalesAt,
  recordRows,
  scratchPrefixIntegersAt,
  scratchPrincipalAt,
} from './layout'
import { maxF32, roundDown, roundUp, unit } from './lanes'
import { measureRest, projectionError, rest, restError } from './principal'

/* The query. */
/** Number of directions; 0 when there are none. */
export let prefixBytes: usize = 0
export let prefixStep: f32 = 0
export let prefixRest: f32 = 0
/** What the query's rounding adds to a distance (dot: to a product, a unit of the row's norm). */
export let prefixError: f64 = 0
let prefixSquare: f64 = 0
let prefixLength: f64 = 0

/** Codes the row that was projected. */
export function encodePrefix(block: usize, scratch: usize, position: u32): void {
  const count = <usize>load<u32>(block, blockDirectionsAt)
  const prefix = scratch + scratchPrincipalAt
  measureRest(scratch, <u32>count)
  let largest = f32x4.splat(0)
  for (let at: usize = 0; at < count << 2; at += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(prefix + at)))
  const top = maxF32(largest)
  const scale: f32 = top > 1e-30 ? top / 127 : 0
  const inverse: f32 = top > 1e-30 ? 127 / top : 0
  const codes = block + load<u32>(block, blockPrefixesAt) + <usize>position * count
  let squares: i32 = 0
  let lost: f64 = 0
  for (let i: usize = 0; i < count; i++) {
    const value = load<f32>(prefix + (i << 2))
    const code = <i32>nearest<f32>(value * inverse)
    store<i8>(codes + i, <i8>code)
    squares += code * code
    const off = <f64>value - <f64>code * <f64>scale
    lost += off * off
  }
  const factors = prefixFactors(block + load<u32>(block, blockPrefixFactorsAt), position)
  store<f32>(factors, <f32>(<f64>scale * <f64>scale * <f64>squares))
  store<f32>(factors, -2 * scale, prefixScalesAt)
  const errors = sqrt<f64>(lost) * (1 + 1e-9) + projectionError + restError
  store<f32>(factors, roundUp(errors), prefixErrorsAt)
  store<f32>(factors, <f32>rest, prefixRestsAt)
}

/** Where the first factor of the row at `position` is; the others are behind it at their offsets. */
// @ts-ignore: decorator
@inline
export function prefixFactors(records: usize, position: u32): usize {
  return records + <usize>(position / recordRows) * prefixFactorBytes + (<usize>(position % recordRows) << 2)
}

/** Prepares the query that was projected. */
export function preparePrefix(scratch: usize, codebook: usize, length: f64): void {
  prefixBytes = <usize>load<u32>(codebook, codebookPrefixAt)
  if (prefixBytes == 0) return
  measureRest(scratch, <u32>prefixBytes)
  makeIntegers(scratch + scratchPrefixIntegersAt, scratch + scratchPrincipalAt, prefixBytes << 2, 0)
  prefixStep = <f32>madeStep
  prefixSquare = madeSquare
  prefixLength = length + madeError + projectionError
  prefixRest = <f32>rest
  prefixError = madeError + projectionError + restError
}

/**
 * What all rows' squared distances begin with, rounded down by more than float32 arithmetic can add.
 * @param framedMax largest norm of a framed row
 */
export function prefixGround(framedMax: f64): f32 {
  return roundDown(prefixSquare - 16 * unit * (prefixLength * prefixLength + 1.3 * framedMax * framedMax))
}

/**
 * dot: how far below its estimate a product may be, the row's own error aside.
 * @param framedMax largest norm of a framed row
 */
export function prefixSlack(framedMax: f64): f64 {
  return (prefixError + 8 * unit * prefixLength) * 1.2 * framedMax
}
