/** Codes, factors and bounds of rows whose vectors are in place. */
import {
  blockBitsAt,
  blockCellCountAt,
  blockClustersAt,
  blockDirectionsAt,
  blockInverseNormsAt,
  blockMetricAt,
  blockPaddedAt,
  blockQuantizedAt,
  blockRecordsAt,
  blockStartsAt,
  codebookCenterAt,
  codebookIntegersAt,
  codebookScalesAt,
  groupRows,
  metricCosine,
  metricDot,
  recordResidualsAt,
  recordRowsAt,
  recordScalesAt,
  scratchLanesAt,
  scratchRotatedAt,
  scratchUnitAt,
} from './layout'
import { high, low, maxF32, product64, roundDown, roundUp, scaleTo, subtract, sumF64, unit } from './lanes'
import { encodeCells } from './cells'
import { encodePrefix } from './prefix'
import { project } from './principal'
import { recordCode, recordTail } from './records'
import { restoreCentroid } from './round-centroids'
import { rotate, rotationError } from './rotation'

/** Residuals below this get a code of zeros: their scale would leave float32's normal range. */
const tiny: f32 = 1e-30

/** More than all that underflow can take from a rotated vector. */
const underflow: f64 = 1e-30

let normMax: f64 = 0
let centredMax: f64 = 0
let spreadMax: f64 = 0
let factorErrorMax: f64 = 0
let cellErrorMax: f64 = 0

/* The cluster of the row being encoded. */
/** Its centroid, f32[padded]; 0 in a block without clusters. */
let centroid: usize = 0
let cluster: i32 = -1

/**
 * Encodes the rows at positions [from, to); `from` is a multiple of 32. `vectors`: the block's originals. Leaves the rows'
 * maxima (maximaCount f64) at scratchLanesAt; the caller combines those of the ranges and writes the header.
 */
export function encode(block: usize, vectors: usize, codebook: usize, scratch: usize, from: u32, to: u32): void {
  const metric = load<u32>(block, blockMetricAt)
  const quantized = load<u32>(block, blockQuantizedAt) != 0
  const bytes = <usize>load<u32>(block, blockPaddedAt) << 2
  const rotation = quantized ? rotationError(codebook) : 0
  const inverseNorms = block + load<u32>(block, blockInverseNormsAt)
  const clustered = load<u32>(block, blockClustersAt) != 0
  const records = block + load<u32>(block, blockRecordsAt)
  const padded = bytes >> 2
  const withPrefix = load<u32>(block, blockDirectionsAt) != 0
  const withCells = load<u32>(block, blockCellCountAt) != 0
  normMax = 0
  centredMax = 0
  spreadMax = 0
  factorErrorMax = 0
  cellErrorMax = 0
  centroid = 0
  cluster = -1
  for (let position = from; position < to; position++) {
    let row = position
    if (clustered) row = load<u32>(recordTail(records, position, padded), recordRowsAt)
    else if (quantized) store<u32>(recordTail(records, position, padded), row, recordRowsAt)
    const vector = vectors + <usize>row * bytes
    const norm = sqrt<f64>(product64(vector, vector, bytes))
    normMax = max<f64>(normMax, norm)
    if (metric == metricCosine)
      store<f32>(inverseNorms + (<usize>row << 2), norm >= 1e-15 && norm <= 1e15 ? <f32>(1 / norm) : NaN)
    if (!quantized) continue
    const rotated = scratch + scratchRotatedAt
    const inexact = center(rotated, vector, norm, metric, codebook + codebookCenterAt, bytes)
    let length = sqrt<f64>(product64(rotated, rotated, bytes))
    if (withPrefix || withCells) project(scratch, codebook, length, inexact)
    if (withPrefix) encodePrefix(block, scratch, position)
    if (withCells) cellErrorMax = max<f64>(cellErrorMax, encodeCells(block, codebook, scratch, position))
    rotate(rotated, codebook)
    // |exact rotated residual - what is in `rotated`|
    let error = inexact + unit * length * 1.001 + rotation * length + underflow
    if (clustered) {
      findCentroid(block, codebook, scratch, position, bytes)
      subtract(rotated, rotated, centroid, bytes)
      length = sqrt<f64>(product64(rotated, rotated, bytes))
      error += unit * length * 1.001
    }
    encodeBytes(records, position, rotated, bytes, length, error, metric)
    encodeBits(block, position, rotated, bytes, length, error, metric)
  }
  const maxima = scratch + scratchLanesAt
  store<f64>(maxima, normMax)
  store<f64>(maxima, centredMax, 8)
  store<f64>(maxima, spreadMax, 16)
  store<f64>(maxima, factorErrorMax, 24)
  store<f64>(maxima, cellErrorMax, 32)
}

