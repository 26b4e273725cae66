/** Inner products of several vectors with several: each value loaded is used more than once. */

/** Writes f32[2][4]: inner products of the vectors at `x` and `y` with the four adjacent ones at `others`. */
export function products(x: usize, y: usize, others: usize, bytes: usize, out: usize): void {
  const second = others + bytes
  const third = second + bytes
  const fourth = third + bytes
  let x0 = f32x4.splat(0)
  let x1 = x0
  let x2 = x0
  let x3 = x0
  let y0 = x0
  let y1 = x0
  let y2 = x0
  let y3 = x0
  for (let at: usize = 0; at < bytes; at += 16) {
    const u = v128.load(x + at)
    const v = v128.load(y + at)
    let w = v128.load(others + at)
    x0 = f32x4.add(x0, f32x4.mul(u, w))
    y0 = f32x4.add(y0, f32x4.mul(v, w))
    w = v128.load(second + at)
    x1 = f32x4.add(x1, f32x4.mul(u, w))
    y1 = f32x4.add(y1, f32x4.mul(v, w))
    w = v128.load(third + at)
    x2 = f32x4.add(x2, f32x4.mul(u, w))
    y2 = f32x4.add(y2, f32x4.mul(v, w))
    w = v128.load(fourth + at)
    x3 = f32x4.add(x3, f32x4.mul(u, w))
    y3 = f32x4.add(y3, f32x4.mul(v, w))
  }
  v128.store(out, sumsF32(x0, x1, x2, x3))
  v128.store(out, sumsF32(y0, y1, y2, y3), 16)
}

/** Sums of four vectors, one a lane. */
// @ts-ignore: decorator
@inline
export function sumsF32(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7))
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7))
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7))
}
