/** Framed vectors along a codebook's principal directions, and what is outside them (docs/rounding.md, "PCA prefix"). */
import {
  codebookBasisAt,
  codebookDirectionsAt,
  codebookPaddedAt,
  codebookSkewAt,
  scratchPrincipalAt,
  scratchRotatedAt,
} from './layout'
import { product64, unit } from './lanes'
import { sumsF32 } from './products'

/* What `project` found. */
let length: f64 = 0
/** Error of the coordinates. */
export let projectionError: f64 = 0

/* What `measureRest` found. */
/** Norm of the part outside the directions, and how wrong it may be, with its rounding to float32. */
export let rest: f64 = 0
export let restError: f64 = 0

/**
 * Coordinates of the framed vector at scratchRotatedAt along all directions, to scratchPrincipalAt.
 * @param norm of the vector
 * @param inexact how far it is from the exact vector, subtraction of the centre aside
 */
export function project(scratch: usize, codebook: usize, norm: f64, inexact: f64): void {
  const count = load<u32>(codebook, codebookDirectionsAt)
  const bytes = <usize>load<u32>(codebook, codebookPaddedAt) << 2
  const vector = scratch + scratchRotatedAt
  const coordinates = scratch + scratchPrincipalAt
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
    v128.store(coordinates + at, sumsF32(s0, s1, s2, s3))
    direction = fourth + bytes
  }
  const gamma = (<f64>(bytes >> 4) + 10) * unit
  const skew = load<f64>(codebook, codebookSkewAt)
  length = norm
  projectionError = ((sqrt<f64>(<f64>count) * gamma + unit) * (1.01 + skew) + skew) * norm + 1.01 * inexact + 1e-30
}

/** Measures what is outside the first `count` directions. */
export function measureRest(scratch: usize, count: u32): void {
  const coordinates = scratch + scratchPrincipalAt
  const whole = count & ~3
  let inside = product64(coordinates, coordinates, <usize>whole << 2)
  for (let index = whole; index < count; index++) {
    const coordinate = <f64>load<f32>(coordinates + (<usize>index << 2))
    inside += coordinate * coordinate
  }
  const slack = 4 * length * projectionError + 2 * projectionError * projectionError
  rest = sqrt<f64>(max<f64>(0, length * length - inside))
  restError = slack / max<f64>(rest, sqrt<f64>(slack)) + unit * rest
}
