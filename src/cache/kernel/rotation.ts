/** The random rotation: rounds of random signs and a Hadamard transform (docs/rounding.md, "Rotation"). */
import { codebookCenterAt, codebookHadamardAt, codebookPaddedAt, codebookRoundsAt } from './layout'
import { unit } from './lanes'

/** Unscaled Hadamard transform of `count` (a power of two, at least 16) floats in place. */
function hadamard(vector: usize, count: i32): void {
  const end = vector + (<usize>count << 2)
  const alternate = f32x4(1, -1, 1, -1)
  const halves = f32x4(1, 1, -1, -1)
  for (let at = vector; at < end; at += 16) {
    const v = v128.load(at)
    const pairs = f32x4.add(
      v128.shuffle<f32>(v, v, 0, 0, 2, 2),
      f32x4.mul(v128.shuffle<f32>(v, v, 1, 1, 3, 3), alternate),
    )
    const quads = f32x4.add(
      v128.shuffle<f32>(pairs, pairs, 0, 1, 0, 1),
      f32x4.mul(v128.shuffle<f32>(pairs, pairs, 2, 3, 2, 3), halves),
    )
    v128.store(at, quads)
  }
  const bytes = <usize>count << 2
  for (let half: usize = 16; half < bytes; half <<= 1)
    for (let at = vector; at < end; at += half << 1)
      for (let i: usize = 0; i < half; i += 16) {
        const a = v128.load(at + i)
        const b = v128.load(at + half + i)
        v128.store(at + i, f32x4.add(a, b))
        v128.store(at + half + i, f32x4.sub(a, b))
      }
}

/**
 * Rotates padded floats in place. When the padded dimension is not a power of two, rounds alternate between its two ends
 * and mix the halves, so that every coordinate reaches every other.
 */
export function rotate(vector: usize, codebook: usize): void {
  const padded = load<u32>(codebook, codebookPaddedAt)
  const rounds = load<u32>(codebook, codebookRoundsAt)
  const bytes = <usize>padded << 2
  const first = codebook + codebookCenterAt + bytes
  for (let round: u32 = 0; round < rounds; round++) {
    flip(vector, first + <usize>round * bytes, bytes)
    spread(vector, codebook, round)
    mixHalves(vector, codebook)
  }
}

/** Changes signs. */
// @ts-ignore: decorator
@inline
function flip(vector: usize, signs: usize, bytes: usize): void {
  for (let at: usize = 0; at < bytes; at += 16)
    v128.store(vector + at, v128.xor(v128.load(vector + at), v128.load(signs + at)))
}

/** A round's orthogonal Hadamard transform. */
// @ts-ignore: decorator
@inline
function spread(vector: usize, codebook: usize, round: u32): void {
  const bytes = <usize>load<u32>(codebook, codebookPaddedAt) << 2
  const count = load<u32>(codebook, codebookHadamardAt)
  const part = <usize>count << 2
  const start = vector + ((round & 1) != 0 ? bytes - part : 0)
  hadamard(start, count)
  const scale = f32x4.splat(<f32>(1 / sqrt<f64>(<f64>count)))
  for (let at: usize = 0; at < part; at += 16) v128.store(start + at, f32x4.mul(v128.load(start + at), scale))
}

// @ts-ignore: decorator
@inline
function mixHalves(vector: usize, codebook: usize): void {
  const padded = load<u32>(codebook, codebookPaddedAt)
  if (padded == load<u32>(codebook, codebookHadamardAt)) return
  const half = <usize>padded << 1
  const mix = f32x4.splat(<f32>Math.SQRT1_2)
  for (let at: usize = 0; at < half; at += 16) {
    const a = v128.load(vector + at)
    const b = v128.load(vector + half + at)
    v128.store(vector + at, f32x4.mul(f32x4.add(a, b), mix))
    v128.store(vector + half + at, f32x4.mul(f32x4.sub(a, b), mix))
  }
}

/** The inverse of `rotate`, and as exact. Every step is its own inverse. */
export function rotateBack(vector: usize, codebook: usize): void {
  const padded = load<u32>(codebook, codebookPaddedAt)
  const rounds = load<u32>(codebook, codebookRoundsAt)
  const bytes = <usize>padded << 2
  const first = codebook + codebookCenterAt + bytes
  for (let round = <i32>rounds - 1; round >= 0; round--) {
    mixHalves(vector, codebook)
    spread(vector, codebook, round)
    flip(vector, first + <usize>round * bytes, bytes)
  }
}

/** Bound of |computed rotation - exact rotation| relative to the vector's norm. */
export function rotationError(codebook: usize): f64 {
  const rounds = <f64>load<u32>(codebook, codebookRoundsAt)
  const levels = <f64>ctz(load<u32>(codebook, codebookHadamardAt))
  return rounds * (levels + 6) * unit * 1.01
}
