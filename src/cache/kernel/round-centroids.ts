/** Centroids in integers: what search, which never sees them otherwise, computes with is then exact (docs/rounding.md, "Clusters"). */
import { centroidIntegerMax, codebookPaddedAt, tableCountAt, tableVectorsAt } from './layout'
import { maxF32 } from './lanes'
import { rotate, rotateBack } from './rotation'

/** Centroids this long stay as they are: rows are not searched by them. */
const hugeMin: f32 = 1e30
const tiny: f32 = 1e-30

/**
 * Moves a table's centroids to where, rotated, they are integers times a scale.
 * @param integers i16[centroids][padded], written
 * @param scales f32[centroids], written; NaN where a centroid is too long
 */
export function roundCentroids(scratch: usize, table: usize, codebook: usize, integers: usize, scales: usize): void {
  const bytes = <usize>load<u32>(codebook, codebookPaddedAt) << 2
  const count = <usize>load<u32>(table, tableCountAt)
  const vectors = table + load<u32>(table, tableVectorsAt)
  for (let index: usize = 0; index < count; index++) {
    const vector = vectors + index * bytes
    const target = integers + index * (bytes >> 1)
    const scale = roundCentroid(vector, target, codebook, bytes)
    store<f32>(scales + (index << 2), scale)
  }
}

function roundCentroid(vector: usize, integers: usize, codebook: usize, bytes: usize): f32 {
  let largest = f32x4.splat(0)
  for (let at: usize = 0; at < bytes; at += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(vector + at)))
  if (!(maxF32(largest) < hugeMin)) {
    memory.fill(integers, 0, bytes >> 1)
    return NaN
  }
  rotate(vector, codebook)
  largest = f32x4.splat(0)
  for (let at: usize = 0; at < bytes; at += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(vector + at)))
  const top = maxF32(largest)
  // Twelve significant bits, rounded up: times eleven bits of an integer they are a float32.
  const scale = top > tiny ? reinterpret<f32>((reinterpret<u32>(top / <f32>centroidIntegerMax) + 0xfff) & 0xfffff000) : 0
  const inverse = f32x4.splat(top > tiny ? 1 / scale : 0)
  for (let at: usize = 0; at < bytes; at += 16) {
    const words = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(vector + at), inverse)))
    v128.store64_lane(integers + (at >> 1), i16x8.narrow_i32x4_s(words, words), 0)
  }
  restoreCentroid(vector, integers, scale, bytes)
  rotateBack(vector, codebook)
  return scale
}

/** Writes f32[padded]: the rotated centroid that integers and their scale stand for. Exact. */
export function restoreCentroid(target: usize, integers: usize, scale: f32, bytes: usize): void {
  const factor = f32x4.splat(scale)
  for (let at: usize = 0; at < bytes; at += 16) {
    const words = i32x4.extend_low_i16x8_s(v128.load64_zero(integers + (at >> 1)))
    v128.store(target + at, f32x4.mul(f32x4.convert_i32x4_s(words), factor))
  }
}
