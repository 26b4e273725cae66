/** Vectors in 16-bit integers. */
import { high, low, maxF32, sumF64 } from './lanes'

/* Of the integers made last: their step, squared norm (of what they stand for), and distance from the vector. */
export let madeStep: f64 = 0
export let madeSquare: f64 = 0
export let madeError: f64 = 0

/**
 * 16-bit integers, in a range whose inner products with 8-bit codes fit 32 bits.
 * @param stepMin for inner products with other integers
 */
export function makeIntegers(integers: usize, vector: usize, bytes: usize, stepMin: f32): void {
  let largest = f32x4.splat(0)
  for (let at: usize = 0; at < bytes; at += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(vector + at)))
  const top = maxF32(largest)
  const range = min<f32>(16383, 16777216 / <f32>(bytes >> 2))
  const step: f32 = top > 1e-30 ? max<f32>(top / range, stepMin) : 0
  const inverse = f32x4.splat(top > 1e-30 ? 1 / step : 0)
  const step64 = f64x2.splat(<f64>step)
  let squares: i64 = 0
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(vector + at)
    const words = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v, inverse)))
    v128.store64_lane(integers + (at >> 1), i16x8.narrow_i32x4_s(words, words), 0)
    const squared = i32x4.mul(words, words)
    squares += <i64>i32x4.extract_lane(squared, 0)
    squares += <i64>i32x4.extract_lane(squared, 1)
    squares += <i64>i32x4.extract_lane(squared, 2)
    squares += <i64>i32x4.extract_lane(squared, 3)
    let d = f64x2.sub(low(v), f64x2.mul(f64x2.convert_low_i32x4_s(words), step64))
    s01 = f64x2.add(s01, f64x2.mul(d, d))
    d = f64x2.sub(high(v), f64x2.mul(f64x2.convert_low_i32x4_s(v128.shuffle<i32>(words, words, 2, 3, 2, 3)), step64))
    s23 = f64x2.add(s23, f64x2.mul(d, d))
  }
  madeStep = <f64>step
  madeSquare = <f64>step * <f64>step * <f64>squares
  madeError = sqrt<f64>(sumF64(s01, s23)) * (1 + 1e-9)
}
