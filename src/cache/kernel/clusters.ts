/** Which clusters a query looks at, in what order, and which of their rows (docs/rounding.md, "Clusters"). */
import { estimateOf, heapify, popSmallest, putCandidate, rowOf } from './candidates'
import {
  blockRadiiAt,
  blockReachesAt,
  blockSlacksAt,
  blockStartsAt,
  codebookCentroidsAt,
  codebookIntegersAt,
  codebookNormMaxAt,
  codebookNormsAt,
  codebookScalesAt,
  codebookSquaresAt,
  metricDot,
  scratchDistancesAt,
  scratchFloorsAt,
  scratchIntegersAt,
  scratchVisitsAt,
} from './layout'
import { high, low, minF32, roundUp, sumsI32, unit } from './lanes'
import { framedNormHigh, integerError, integerSquare, integerStep, queryBytes, queryMetric } from './query'

/* The codebook. */
let count: u32 = 0
let distances: usize = 0
let floors: usize = 0
let norms: usize = 0
/** Largest norm of a centroid. */
export let centroidNormMax: f64 = 0
/** Error of a centroid's distance (dot, in all: of its product, a unit of its norm): relative, and in all. */
const relative: f64 = 4 * unit
let absolute: f64 = 0
/** dot: how far apart bounds of a centroid's product are, a unit of its norm. */
let productSpan: f64 = 0

/* The block. */
let starts: usize = 0
let reaches: usize = 0
let slacks: usize = 0
let radii: usize = 0
let visits: usize = 0
/** Those still to come, [visitsFrom, visitsTo) of the list: a heap until `orderedLeft` of them, and as many rows as are wanted, have come. */
let visitsFrom: i32 = 0
let visitsTo: i32 = 0
let orderedLeft: i32 = 0
/** So many come in order, and make the threshold small. After them it matters less which is next than what it takes to find out. */
const orderedMax: i32 = 16
/** Clusters whose key is above this are left once so many rows were in the clusters visited. */
let visitedMax: f32 = f32.POSITIVE_INFINITY
let rowsWanted: u32 = 0
let rowsVisited: u32 = 0
/**
 * dot: of a row's radius, what may usually be along the query. Where clusters come in this order, and rows are left by it, fewest
 * rows are looked at for the same recall: .3 to .6 are about as good, 0 and 1 take twice as many and more where norms differ.
 */
const alongShare: f32 = 0.4
/** How much a row's distance from the centroid can take from its distance from the query. */
let weight: f32 = 0

/* The cluster that `enter` was last called for. */
/** f64 bounds of the distance from query to centroid; for dot, of minus their product. */
export let nearest: f64 = 0
export let farthest: f64 = 0
/** l2, cosine: bounds of the distance between centroid and rounded query. */
export let nearestCode: f64 = 0
export let farthestCode: f64 = 0
/** Norm of the centroid, and the largest of a row's code. */
export let centroidNorm: f64 = 0
export let codeNormMax: f64 = 0
let cluster: u32 = 0
/** Whether all its rows count, because those visited before were too few. */
let isWhole: bool = true

