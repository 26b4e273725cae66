/** Codes along principal directions, and the norm of what is left (docs/rounding.md, "PCA prefix"). */
import { madeError, madeSquare, madeStep, makeIntegers } from './integers'
import {
  blockDirectionsAt,
  blockPrefixErrorsAt,
  blockPrefixRestsAt,
  blockPrefixScalesAt,
  blockPrefixSquaresAt,
  blockPrefixesAt,
  codebookBasisAt,
  codebookDirectionsAt,
  codebookPaddedAt,
  codebookSkewAt,
  scratchPrefixAt,
  scratchPrefixIntegersAt,
  scratchRotatedAt,
} from './layout'
import { maxF32, product64, roundDown, roundUp, unit } from './lanes'
import { sumsF32 } from './products'

/* What `project` found. */
/** Norm of the part outside the directions, and how wrong it may be. */
let rest: f64 = 0
let restError: f64 = 0
/** Error of the coordinates. */
let error: f64 = 0

/* The query. */
/** Number of directions; 0 when there are none. */
export let prefixBytes: usize = 0
export let prefixStep: f32 = 0
export let prefixRest: f32 = 0
/** What the query's rounding adds to a distance. */
export let prefixError: f64 = 0
let prefixSquare: f64 = 0
let prefixLength: f64 = 0

/**
 * Coordinates of the framed vector at scratchRotatedAt along the directions, to scratchPrefixAt.
 * @param length of the vector
 * @param inexact how far it is from the exact vector, subtraction of the centre aside
 */
function project(scratch: usize, codebook: usize, length: f64, inexact: f64): void {
  const count = load<u32>(codebook, codebookDirectionsAt)
  const bytes = <usize>load<u32>(codebook, codebookPaddedAt) << 2
  const vector = scratch + scratchRotatedAt
  const prefix = scratch + scratchPrefixAt
  let direction = codebook + load<u32>(codebook, codebookBasisAt)
  for (let at: usize = 0; at < <usize>count << 2; at += 16) {
    const second = direction + bytes
    const third = second + bytes
    const fourth = third + bytes
    let s0 = f32x4.splat(0)
    let s1 = s0
    let s2 = s0
    let s3 = s0
    for (let i: usize = 0; i < bytes; i += 16) {
      const x = v128.load(vector + i)
      s0 = f32x4.add(s0, f32x4.mul(x, v128.load(direction + i)))
      s1 = f32x4.add(s1, f32x4.mul(x, v128.load(second + i)))
      s2 = f32x4.add(s2, f32x4.mul(x, v128.load(third + i)))
      s3 = f32x4.add(s3, f32x4.mul(x, v128.load(fourth + i)))
    }
    v128.store(prefix + at, sumsF32(s0, s1, s2, s3))
    direction = fourth + bytes
  }
  const gamma = (<f64>(bytes >> 4) + 10) * unit
  const skew = load<f64>(codebook, codebookSkewAt)
  error = ((sqrt<f64>(<f64>count) * gamma + unit) * (1.01 + skew) + skew) * length + 1.01 * inexact + 1e-30
  const left = length * length - product64(prefix, prefix, <usize>count << 2)
  const slack = 4 * length * error + 2 * error * error
  rest = sqrt<f64>(max<f64>(0, left))
  restError = slack / max<f64>(rest, sqrt<f64>(slack))
}

/** Codes the framed row at scratchRotatedAt. */
export function encodePrefix(
  block: usize,
  codebook: usize,
  scratch: usize,
  position: u32,
  length: f64,
  inexact: f64,
): void {
  project(scratch, codebook, length, inexact)
  const count = <usize>load<u32>(block, blockDirectionsAt)
  const prefix = scratch + scratchPrefixAt
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
  const at = <usize>position << 2
  store<f32>(
    block + load<u32>(block, blockPrefixSquaresAt) + at,
    <f32>(<f64>scale * <f64>scale * <f64>squares),
  )
  store<f32>(block + load<u32>(block, blockPrefixScalesAt) + at, -2 * scale)
  const errors = sqrt<f64>(lost) * (1 + 1e-9) + error + restError + unit * rest
  store<f32>(block + load<u32>(block, blockPrefixErrorsAt) + at, roundUp(errors))
  store<f32>(block + load<u32>(block, blockPrefixRestsAt) + at, <f32>rest)
}

/** Prepares the framed query at scratchRotatedAt. */
export function preparePrefix(scratch: usize, codebook: usize, length: f64, inexact: f64): void {
  prefixBytes = <usize>load<u32>(codebook, codebookDirectionsAt)
  if (prefixBytes == 0) return
  project(scratch, codebook, length, inexact)
  makeIntegers(scratch + scratchPrefixIntegersAt, scratch + scratchPrefixAt, prefixBytes << 2, 0)
  prefixStep = <f32>madeStep
  prefixSquare = madeSquare
  prefixLength = length + madeError + error
  prefixRest = <f32>rest
  prefixError = madeError + error + restError + unit * rest
}

/**
 * What all rows' squared distances begin with, rounded down by more than float32 arithmetic can add.
 * @param framedMax largest norm of a framed row
 */
export function prefixGround(framedMax: f64): f32 {
  return roundDown(prefixSquare - 16 * unit * (prefixLength * prefixLength + 1.3 * framedMax * framedMax))
}
