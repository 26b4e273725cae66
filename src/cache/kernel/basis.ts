/** Steps of subspace iteration for the principal directions of a sample; src/cache/basis.ts puts them together. */
import { high, low, product64, sumF64 } from './lanes'
import { scratchLanesAt } from './layout'
import { products } from './products'

/** Rows whose pieces stay in the first level of cache while four directions are summed. */
const tileRows: u32 = 64

/**
 * Writes inner products of rows [from, to) with `count` directions (a multiple of 4), float32[rows][count].
 * @param rows a row starts every `stride` bytes
 */
export function projectRows(
  scratch: usize,
  basis: usize,
  count: u32,
  bytes: usize,
  rows: usize,
  stride: usize,
  from: u32,
  to: u32,
  out: usize,
): void {
  const lanes = scratch + scratchLanesAt
  for (let row = from; row < to; row += 2) {
    const other = min<u32>(row + 1, to - 1)
    for (let direction: u32 = 0; direction < count; direction += 4) {
      const four = basis + <usize>direction * bytes
      products(rows + <usize>row * stride, rows + <usize>other * stride, four, bytes, lanes)
      v128.store(out + ((<usize>row * count + direction) << 2), v128.load(lanes))
      v128.store(out + ((<usize>other * count + direction) << 2), v128.load(lanes, 16))
    }
  }
}

/** Replaces directions [from, to), multiples of 4, by the sums of all rows weighted with their projections. */
export function combineRows(
  scratch: usize,
  basis: usize,
  count: u32,
  bytes: usize,
  rows: usize,
  stride: usize,
  rowCount: u32,
  from: u32,
  to: u32,
  projections: usize,
): void {
  memory.fill(basis + <usize>from * bytes, 0, <usize>(to - from) * bytes)
  for (let start: u32 = 0; start < rowCount; start += tileRows) {
    const end = min<u32>(rowCount, start + tileRows)
    for (let direction = from; direction < to; direction += 4) {
      const four = basis + <usize>direction * bytes
      for (let at: usize = 0; at < bytes; at += 32)
        combineTile(four + at, bytes, rows + at, stride, start, end, projections + (<usize>direction << 2), count)
    }
  }
}

/** Eight coordinates of four directions. */
function combineTile(
  target: usize,
  bytes: usize,
  rows: usize,
  stride: usize,
  from: u32,
  to: u32,
  projections: usize,
  count: u32,
): void {
  const second = target + bytes
  const third = second + bytes
  const fourth = third + bytes
  let a0 = v128.load(target)
  let a1 = v128.load(target, 16)
  let b0 = v128.load(second)
  let b1 = v128.load(second, 16)
  let c0 = v128.load(third)
  let c1 = v128.load(third, 16)
  let d0 = v128.load(fourth)
  let d1 = v128.load(fourth, 16)
  for (let row = from; row < to; row++) {
    const x = v128.load(rows + <usize>row * stride)
    const y = v128.load(rows + <usize>row * stride, 16)
    const weights = projections + ((<usize>row * count) << 2)
    let weight = v128.load32_splat(weights)
    a0 = f32x4.add(a0, f32x4.mul(x, weight))
    a1 = f32x4.add(a1, f32x4.mul(y, weight))
    weight = v128.load32_splat(weights, 4)
    b0 = f32x4.add(b0, f32x4.mul(x, weight))
    b1 = f32x4.add(b1, f32x4.mul(y, weight))
    weight = v128.load32_splat(weights, 8)
    c0 = f32x4.add(c0, f32x4.mul(x, weight))
    c1 = f32x4.add(c1, f32x4.mul(y, weight))
    weight = v128.load32_splat(weights, 12)
    d0 = f32x4.add(d0, f32x4.mul(x, weight))
    d1 = f32x4.add(d1, f32x4.mul(y, weight))
  }
  v128.store(target, a0)
  v128.store(target, a1, 16)
  v128.store(second, b0)
  v128.store(second, b1, 16)
  v128.store(third, c0)
  v128.store(third, c1, 16)
  v128.store(fourth, d0)
  v128.store(fourth, d1, 16)
}

/**
 * Makes directions [from, to) orthogonal to all before them and of unit length, in float64, and rounds them to float32.
 * A direction that depends on those before it is replaced by an axis that does not.
 * @param wide f64[directions][padded]: those before `from` as this function left them
 */
