/** What a scan needs to know of its query, computed once a query and used until the next. */
import { madeError, madeSquare, madeStep, makeIntegers } from './integers'
import {
  codebookCenterAt,
  codebookDirectionsAt,
  codebookIntegerNormMaxAt,
  metricCosine,
  metricDot,
  scratchIntegersAt,
  scratchQueryAt,
  scratchRotatedAt,
  scratchTableAt,
  scratchUnitAt,
  stageBits,
  stageCells,
  stagePrefix,
} from './layout'
import { product64, scaleTo, subtract, sumF32, unit } from './lanes'
import { prepareCells } from './cells'
import { preparePrefix } from './prefix'
import { project } from './principal'
import { rotate, rotationError } from './rotation'

/** Sums of three entries, of four coordinates each, fit a byte; each is rounded up by a half at most. */
const turnMax: f64 = 253
/** And those of all fit 16 bits. */
const totalMax: f64 = 65000
/** Bytes of three entries of the table, and of their coordinates. */
export const tableTurnBytes: usize = 48

/** Bytes of a float32 vector, padding included. */
export let queryBytes: usize = 0
export let queryMetric: u32 = 0
/** Norm of the query as given. */
export let queryNorm: f64 = 0
/** The vector that float32 distances are computed with: the query, of unit length for cosine. */
export let directQuery: usize = 0
/** Whether codes can be used: a codebook was given and the query is in float32's safe range. */
export let hasCodes: bool = false

/* In the frame of the codes: q' is the query minus the centre (for dot: the query), rotated. */

/** Upper and lower bound of |q'|. */
export let framedNormHigh: f64 = 0
export let framedNormLow: f64 = 0
/** Bound of |q' - its computed rotation|. */
export let framedError: f64 = 0
/** Step of the 16-bit integers, their squared norm, and a bound of |q' - step * integers|. */
export let integerStep: f64 = 0
export let integerSquare: f64 = 0
export let integerError: f64 = 0
/** dot: inner product of query and centre. */
export let centerProduct: f64 = 0
/** The table sum of a code is worth tableBias + tableStep * sum, at most tableError less than the true one. */
export let tableStep: f64 = 0
export let tableBias: f64 = 0
export let tableError: f64 = 0

/**
 * Takes in the query at scratchQueryAt. `codebook` is 0 when no block of the scan has codes; `stage`: of the
 * scans to come.
 */
export function readQuery(scratch: usize, codebook: usize, metric: u32, padded: u32, stage: i32): void {
  const query = scratch + scratchQueryAt
  const bytes = <usize>padded << 2
  queryBytes = bytes
  queryMetric = metric
  queryNorm = sqrt<f64>(product64(query, query, bytes))
  directQuery = query
  if (metric == metricCosine) {
    directQuery = scratch + scratchUnitAt
    scaleTo(directQuery, query, queryNorm > 0 ? 1 / queryNorm : 0, bytes)
  }
  hasCodes = codebook != 0 && (metric == metricCosine ? queryNorm > 0 : queryNorm < 1e15)
  if (!hasCodes) return
  const rotated = scratch + scratchRotatedAt
  let inexact = 0.0
  if (metric == metricDot) {
    memory.copy(rotated, query, bytes)
    centerProduct = product64(query, codebook + codebookCenterAt, bytes)
  } else {
    subtract(rotated, directQuery, codebook + codebookCenterAt, bytes)
    inexact = metric == metricCosine ? unit * 1.01 : 0
  }
  const length = sqrt<f64>(product64(rotated, rotated, bytes))
  if ((stage == stagePrefix || stage == stageCells) && load<u32>(codebook, codebookDirectionsAt) != 0) {
    project(scratch, codebook, length, inexact)
    preparePrefix(scratch, codebook, length)
    if (metric != metricDot) prepareCells(scratch, codebook)
  }
  if (metric != metricDot) inexact += unit * length * 1.001
  rotate(rotated, codebook)
  framedNormHigh = (length + inexact) * (1 + 1e-9)
  framedNormLow = max<f64>(0, length * (1 - 1e-9) - inexact)
  framedError = inexact + rotationError(codebook) * length + 1e-30
  makeIntegers(scratch + scratchIntegersAt, rotated, bytes, centroidStepMin(codebook, framedNormHigh))
  integerStep = madeStep
  integerSquare = madeSquare
  integerError = madeError + framedError
  if (stage == stageBits) prepareTable(scratch + scratchTableAt, rotated, bytes)
}

/** The smallest step of the query's integers at which their inner products with centroids fit 32 bits. */
function centroidStepMin(codebook: usize, length: f64): f32 {
  return <f32>((length * load<f64>(codebook, codebookIntegerNormMaxAt)) / 2.1e9)
}

/** For every four coordinates, the sixteen sums of plus or minus them, in steps of an integer. */
function prepareTable(table: usize, rotated: usize, bytes: usize): void {
  let widest: f32 = 0
  let total: f64 = 0
  for (let at: usize = 0; at < bytes; at += tableTurnBytes) {
    let width: f32 = 0
    for (let i = at; i < min<usize>(bytes, at + tableTurnBytes); i += 16) {
      const sum = sumF32(f32x4.abs(v128.load(rotated + i)))
      width += sum
      total += <f64>sum
    }
    widest = max<f32>(widest, width)
  }
  const step: f32 = max<f32>(1e-30, <f32>max<f64>((2 * <f64>widest) / turnMax, (2 * total) / totalMax))
  const inverse = f32x4.splat(1 / step)
  const half = f32x4.splat(0.5)
  for (let at: usize = 0; at < bytes; at += 16) {
    const a = load<f32>(rotated + at)
    const b = load<f32>(rotated + at, 4)
    const c = load<f32>(rotated + at, 8)
    const d = load<f32>(rotated + at, 12)
    // Adding the sum of magnitudes makes the smallest entry 0.
    const shift = f32x4.splat(sumF32(f32x4.abs(v128.load(rotated + at))))
    const ab = f32x4(-a - b, a - b, b - a, a + b)
    const e0 = tableEntries(ab, -c - d, shift, inverse, half)
    const e1 = tableEntries(ab, c - d, shift, inverse, half)
    const e2 = tableEntries(ab, d - c, shift, inverse, half)
    const e3 = tableEntries(ab, c + d, shift, inverse, half)
    v128.store(table + at, i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(e0, e1), i16x8.narrow_i32x4_s(e2, e3)))
  }
  v128.store(table + bytes, i8x16.splat(0))
  v128.store(table + bytes, i8x16.splat(0), 16)
  const groups = <f64>(bytes >> 4)
  tableStep = <f64>step
  tableBias = -total
  // Rounding of entries and of the float32 arithmetic on them, and the rotation's error seen by a code of norm sqrt(padded).
  tableError = groups * <f64>step * 0.501 + sqrt<f64>(<f64>(bytes >> 2)) * (framedError + 16 * unit * framedNormHigh)
}

// @ts-ignore: decorator
@inline
function tableEntries(ab: v128, cd: f32, shift: v128, inverse: v128, half: v128): v128 {
  const sums = f32x4.add(f32x4.add(ab, f32x4.splat(cd)), shift)
  return i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(sums, inverse), half))
}
