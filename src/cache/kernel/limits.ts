/** Constants of one scan, and limits that follow the threshold; rows beyond a limit are proven out (docs/rounding.md). */
import { centroidNorm, centroidNormMax, codeNormMax, farthest, farthestCode, nearest, nearestCode } from './clusters'
import { threshold } from './hits'
import { blockFactorErrorMaxAt, blockSpreadMaxAt, metricCosine, metricDot, metricL2 } from './layout'
import { roundDown, roundUp, unit } from './lanes'
import { prefixError, prefixSlack } from './prefix'
import {
  centerProduct,
  framedNormHigh,
  framedNormLow,
  integerError,
  integerSquare,
  integerStep,
  queryBytes,
  queryMetric,
  queryNorm,
  tableBias,
  tableError,
  tableStep,
} from './query'

/** The float64 rounding of any distance, relative to the terms it is summed from. */
const rounding64: f64 = 1e-12

let directSlack: f64 = 0
let directScale: f64 = 0
export let directLimit: f64 = 0
export let byteGround: f32 = 0
export let byteStep: f32 = 0
export let byteWeight: f32 = 0
let byteSlack: f64 = 0
/** l2, cosine: a squared distance to a code is at most so much more than its estimate, and never less. */
let byteSpan: f64 = 0
let productRounding: f64 = 0
export let byteLimit: f32 = 0
export let bitGround: f32 = 0
export let bitStep: f32 = 0
export let bitBias: f32 = 0
export let bitError: f32 = 0
let bitTail: f64 = 0
let bitSpread: f64 = 0
let bitFactorError: f64 = 0
export let bitLimit: f32 = 0
/** What `reach` and the query's rounding make of a prefix's distance; for dot, of its product. */
export let prefixLimit: f32 = 0
let prefixProductSlack: f64 = 0
/** Distance from the query within which rows matter; for dot, minus their product with the query from the centre on. */
export let reach: f64 = 0
/** The same, rounded up. */
export let reachLimit: f32 = 0
/** dot: bounds of what the entered cluster's centroid has in distances. */
let clusterProduct: f64 = 0
let clusterProductHigh: f64 = 0

/** @param normMax of the block's rows */
export function prepareDirect(normMax: f64): void {
  const gamma = (<f64>(queryBytes >> 6) + 10) * unit * 1.01
  if (queryMetric == metricL2) {
    directScale = 1 / (1 - gamma)
    directSlack = 1e-37
  } else if (queryMetric == metricCosine) {
    directScale = 1
    directSlack = gamma + 10 * unit
  } else {
    const largest = queryNorm * normMax
    directScale = 1
    directSlack = largest < 1e37 ? (gamma + rounding64) * largest + 1e-36 : Infinity
  }
  productRounding = 0
  clusterProduct = 0
  clusterProductHigh = 0
}

/** @param codeMax largest norm of a row's residual and its code */
export function prepareBytes(normMax: f64, codeMax: f64, clustered: bool): void {
  const length = sqrt<f64>(integerSquare)
  if (queryMetric == metricDot) {
    byteGround = 0
    byteStep = <f32>(integerStep * 0.5)
    byteWeight = roundUp(queryNorm)
    byteSlack = (integerError + 8 * unit * length) * codeMax
    // The centre is no longer than a row, its centroid and its residual together. Underflow takes less than 1e-36.
    productRounding = rounding64 * queryNorm * (normMax + codeMax + (clustered ? centroidNormMax : 0)) + 1e-36
  } else {
    const square = (length + codeMax) * (length + codeMax)
    byteGround = roundDown(integerSquare - 8 * unit * square)
    byteSpan = 24 * unit * square
    byteStep = <f32>integerStep
  }
}

/** @param framedMax largest norm of a framed row */
export function preparePrefixes(framedMax: f64): void {
  prefixProductSlack = prefixSlack(framedMax)
}