/** Distances (dot: products) between the vector that the query's integers stand for and every centroid. */
export function measureCentroids(scratch: usize, codebook: usize): void {
  const query = scratch + scratchIntegersAt
  const bytes = queryBytes >> 1
  const isDot = queryMetric == metricDot
  count = load<u32>(codebook, codebookCentroidsAt)
  distances = scratch + scratchDistancesAt
  floors = scratch + scratchFloorsAt
  visits = scratch + scratchVisitsAt
  norms = codebook + load<u32>(codebook, codebookNormsAt)
  centroidNormMax = load<f64>(codebook, codebookNormMaxAt)
  const length = sqrt<f64>(integerSquare)
  absolute = 4 * unit * length + 1e-20
  productSpan = 2.01 * (integerError + absolute) + 8 * unit * length
  weight = roundUp(isDot ? framedNormHigh : 1)
  const shrink = f32x4.splat(<f32>(1 - relative - 8 * unit))
  const shift = f32x4.splat(roundUp(absolute + integerError))
  const perNorm = f32x4.splat(roundUp(integerError + absolute))
  const ground = f64x2.splat(integerSquare)
  const step = f64x2.splat(isDot ? -integerStep : -2 * integerStep)
  const scales = codebook + load<u32>(codebook, codebookScalesAt)
  const squares = codebook + load<u32>(codebook, codebookSquaresAt)
  let vector = codebook + load<u32>(codebook, codebookIntegersAt)
  for (let at: usize = 0; at < <usize>count << 2; at += 16, vector += bytes << 2) {
    const sums = productsOfFour(query, vector, bytes)
    const scale = v128.load(scales + at)
    const l = f64x2.mul(f64x2.mul(low(scale), step), f64x2.convert_low_i32x4_s(sums))
    const h = f64x2.mul(f64x2.mul(high(scale), step), f64x2.convert_low_i32x4_s(v128.shuffle<i32>(sums, sums, 2, 3, 2, 3)))
    if (isDot) {
      const product = narrow(l, h)
      v128.store(floors + at, f32x4.sub(product, f32x4.mul(perNorm, v128.load(norms + at))))
    } else {
      const square = squares + (at << 1)
      const distance = f32x4.sqrt(
        f32x4.max(
          f32x4.splat(0),
          narrow(
            f64x2.add(f64x2.add(ground, v128.load(square)), l),
            f64x2.add(f64x2.add(ground, v128.load(square, 16)), h),
          ),
        ),
      )
      v128.store(distances + at, distance)
      v128.store(floors + at, f32x4.sub(f32x4.mul(distance, shrink), shift))
    }
  }
}

// @ts-ignore: decorator
@inline
function narrow(l: v128, h: v128): v128 {
  return v128.shuffle<i32>(f32x4.demote_f64x2_zero(l), f32x4.demote_f64x2_zero(h), 0, 1, 4, 5)
}

/** Inner products of 16-bit integers with four adjacent vectors of them, one a lane. */
// @ts-ignore: decorator
@inline
function productsOfFour(query: usize, vector: usize, bytes: usize): v128 {
  const second = vector + bytes
  const third = second + bytes
  const fourth = third + bytes
  let s0 = i32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (let i: usize = 0; i < bytes; i += 16) {
    const q = v128.load(query + i)
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(q, v128.load(vector + i)))
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(q, v128.load(second + i)))
    s2 = i32x4.add(s2, i32x4.dot_i16x8_s(q, v128.load(third + i)))
    s3 = i32x4.add(s3, i32x4.dot_i16x8_s(q, v128.load(fourth + i)))
  }
  return sumsI32(s0, s1, s2, s3)
}

/**
 * The block's clusters are those of the codebook that `prepare` was given. `gap`, `wanted`: once the clusters visited have so many
 * rows, those are left whose centroid's squared distance is more than `gap` above that of the nearest centroid; for dot, those
 * whose key is so much above the least, and of the others the rows that would have such a key.
 */
export function beginClusters(block: usize, gap: f64, wanted: u32): void {
  starts = block + load<u32>(block, blockStartsAt)
  reaches = block + load<u32>(block, blockReachesAt)
  slacks = block + load<u32>(block, blockSlacksAt)
  radii = block + load<u32>(block, blockRadiiAt)
  rowsWanted = wanted
  rowsVisited = 0
  visitedMax = f32.POSITIVE_INFINITY
  if (gap == Infinity) return
  const isDot = queryMetric == metricDot
  const weights = f32x4.splat(alongShare * weight)
  let least = f32x4.splat(f32.POSITIVE_INFINITY)
  for (let at: usize = 0; at < <usize>count << 2; at += 16)
    least = f32x4.min(
      least,
      isDot
        ? f32x4.sub(v128.load(floors + at), f32x4.mul(weights, v128.load(reaches + at)))
        : v128.load(distances + at),
    )
  const nearest = <f64>minF32(least)
  visitedMax = <f32>(isDot ? nearest + gap : sqrt<f64>(nearest * nearest + gap))
}

/** The nearest cluster that has rows; -1 when none has. */
export function nearestCluster(): i32 {
  let best = -1
  let least: f32 = f32.POSITIVE_INFINITY
  for (let index: u32 = 0; index < count; index++) {
    const at = <usize>index << 2
    const key = visitKey(at)
    if ((key < least || best < 0) && load<u32>(starts + at) < load<u32>(starts + at, 4)) {
      least = key
      best = index
    }
  }
  return best
}