export function orthonormalize(scratch: usize, basis: usize, wide: usize, bytes: usize, from: u32, to: u32): void {
  const wideBytes = bytes << 1
  let axis: usize = 0
  for (let direction = from; direction < to; direction++) {
    const narrow = basis + <usize>direction * bytes
    const vector = wide + <usize>direction * wideBytes
    for (let at: usize = 0; at < bytes; at += 16) {
      v128.store(vector + (at << 1), low(v128.load(narrow + at)))
      v128.store(vector + (at << 1), high(v128.load(narrow + at)), 16)
    }
    let accepted = stand(vector, wide, wideBytes, direction, 1e-6)
    while (!accepted) {
      memory.fill(vector, 0, wideBytes)
      store<f64>(vector + (axis++ << 3), 1)
      // Of all axes together, the earlier directions leave at least one unit of square: one axis keeps its share.
      accepted = stand(vector, wide, wideBytes, direction, 0.5 / sqrt<f64>(<f64>(bytes >> 2)))
    }
    for (let at: usize = 0; at < bytes; at += 16) {
      const l = f32x4.demote_f64x2_zero(v128.load(vector + (at << 1)))
      const h = f32x4.demote_f64x2_zero(v128.load(vector + (at << 1), 16))
      v128.store(narrow + at, v128.shuffle<i32>(l, h, 0, 1, 4, 5))
    }
  }
}

/**
 * Gram and Schmidt; false when less than `share` of the vector's length is left, or it has none. Once is enough: what
 * float64 leaves of the others, even when a millionth of the length remains, is far below a rounding to float32.
 */
function stand(vector: usize, wide: usize, bytes: usize, count: u32, share: f64): bool {
  const before = sqrt<f64>(productWide(vector, vector, bytes))
  if (!(before > 0 && before < Infinity)) return false
  scaleWide(vector, bytes, 1 / before)
  for (let earlier: u32 = 0; earlier < count; earlier++) {
    const other = wide + <usize>earlier * bytes
    subtractWide(vector, other, bytes, productWide(vector, other, bytes))
  }
  const after = sqrt<f64>(productWide(vector, vector, bytes))
  if (!(after > share)) return false
  scaleWide(vector, bytes, 1 / after)
  return true
}

function productWide(a: usize, b: usize, bytes: usize): f64 {
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 32) {
    s01 = f64x2.add(s01, f64x2.mul(v128.load(a + at), v128.load(b + at)))
    s23 = f64x2.add(s23, f64x2.mul(v128.load(a + at, 16), v128.load(b + at, 16)))
  }
  return sumF64(s01, s23)
}

function scaleWide(vector: usize, bytes: usize, scale: f64): void {
  const factor = f64x2.splat(scale)
  for (let at: usize = 0; at < bytes; at += 16)
    v128.store(vector + at, f64x2.mul(v128.load(vector + at), factor))
}

function subtractWide(vector: usize, other: usize, bytes: usize, weight: f64): void {
  const factor = f64x2.splat(weight)
  for (let at: usize = 0; at < bytes; at += 16)
    v128.store(vector + at, f64x2.sub(v128.load(vector + at), f64x2.mul(v128.load(other + at), factor)))
}

/** Writes, for directions [from, to), the sum of squares of their row of B B^T - I: f64[count]. */
export function measureBasis(
  scratch: usize,
  basis: usize,
  count: u32,
  bytes: usize,
  from: u32,
  to: u32,
  out: usize,
): void {
  for (let direction = from; direction < to; direction++) {
    let sum: f64 = 0
    for (let other: u32 = 0; other < count; other++) {
      const product = product64(basis + <usize>direction * bytes, basis + <usize>other * bytes, bytes)
      const excess = direction == other ? product - 1 : product
      sum += excess * excess
    }
    store<f64>(out + (<usize>direction << 3), sum)
  }
}

/** Writes the sums of squares of every column: f64[columns], `columns` a multiple of 4. */
export function sumColumnSquares(scratch: usize, rows: usize, stride: usize, count: u32, columns: u32, out: usize): void {
  memory.fill(out, 0, <usize>columns << 3)
  for (let row: u32 = 0; row < count; row++)
    for (let column: usize = 0; column < <usize>columns; column += 4) {
      const values = v128.load(rows + <usize>row * stride + (column << 2))
      const target = out + (column << 3)
      v128.store(target, f64x2.add(v128.load(target), f64x2.mul(low(values), low(values))))
      v128.store(target, f64x2.add(v128.load(target, 16), f64x2.mul(high(values), high(values))), 16)
    }
}