export function prepareBits(block: usize, codeMax: f64, tail: f64): void {
  bitSpread = load<f64>(block, blockSpreadMaxAt)
  bitFactorError = load<f64>(block, blockFactorErrorMaxAt)
  bitTail = tail
  // All terms are those of a squared distance; a product is half of its cross term.
  const share: f64 = queryMetric == metricDot ? 0.5 : 1
  bitStep = <f32>(share * tableStep)
  bitBias = <f32>(share * (tableBias + tableError))
  let ground: f64 = 0
  if (queryMetric != metricDot) {
    const extent = framedNormHigh + codeMax
    ground = framedNormLow * framedNormLow - 8 * unit * extent * extent
  }
  setBitGround(ground, framedNormHigh, framedNormHigh)
}

/**
 * @param distance upper bound of that between query and centroid (dot: of the query's norm)
 * @param extent upper bound of the norm that table sums were made of
 */
// @ts-ignore: decorator
@inline
function setBitGround(ground: f64, distance: f64, extent: f64): void {
  const share: f64 = queryMetric == metricDot ? 0.5 : 1
  bitGround = roundDown(ground - share * (40 * unit * extent * bitSpread + 2 * distance * bitFactorError))
  bitError = roundUp(share * bitTail * distance)
}

/** Takes the bounds over to the cluster that was entered. */
export function followCluster(withBits: bool): void {
  if (queryMetric == metricDot) {
    clusterProduct = nearest
    clusterProductHigh = farthest
    followThreshold()
    return
  }
  const extent = farthest + codeNormMax
  const slack = 8 * unit * (extent * extent + 4 * centroidNorm * codeNormMax) + 1e-36
  const far = farthestCode * farthestCode
  byteGround = roundDown(nearestCode * nearestCode - slack)
  byteSpan = far - nearestCode * nearestCode + 2 * slack + 8 * unit * far
  if (withBits) setBitGround(nearest * nearest - slack, farthest, framedNormHigh + centroidNorm)
}

/** Moves the limits to the current threshold. Each is rounded up: only rows strictly beyond it are left out. */
export function followThreshold(): void {
  if (queryMetric == metricDot) {
    reach = threshold + centerProduct + productRounding
    reachLimit = roundUp(reach)
    directLimit = threshold + directSlack
    byteLimit = roundUp(reach - clusterProduct + byteSlack)
    bitLimit = roundUp(reach - clusterProduct)
    // Prefixes are of the row from the centre on, whatever its cluster.
    prefixLimit = roundUp(reach + prefixProductSlack)
    return
  }
  let square = threshold * (1 + rounding64)
  directLimit = (square + directSlack) * directScale
  if (queryMetric == metricCosine) {
    // 1 - cos is half the squared distance of the unit vectors.
    directLimit = threshold + rounding64 + directSlack
    square = 2 * (threshold + rounding64)
  }
  reach = sqrt<f64>(square)
  reachLimit = roundUp(reach)
  byteLimit = roundUp(reach + integerError)
  prefixLimit = roundUp(reach + prefixError)
  bitLimit = roundUp(square)
}

/** Lower bound of a row's distance as float64 computes it, from its 8-bit code. */
export function lowerBound(estimate: f32, residual: f32): f64 {
  const value = <f64>estimate
  if (queryMetric == metricDot)
    return value - centerProduct + clusterProduct - byteSlack - <f64>byteWeight * <f64>residual - productRounding
  const least = sqrt<f64>(max<f64>(0, value)) - integerError - <f64>residual
  if (!(least > 0)) return queryMetric == metricCosine ? -rounding64 : 0
  return queryMetric == metricCosine ? least * least * 0.5 - 4 * rounding64 : least * least * (1 - 4 * rounding64)
}

/** Upper bound of the same. Not for cosine rows without a direction: theirs is not what codes say. */
export function upperBound(estimate: f32, residual: f32): f64 {
  const value = <f64>estimate
  if (queryMetric == metricDot)
    return value - centerProduct + clusterProductHigh + byteSlack + <f64>byteWeight * <f64>residual + productRounding
  const most = sqrt<f64>(max<f64>(0, value) + byteSpan) + integerError + <f64>residual
  return queryMetric == metricCosine ? most * most * 0.5 + 4 * rounding64 : most * most * (1 + 4 * rounding64)
}