/** Moves on to the cluster of a position; positions ascend. */
function findCentroid(block: usize, codebook: usize, scratch: usize, position: u32, bytes: usize): void {
  const ends = block + load<u32>(block, blockStartsAt) + 4
  let found = max<i32>(cluster, 0)
  while (position >= load<u32>(ends + (<usize>found << 2))) found++
  if (found == cluster) return
  cluster = found
  centroid = scratch + scratchUnitAt
  const integers = codebook + load<u32>(codebook, codebookIntegersAt) + <usize>found * (bytes >> 1)
  const scale = load<f32>(codebook + load<u32>(codebook, codebookScalesAt) + (<usize>found << 2))
  restoreCentroid(centroid, integers, scale, bytes)
}

/** Writes the vector (of unit length for cosine) minus the centre; returns the error of scaling it. */
export function center(target: usize, vector: usize, norm: f64, metric: u32, centre: usize, bytes: usize): f64 {
  if (metric != metricCosine) {
    subtract(target, vector, centre, bytes)
    return 0
  }
  scaleTo(target, vector, norm > 0 ? 1 / norm : 0, bytes)
  subtract(target, target, centre, bytes)
  return unit * 1.01
}

/** 8-bit codes with the true norm of what they leave out. */
function encodeBytes(
  records: usize,
  position: u32,
  rotated: usize,
  bytes: usize,
  length: f64,
  error: f64,
  metric: u32,
): void {
  let largest = f32x4.splat(0)
  for (let at: usize = 0; at < bytes; at += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(rotated + at)))
  const top = maxF32(largest)
  const scale: f32 = top > tiny ? top / 127 : 0
  const inverse = f32x4.splat(top > tiny ? 127 / top : 0)
  const scale64 = f64x2.splat(<f64>scale)
  const codes = recordCode(records, position, bytes >> 2)
  let square: i32 = 0
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 32) {
    const a = v128.load(rotated + at)
    const b = v128.load(rotated + at, 16)
    const words = i16x8.narrow_i32x4_s(
      i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(a, inverse))),
      i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(b, inverse))),
    )
    v128.store64_lane(codes + (at >> 2), i8x16.narrow_i16x8_s(words, words), 0)
    const squares = i32x4.dot_i16x8_s(words, words)
    square +=
      i32x4.extract_lane(squares, 0) +
      i32x4.extract_lane(squares, 1) +
      i32x4.extract_lane(squares, 2) +
      i32x4.extract_lane(squares, 3)
    const wa = i32x4.extend_low_i16x8_s(words)
    const wb = i32x4.extend_high_i16x8_s(words)
    let d = f64x2.sub(low(a), f64x2.mul(f64x2.convert_low_i32x4_s(wa), scale64))
    s01 = f64x2.add(s01, f64x2.mul(d, d))
    d = f64x2.sub(high(a), f64x2.mul(f64x2.convert_low_i32x4_s(v128.shuffle<i32>(wa, wa, 2, 3, 2, 3)), scale64))
    s23 = f64x2.add(s23, f64x2.mul(d, d))
    d = f64x2.sub(low(b), f64x2.mul(f64x2.convert_low_i32x4_s(wb), scale64))
    s01 = f64x2.add(s01, f64x2.mul(d, d))
    d = f64x2.sub(high(b), f64x2.mul(f64x2.convert_low_i32x4_s(v128.shuffle<i32>(wb, wb, 2, 3, 2, 3)), scale64))
    s23 = f64x2.add(s23, f64x2.mul(d, d))
  }
  const residual = sqrt<f64>(sumF64(s01, s23)) * (1 + 1e-9) + error
  let constant: f64 = 0
  if (metric != metricDot) {
    constant = <f64>scale * <f64>scale * <f64>square
    if (centroid != 0) constant += 2 * <f64>scale * codeProduct(codes, centroid, bytes)
  }
  const tail = recordTail(records, position, bytes >> 2)
  store<f32>(tail, <f32>constant)
  store<f32>(tail, -2 * scale, recordScalesAt)
  store<f32>(tail, roundUp(residual), recordResidualsAt)
  centredMax = max<f64>(centredMax, length + residual)
}

