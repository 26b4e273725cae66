/** Sums and maxima across lanes, and the float64 sums that distances are defined by. */

/** Half the distance between 1 and the next float32: the relative error of one rounding. */
export const unit: f64 = 5.9604644775390625e-8

/** More than the rounding of a float64 to float32 and of one float32 operation on it can take away. */
const safety: f64 = 4e-7

/** A float32 that stays above `value` through one more multiplication or addition in float32. */
// @ts-ignore: decorator
@inline
export function roundUp(value: f64): f32 {
  return <f32>(value + abs(value) * safety)
}

/** A float32 below `value` (not negative), with the same margin. */
// @ts-ignore: decorator
@inline
export function roundDown(value: f64): f32 {
  return <f32>(value - abs(value) * safety)
}

// @ts-ignore: decorator
@inline
export function sumF32(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  )
}

// @ts-ignore: decorator
@inline
export function maxF32(v: v128): f32 {
  return max<f32>(
    max<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  )
}

// @ts-ignore: decorator
@inline
export function minF32(v: v128): f32 {
  return min<f32>(
    min<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    min<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  )
}

// @ts-ignore: decorator
@inline
export function sumI32(v: v128): i32 {
  return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3)
}

/** The byte of a table of sixteen that each index, below 16, names; of relaxed_swizzle only what every machine agrees on. */
// @ts-ignore: decorator
@inline
export function lookUp(table: v128, indices: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indices) : i8x16.swizzle(table, indices)
}

const nibblesAt = memory.data<u8>([15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15], 16)

/** 0x0f in every byte; from memory, because V8 makes constants anew in every turn of a loop. */
// @ts-ignore: decorator
@inline
export function nibbles(): v128 {
  return v128.load(nibblesAt)
}

/** Sums of four vectors, one a lane. */
// @ts-ignore: decorator
@inline
export function sumsI32(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7))
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7))
  return i32x4.add(v128.shuffle<i32>(ab, cd, 0, 1, 4, 5), v128.shuffle<i32>(ab, cd, 2, 3, 6, 7))
}

// @ts-ignore: decorator
@inline
export function low(v: v128): v128 {
  return f64x2.promote_low_f32x4(v)
}

// @ts-ignore: decorator
@inline
export function high(v: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i32>(v, v, 2, 3, 2, 3))
}

/** (s0 + s2) + (s1 + s3) of sums by index modulo 4, as in src/core/metric.ts. */
// @ts-ignore: decorator
@inline
export function sumF64(s01: v128, s23: v128): f64 {
  const s = f64x2.add(s01, s23)
  return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1)
}

/** innerProduct of src/core/metric.ts, to the bit. `bytes`: of one vector, a multiple of 64. */
export function product64(a: usize, b: usize, bytes: usize): f64 {
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 16) {
    const x = v128.load(a + at)
    const y = v128.load(b + at)
    s01 = f64x2.add(s01, f64x2.mul(low(x), low(y)))
    s23 = f64x2.add(s23, f64x2.mul(high(x), high(y)))
  }
  return sumF64(s01, s23)
}

/** l2Squared of src/core/metric.ts, to the bit. */
export function square64(a: usize, b: usize, bytes: usize): f64 {
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 16) {
    const x = v128.load(a + at)
    const y = v128.load(b + at)
    const d01 = f64x2.sub(low(x), low(y))
    const d23 = f64x2.sub(high(x), high(y))
    s01 = f64x2.add(s01, f64x2.mul(d01, d01))
    s23 = f64x2.add(s23, f64x2.mul(d23, d23))
  }
  return sumF64(s01, s23)
}

/** Inner product in float32, four vectors of four sums. */
export function product32(a: usize, b: usize, bytes: usize): f32 {
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (let at: usize = 0; at < bytes; at += 64) {
    const x = a + at
    const y = b + at
    s0 = f32x4.add(s0, f32x4.mul(v128.load(x), v128.load(y)))
    s1 = f32x4.add(s1, f32x4.mul(v128.load(x, 16), v128.load(y, 16)))
    s2 = f32x4.add(s2, f32x4.mul(v128.load(x, 32), v128.load(y, 32)))
    s3 = f32x4.add(s3, f32x4.mul(v128.load(x, 48), v128.load(y, 48)))
  }
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)))
}