/** Clusters near the query first: they make the threshold small. */
// @ts-ignore: decorator
@inline
function visitKey(at: usize): f32 {
  return queryMetric == metricDot
    ? load<f32>(floors + at) - alongShare * weight * load<f32>(reaches + at)
    : load<f32>(distances + at)
}

/** Lists the clusters, other than `visited`, that may have rows within `limit`. */
export function listVisits(limit: f32, visited: i32): void {
  const limits = f32x4.splat(limit)
  const weights = f32x4.splat(weight)
  visitsFrom = 0
  visitsTo = 0
  orderedLeft = orderedMax
  for (let index: u32 = 0; index < count; index += 4) {
    const at = <usize>index << 2
    const least = f32x4.sub(v128.load(floors + at), f32x4.mul(weights, v128.load(reaches + at)))
    let near = i32x4.bitmask(f32x4.gt(least, limits)) ^ 15
    while (near != 0) {
      const other = index + ctz(near)
      near &= near - 1
      if (<i32>other != visited) putCandidate(visits, visitsTo++, visitKey(<usize>other << 2), other)
    }
  }
  heapify(visits, visitsTo)
}

/** The next listed cluster that may still have rows within `limit` and is not to be left, or -1. */
export function nextVisit(limit: f32): i32 {
  while (visitsFrom < visitsTo) {
    let index: i32
    if (orderedLeft > 0 || rowsVisited < rowsWanted) {
      orderedLeft--
      popSmallest(visits, visitsTo--)
      index = visitsTo
    } else index = visitsFrom++
    const next = rowOf(visits, index)
    const at = <usize>next << 2
    if (rowsVisited >= rowsWanted && estimateOf(visits, index) > visitedMax) continue
    if (!(load<f32>(floors + at) - weight * load<f32>(reaches + at) > limit)) return next
  }
  return -1
}

/** Reads what the bounds need to know of a cluster. */
export function enter(index: u32): void {
  const at = <usize>index << 2
  cluster = index
  isWhole = rowsVisited < rowsWanted
  rowsVisited += load<u32>(starts + at, 4) - load<u32>(starts + at)
  centroidNorm = <f64>load<f32>(norms + at)
  // A code errs by half a step in each coordinate, and a step is at most 2 / 254 of its vector.
  codeNormMax = <f64>load<f32>(reaches + at) * (1 + sqrt<f64>(<f64>(queryBytes >> 2)) / 250)
  if (queryMetric == metricDot) {
    nearest = <f64>load<f32>(floors + at)
    farthest = nearest + productSpan * centroidNorm
    return
  }
  const distance = <f64>load<f32>(distances + at)
  const error = distance * relative + absolute
  nearestCode = max<f64>(0, distance - error)
  nearest = max<f64>(0, nearestCode - integerError)
  farthestCode = distance + error
  farthest = farthestCode + integerError
}

export let windowFrom: u32 = 0
export let windowTo: u32 = 0

/**
 * Positions of the entered cluster's rows, within [from, to), whose radius allows a distance (dot: minus a product) of `reach`; for
 * dot, of those the rows that are not left.
 */
export function chooseWindow(reach: f64, from: u32, to: u32): void {
  const at = <usize>cluster << 2
  windowFrom = max<u32>(from, load<u32>(starts + at))
  windowTo = min<u32>(to, load<u32>(starts + at, 4))
  if (windowFrom >= windowTo) return
  if (queryMetric == metricDot && !isWhole && visitedMax < f32.POSITIVE_INFINITY)
    windowFrom = firstBeyond((nearest - <f64>visitedMax) / (<f64>alongShare * framedNormHigh), false)
  if (reach == Infinity) return
  const slack = <f64>load<f32>(slacks + at)
  if (queryMetric == metricDot) {
    windowFrom = firstBeyond((nearest - reach) / framedNormHigh - slack, false)
    return
  }
  windowFrom = firstBeyond(nearest - reach - slack, false)
  windowTo = firstBeyond(farthest + reach + slack, true)
}

/** First position of the window whose radius is at least `bound`, or (strictly) above it. */
function firstBeyond(bound: f64, strictly: bool): u32 {
  let low = windowFrom
  let high = windowTo
  while (low < high) {
    const middle = (low + high) >> 1
    const radius = <f64>load<f32>(radii + (<usize>middle << 2))
    if (strictly ? radius > bound : !(radius < bound)) high = middle
    else low = middle + 1
  }
  return low
}