/** Inner product of an 8-bit code and a vector, in float64. */
function codeProduct(codes: usize, vector: usize, bytes: usize): f64 {
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(vector + at)
    const words = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(codes + (at >> 2))))
    s01 = f64x2.add(s01, f64x2.mul(f64x2.convert_low_i32x4_s(words), low(v)))
    const others = f64x2.convert_low_i32x4_s(v128.shuffle<i32>(words, words, 2, 3, 2, 3))
    s23 = f64x2.add(s23, f64x2.mul(others, high(v)))
  }
  return sumF64(s01, s23)
}

/** 1-bit codes and their factors (RaBitQ, arXiv:2405.12497), in the FastScan layout of 32 rows. */
function encodeBits(
  block: usize,
  row: u32,
  rotated: usize,
  bytes: usize,
  length: f64,
  error: f64,
  metric: u32,
): void {
  const group = block + load<u32>(block, blockBitsAt) + <usize>(row / groupRows) * (bytes + 3 * groupRows * 4)
  const lane = row & 31
  const shift = (lane >> 4) << 2
  const zero = f32x4.splat(0)
  let s01 = f64x2.splat(0)
  let s23 = s01
  let code = group + (lane & 15)
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(rotated + at)
    const magnitude = f32x4.abs(v)
    s01 = f64x2.add(s01, low(magnitude))
    s23 = f64x2.add(s23, high(magnitude))
    const positive = <u32>i32x4.bitmask(f32x4.lt(v, zero)) ^ 15
    // A row's nibble is written once a block: creating it zeroed the bytes, and encoding again first clears the nibble.
    const other = <u32>load<u8>(code) & (0xf0 >> shift)
    store<u8>(code, <u8>(other | (positive << shift)))
    code += 16
  }
  const sum = sumF64(s01, s23)
  const factors = group + bytes + (<usize>lane << 2)
  const width = sqrt<f64>(<f64>(bytes >> 2))
  // Cosine of the angle between the residual and its code, rounded down.
  const alignment = min<f64>(1, (sum - width * error) / ((length + error) * width))
  if (!(alignment > 1e-3)) {
    // Too short to have a known direction: an infinite error sends the row to the next stage.
    storeFactors(factors, 0, 0, f32.POSITIVE_INFINITY)
    return
  }
  const shortest = max<f64>(0, length - error)
  const spread = (length + error) / alignment
  const factor = <f32>((-2 * length * length) / sum)
  let constant: f32 = 0
  if (metric != metricDot) {
    constant = roundDown(shortest * shortest)
    if (centroid != 0) {
      // The code sees the query, not its difference from the centroid.
      const product = <f64>factor * signProduct(rotated, centroid, bytes)
      constant = <f32>(shortest * shortest - product - 4e-7 * (shortest * shortest + abs(product)))
    }
  }
  storeFactors(
    factors,
    constant,
    factor,
    roundUp(2 * spread * sqrt<f64>(1 - alignment * alignment)),
  )
  spreadMax = max<f64>(spreadMax, spread)
  factorErrorMax = max<f64>(factorErrorMax, (error + 6 * unit * length) / (alignment * alignment))
}

/** Inner product of a vector with the signs of another, in float64. */
function signProduct(signs: usize, vector: usize, bytes: usize): f64 {
  const zero = f32x4.splat(0)
  const minus = i32x4.splat(0x80000000)
  let s01 = f64x2.splat(0)
  let s23 = s01
  for (let at: usize = 0; at < bytes; at += 16) {
    const negative = f32x4.lt(v128.load(signs + at), zero)
    const v = v128.xor(v128.load(vector + at), v128.and(negative, minus))
    s01 = f64x2.add(s01, low(v))
    s23 = f64x2.add(s23, high(v))
  }
  return sumF64(s01, s23)
}

// @ts-ignore: decorator
@inline
function storeFactors(factors: usize, square: f32, factor: f32, error: f32): void {
  store<f32>(factors, square)
  store<f32>(factors, factor, 128)
  store<f32>(factors, error, 256)
}