/** Squared Euclidean distance in float32. */
export function square32(a: usize, b: usize, bytes: usize): f32 {
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (let at: usize = 0; at < bytes; at += 64) {
    const x = a + at
    const y = b + at
    let d = f32x4.sub(v128.load(x), v128.load(y))
    s0 = f32x4.add(s0, f32x4.mul(d, d))
    d = f32x4.sub(v128.load(x, 16), v128.load(y, 16))
    s1 = f32x4.add(s1, f32x4.mul(d, d))
    d = f32x4.sub(v128.load(x, 32), v128.load(y, 32))
    s2 = f32x4.add(s2, f32x4.mul(d, d))
    d = f32x4.sub(v128.load(x, 48), v128.load(y, 48))
    s3 = f32x4.add(s3, f32x4.mul(d, d))
  }
  return sumF32(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)))
}

/** Inner product of 16-bit and 8-bit integers. The caller's ranges exclude overflow. */
// @ts-ignore: decorator
@inline
export function productBytes(integers: usize, codes: usize, padded: usize): i32 {
  let s0 = i32x4.splat(0)
  let s1 = s0
  const end = codes + padded
  for (let code = codes, query = integers; code < end; code += 16, query += 32) {
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load8x8_s(code), v128.load(query)))
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load8x8_s(code, 8), v128.load(query, 16)))
  }
  return sumI32(i32x4.add(s0, s1))
}

/** The same with four codes, one a lane: the integers are loaded once for all of them. */
// @ts-ignore: decorator
@inline
export function productsOfCodes(
  integers: usize,
  first: usize,
  second: usize,
  third: usize,
  fourth: usize,
  padded: usize,
): v128 {
  let s0 = i32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (let at: usize = 0; at < padded; at += 16) {
    const query = integers + (at << 1)
    const l = v128.load(query)
    const h = v128.load(query, 16)
    let code = first + at
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load8x8_s(code), l))
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(v128.load8x8_s(code, 8), h))
    code = second + at
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load8x8_s(code), l))
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(v128.load8x8_s(code, 8), h))
    code = third + at
    s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load8x8_s(code), l))
    s2 = i32x4.add(s2, i32x4.dot_i16x8_s(v128.load8x8_s(code, 8), h))
    code = fourth + at
    s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load8x8_s(code), l))
    s3 = i32x4.add(s3, i32x4.dot_i16x8_s(v128.load8x8_s(code, 8), h))
  }
  return sumsI32(s0, s1, s2, s3)
}

/** The same with the adjacent codes of four rows. */
// @ts-ignore: decorator
@inline
export function productsOfRows(integers: usize, codes: usize, padded: usize): v128 {
  return productsOfCodes(integers, codes, codes + padded, codes + 2 * padded, codes + 3 * padded, padded)
}

/** Reads a word of every line of memory in [from, from + bytes); returns something of them. */
// @ts-ignore: decorator
@inline
export function touch(from: usize, bytes: usize): u32 {
  let sum: u32 = 0
  let at = from
  // Fewer instructions between the loads: more of them are under way at once.
  for (; at + 384 <= from + bytes; at += 384)
    sum +=
      load<u32>(at) +
      load<u32>(at, 64) +
      load<u32>(at, 128) +
      load<u32>(at, 192) +
      load<u32>(at, 256) +
      load<u32>(at, 320)
  for (; at < from + bytes; at += 64) sum += load<u32>(at)
  return sum
}

/** Writes `source - center` to `target`; a center of 0 means none. */
export function subtract(target: usize, source: usize, center: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes; at += 16)
    v128.store(target + at, f32x4.sub(v128.load(source + at), v128.load(center + at)))
}

/** Writes `source * scale`, each product rounded once to float32. */
export function scaleTo(target: usize, source: usize, scale: f64, bytes: usize): void {
  const factor = f64x2.splat(scale)
  for (let at: usize = 0; at < bytes; at += 16) {
    const x = v128.load(source + at)
    const l = f32x4.demote_f64x2_zero(f64x2.mul(low(x), factor))
    const h = f32x4.demote_f64x2_zero(f64x2.mul(high(x), factor))
    v128.store(target + at, v128.shuffle<i32>(l, h, 0, 1, 4, 5))
  }
}
