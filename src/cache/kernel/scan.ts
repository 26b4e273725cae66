/** One query over a range of one block's rows: estimates rule rows out, float64 decides. */
import {
  blockBitsAt,
  blockCellCountAt,
  blockCentredMaxAt,
  blockClustersAt,
  blockDirectionsAt,
  blockInverseNormsAt,
  blockNormMaxAt,
  blockPrefixErrorsAt,
  blockPrefixRestsAt,
  blockPrefixScalesAt,
  blockPrefixSquaresAt,
  blockPrefixesAt,
  blockQuantizedAt,
  blockRankedAt,
  blockRanksAt,
  blockRecordsAt,
  chunkRows,
  groupRows,
  metricCosine,
  metricDot,
  metricL2,
  recordResidualsAt,
  recordRows,
  recordRowsAt,
  recordScalesAt,
  recordTailBytes,
  scratchCandidatesAt,
  scratchIntegersAt,
  scratchLanesAt,
  scratchPrefixIntegersAt,
  scratchQueryAt,
  scratchTableAt,
  stageBits,
  stageCells,
  stagePrefix,
} from './layout'
import { beginCells, cellCount, followCells, rowsWithinCells } from './cells'
import { estimateOf, heapify, popSmallest, putCandidate, putLanes, rowOf } from './candidates'
import {
  beginClusters,
  centroidNormMax,
  chooseWindow,
  enter,
  listVisits,
  nearestCluster,
  nextVisit,
  windowFrom,
  windowTo,
} from './clusters'
import { beginHits, hitCount, hitsFull, lost, offer, sortHits, threshold } from './hits'
import { beginSurvivors, keepWithin, putSurvivor } from './survivors'
import { product32, product64, productBytes, square32, square64, sumsI32 } from './lanes'
import {
  bitBias,
  bitError,
  bitGround,
  bitLimit,
  bitStep,
  byteGround,
  byteLimit,
  byteStep,
  byteWeight,
  directLimit,
  followCluster,
  followThreshold,
  lowerBound,
  prepareBits,
  prepareBytes,
  prepareDirect,
  prefixLimit,
  probed,
  probedLimit,
  reach,
  upperBound,
} from './limits'
import { prefixBytes, prefixGround, prefixRest, prefixStep } from './prefix'
import { recordCode, recordTail } from './records'
import { directQuery, framedNormHigh, hasCodes, queryBytes, queryMetric, queryNorm } from './query'

/** The first chunk is small: until the heap is full, every row is a candidate. */
const firstChunkRows: u32 = 2048

/* The block. */
/** f32[rows][padded]; 0 while they are on disk: then hits are upper bounds, and every row that may be nearer survives. */
let vectors: usize = 0
let inverseNorms: usize = 0
let ranks: usize = 0
let allowed: usize = 0
let bits: usize = 0
/** 8-bit codes, and the rows of all positions; 0 when the block has none, and positions are rows. */
let records: usize = 0

/* The query. */
let query: usize = 0
let integers: usize = 0
let table: usize = 0
let lanes: usize = 0
let candidates: usize = 0

let prefixes: usize = 0
let prefixSquares: usize = 0
let prefixScales: usize = 0
let prefixErrors: usize = 0
let prefixRests: usize = 0
let prefixIntegers: usize = 0
let ground: f32 = 0

/* What is read of rows first. */
const readBytes: i32 = 0
const readBits: i32 = 1
const readPrefixes: i32 = 2
const readCells: i32 = 3

/* The scan. */
let withCodes: bool = false
/** What is read first now, and what was to begin with. */
let stage: i32 = 0
let wanted: i32 = 0
/** Rows that the stage's codes were read of, once there was a threshold, and those they did not rule out; fading. */
let seen: u32 = 0
let passed: u32 = 0
/** Rows that were read since the first stage was found to be of little help. */
let paused: u32 = 0
/** Fewer say too little of whether short codes help. */
const seenMin: u32 = 1024
const pausedMin: u32 = 8192
/** How much dearer a code is that is read alone, not in a row of many. */
const scattered: f64 = 1.6
/** Records that are brought into the cache at a time. */
const fetchRows: i32 = 64
/** Candidates of a chunk that are decided in order of their estimates: from some on, ordering costs more than it saves. */
const nearestMax: i32 = 32

/** Smallest distance of a row that the last scan left out although it was as near as one it kept; Infinity for none. */
export function lostDistance(): f64 {
  return lost
}

/** Rows whose codes, or vectors where there are no codes, the last scan read first. */
let looked: u32 = 0
export function rowsLooked(): u32 {
  return looked
}

/**
 * Finds the k best rows at positions [from, to), `from` a multiple of 32, among those not farther than `distanceMax`. The
 * query is the one last prepared. `originals`: the block's, or 0 when they are on disk; then distances of hits are upper bounds,
 * and the rows that may be among the best are survivors (survivors.ts). `allow`: one bit a position, or 0. `tail`: how far, in standard errors of the 1-bit
 * estimate (stageBits), a row's true distance may lie below it. `probing`: see `prepareDirect`; 1 misses nothing.
 * Returns the number of hits; they are at scratchHitsAt, ascending.
 */
export function scan(
  block: usize,
  originals: usize,
  scratch: usize,
  allow: usize,
  from: u32,
  to: u32,
  k: i32,
  distanceMax: f64,
  asked: i32,
  tail: f64,
  probing: f64,
): i32 {
  vectors = originals
  inverseNorms = block + load<u32>(block, blockInverseNormsAt)
  ranks = atomic.load<u32>(block, blockRankedAt) != 0 ? block + load<u32>(block, blockRanksAt) : 0
  allowed = allow
  query = scratch + scratchQueryAt
  integers = scratch + scratchIntegersAt
  table = scratch + scratchTableAt
  lanes = scratch + scratchLanesAt
  candidates = scratch + scratchCandidatesAt
  looked = 0
  const clustered = load<u32>(block, blockClustersAt) != 0
  const quantized = load<u32>(block, blockQuantizedAt) != 0
  records = quantized ? block + load<u32>(block, blockRecordsAt) : 0
  beginHits(scratch, k, distanceMax)
  beginSurvivors(scratch, k)
  const normMax = load<f64>(block, blockNormMaxAt)
  prepareDirect(normMax, probing)
  const centredMax = load<f64>(block, blockCentredMaxAt)
  // Codes are exact zeros where rows equal their centroid.
  const scale = clustered ? max<f64>(centredMax, centroidNormMax) : centredMax
  withCodes =
    hasCodes &&
    quantized &&
    framedNormHigh < 1e15 &&
    scale >= 1e-15 &&
    scale <= 1e15 &&
    (vectors == 0 || <u32>k < (to - from) >> 2)
  if (withCodes) {
    bits = block + load<u32>(block, blockBitsAt)
    prepareBytes(normMax, centredMax, clustered)
    if (asked == stageBits) prepareBits(block, centredMax, tail)
  }
  followThreshold()
  prefixes = 0
  wanted = withCodes && asked == stageBits ? readBits : readBytes
  if (withCodes && (asked == stagePrefix || asked == stageCells) && queryMetric != metricDot) {
    if (prefixBytes != 0 && <usize>load<u32>(block, blockDirectionsAt) == prefixBytes) {
      beginPrefixes(block, scratch, centredMax + (clustered ? centroidNormMax : 0))
      wanted = readPrefixes
    }
    if (asked == stageCells && cellCount != 0 && load<u32>(block, blockCellCountAt) == cellCount) {
      beginCells(block)
      wanted = readCells
    }
  }
  stage = wanted
  seen = 0
  passed = 0
  paused = 0
  if (!withCodes) scanDirect(from, to)
  else if (clustered) scanClusters(block, from, to)
  else scanCodes(from, to)
  sortHits()
  keepWithin(threshold)
  return hitCount
}

/** Visits clusters from the nearest on, as long as they may have rows within the threshold. */
function scanClusters(block: usize, from: u32, to: u32): void {
  beginClusters(block)
  let first = -1
  if (reach == Infinity) {
    // The rows of one cluster make the threshold small enough to leave most others out.
    first = nearestCluster()
    if (first < 0) return
    scanCluster(first, from, to)
  }
  listVisits(probedLimit, first)
  for (let next = nextVisit(probedLimit); next >= 0; next = nextVisit(probedLimit)) scanCluster(next, from, to)
}

function scanCluster(cluster: u32, from: u32, to: u32): void {
  enter(cluster)
  followCluster(wanted == readBits)
  chooseWindow(probed, from, to)
  scanCodes(windowFrom, windowTo)
}

/** Positions of [from, to) that may be returned, one bit each, of the 32 from `start`, a multiple of 32, on. */
// @ts-ignore: decorator
@inline
function allowedRows(start: u32, from: u32, to: u32): u32 {
  let word: u32 = allowed != 0 ? load<u32>(allowed + ((<usize>start >> 5) << 2)) : 0xffffffff
  if (start < from) word &= 0xffffffff << (from - start)
  return to - start >= 32 ? word : word & ((1 << (to - start)) - 1)
}

function scanDirect(from: u32, to: u32): void {
  looked = to - from
  for (let row = from; row < to; row += 32) {
    let word = allowedRows(row, from, to)
    while (word != 0) {
      decide(row + ctz(word))
      word &= word - 1
    }
  }
}

function scanCodes(from: u32, to: u32): void {
  let end = from
  for (let start = from; start < to; start = end) {
    const isOpen = !hitsFull() && threshold == Infinity
    end = min<u32>(to, start + (isOpen ? firstChunkRows : <u32>chunkRows))
    looked += end - start
    const withBits = stage == readBits
    const withCells = stage == readCells && !isOpen && followCells(reach)
    const withPrefix = stage == readPrefixes && !isOpen
    const found = withBits
      ? scanBits(start, end)
      : withCells
      ? scanCells(start, end)
      : withPrefix
      ? scanPrefixes(start, end)
      : scanBytes(start, end)
    let count = found
    if (isOpen) {
      // Nearest first, so that the threshold soon says something about the others.
      heapify(candidates, count)
      while (count > 0 && !hitsFull()) {
        popSmallest(candidates, count--)
        decide(rowOf(candidates, count))
      }
      if (withBits) count = keepWithinBits(count)
    }
    if (withBits) count = decideNearest(keepWithinBytes(count))
    for (let i = 0; i < count; i++) {
      const position = rowOf(candidates, i)
      let estimate = estimateOf(candidates, i)
      if (withCells) {
        if (prefixes != 0 && isBeyondPrefix(position, prefixEstimate(position))) continue
        estimate = byteEstimate(position)
      } else if (withPrefix) {
        if (isBeyondPrefix(position, estimate)) continue
        estimate = byteEstimate(position)
      }
      if (!isBeyondBytes(position, estimate)) decide(position)
    }
    if (!isOpen) chooseStage(end - start, found)
  }
}

/** Decides the nearest of the candidates, so that the threshold soon says something about the others; returns how many are left. */
function decideNearest(count: i32): i32 {
  if (count <= 1) return count
  heapify(candidates, count)
  const left = max<i32>(0, count - nearestMax)
  let end = count
  while (end > left) {
    popSmallest(candidates, end--)
    if (!isBeyondBytes(rowOf(candidates, end), estimateOf(candidates, end))) decide(rowOf(candidates, end))
  }
  return left
}

/** Leaves the candidates that their 1-bit codes do not rule out by now. */
function keepWithinBits(count: i32): i32 {
  let kept = 0
  for (let i = 0; i < count; i++) {
    const estimate = estimateOf(candidates, i)
    if (!(estimate > bitLimit)) putCandidate(candidates, kept++, estimate, rowOf(candidates, i))
  }
  return kept
}

/** Leaves the candidates that their 8-bit codes do not rule out, with the estimates of these. */
function keepWithinBytes(count: i32): i32 {
  let kept = 0
  for (let from = 0; from < count; from += fetchRows) {
    const to = min<i32>(count, from + fetchRows)
    fetchRecords(from, to)
    for (let i = from; i < to; i++) {
      const position = rowOf(candidates, i)
      const estimate = byteEstimate(position)
      if (!isBeyondBytes(position, estimate)) putCandidate(candidates, kept++, estimate, position)
    }
  }
  return kept
}

/**
 * Brings the records of some candidates into the cache. They are far apart: looking at many, with nothing else between,
 * lets the processor wait for all of them at once.
 */
function fetchRecords(from: i32, to: i32): void {
  const padded = queryBytes >> 2
  let sum: u32 = 0
  for (let i = from; i < to; i++) {
    const position = rowOf(candidates, i)
    const code = recordCode(records, position, padded)
    for (let at: usize = 0; at < padded; at += 64) sum += load<u32>(code + at)
    sum += load<u32>(recordTail(records, position, padded))
  }
  store<u32>(lanes, sum)
}

/**
 * Where short codes rule out little, reading the longer ones at once is cheaper, and the bound is firm. It may be
 * otherwise among rows further on, under a smaller threshold: short codes are tried again later.
 */
function chooseStage(rows: u32, found: u32): void {
  if (stage != wanted) {
    paused += rows
    if (paused >= pausedMin) {
      changeStage(wanted)
      return
    }
  }
  if (stage == readBytes) return
  seen += rows
  passed += found
  if (seen < seenMin) return
  const next = stage == readCells && prefixes != 0 ? readPrefixes : readBytes
  const longBytes = firstBytes(next)
  if (<f64>passed * scattered * longBytes > <f64>seen * (longBytes - firstBytes(stage))) changeStage(next)
  seen >>= 1
  passed >>= 1
}

function changeStage(next: i32): void {
  stage = next
  seen = 0
  passed = 0
  if (next == wanted) paused = 0
}

/** Bytes of a row that a stage reads first. */
function firstBytes(read: i32): f64 {
  if (read == readCells) return <f64>(cellCount >> 1)
  if (read == readPrefixes) return <f64>prefixBytes
  return <f64>(read == readBits ? queryBytes >> 5 : queryBytes >> 2)
}

/** Lower bounds of 1-bit codes, 32 rows at a time; emits rows that are not beyond the limit. */
function scanBits(from: u32, to: u32): i32 {
  const bytes = queryBytes
  const lowNibbles = i8x16.splat(0x0f)
  const step = f32x4.splat(bitStep)
  const bias = f32x4.splat(bitBias)
  const ground = f32x4.splat(bitGround)
  const error = f32x4.splat(bitError)
  const limit = f32x4.splat(bitLimit)
  const groupBytes = bytes + 3 * groupRows * 4
  const first = from & ~31
  let group = bits + <usize>(first / groupRows) * groupBytes
  let count = 0
  for (let row = first; row < to; row += 32, group += groupBytes) {
    let word = allowedRows(row, from, to)
    if (popcnt(word) <= 4) {
      // Cheaper to look at these rows alone.
      while (word != 0) {
        putCandidate(candidates, count++, -f32.MAX_VALUE, row + ctz(word))
        word &= word - 1
      }
      continue
    }
    // 16-bit sums of even and odd rows: `a` holds even + 256 * odd, `b` odd.
    let a0 = i16x8.splat(0)
    let b0 = a0
    let a1 = a0
    let b1 = a0
    const end = group + bytes
    let entry = table
    for (let code = group; code < end; code += 64, entry += 64) {
      let c = v128.load(code)
      let t = v128.load(entry)
      let s0 = i8x16.swizzle(t, v128.and(c, lowNibbles))
      let s1 = i8x16.swizzle(t, v128.and(i16x8.shr_u(c, 4), lowNibbles))
      c = v128.load(code, 16)
      t = v128.load(entry, 16)
      s0 = i8x16.add(s0, i8x16.swizzle(t, v128.and(c, lowNibbles)))
      s1 = i8x16.add(s1, i8x16.swizzle(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
      c = v128.load(code, 32)
      t = v128.load(entry, 32)
      s0 = i8x16.add(s0, i8x16.swizzle(t, v128.and(c, lowNibbles)))
      s1 = i8x16.add(s1, i8x16.swizzle(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
      c = v128.load(code, 48)
      t = v128.load(entry, 48)
      s0 = i8x16.add(s0, i8x16.swizzle(t, v128.and(c, lowNibbles)))
      s1 = i8x16.add(s1, i8x16.swizzle(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
      a0 = i16x8.add(a0, s0)
      b0 = i16x8.add(b0, i16x8.shr_u(s0, 8))
      a1 = i16x8.add(a1, s1)
      b1 = i16x8.add(b1, i16x8.shr_u(s1, 8))
    }
    a0 = i16x8.sub(a0, i16x8.shl(b0, 8))
    a1 = i16x8.sub(a1, i16x8.shl(b1, 8))
    const r0 = v128.shuffle<i16>(a0, b0, 0, 8, 1, 9, 2, 10, 3, 11)
    const r1 = v128.shuffle<i16>(a0, b0, 4, 12, 5, 13, 6, 14, 7, 15)
    const r2 = v128.shuffle<i16>(a1, b1, 0, 8, 1, 9, 2, 10, 3, 11)
    const r3 = v128.shuffle<i16>(a1, b1, 4, 12, 5, 13, 6, 14, 7, 15)
    const e0 = bitBound(i32x4.extend_low_i16x8_u(r0), end, step, bias, ground, error)
    const e1 = bitBound(i32x4.extend_high_i16x8_u(r0), end + 16, step, bias, ground, error)
    const e2 = bitBound(i32x4.extend_low_i16x8_u(r1), end + 32, step, bias, ground, error)
    const e3 = bitBound(i32x4.extend_high_i16x8_u(r1), end + 48, step, bias, ground, error)
    const e4 = bitBound(i32x4.extend_low_i16x8_u(r2), end + 64, step, bias, ground, error)
    const e5 = bitBound(i32x4.extend_high_i16x8_u(r2), end + 80, step, bias, ground, error)
    const e6 = bitBound(i32x4.extend_low_i16x8_u(r3), end + 96, step, bias, ground, error)
    const e7 = bitBound(i32x4.extend_high_i16x8_u(r3), end + 112, step, bias, ground, error)
    const beyond =
      i32x4.bitmask(f32x4.gt(e0, limit)) |
      (i32x4.bitmask(f32x4.gt(e1, limit)) << 4) |
      (i32x4.bitmask(f32x4.gt(e2, limit)) << 8) |
      (i32x4.bitmask(f32x4.gt(e3, limit)) << 12) |
      (i32x4.bitmask(f32x4.gt(e4, limit)) << 16) |
      (i32x4.bitmask(f32x4.gt(e5, limit)) << 20) |
      (i32x4.bitmask(f32x4.gt(e6, limit)) << 24) |
      (i32x4.bitmask(f32x4.gt(e7, limit)) << 28)
    word &= ~(<u32>beyond)
    if (word == 0) continue
    v128.store(lanes, e0)
    v128.store(lanes, e1, 16)
    v128.store(lanes, e2, 32)
    v128.store(lanes, e3, 48)
    v128.store(lanes, e4, 64)
    v128.store(lanes, e5, 80)
    v128.store(lanes, e6, 96)
    v128.store(lanes, e7, 112)
    count = putLanes(candidates, count, lanes, word, row)
  }
  return count
}

// @ts-ignore: decorator
@inline
function bitBound(sums: v128, factors: usize, step: v128, bias: v128, ground: v128, error: v128): v128 {
  // Sums are below 2^16, and signed integers convert in one instruction.
  const product = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(sums), step), bias)
  return f32x4.sub(
    f32x4.add(f32x4.add(v128.load(factors), ground), f32x4.mul(v128.load(factors, 128), product)),
    f32x4.mul(v128.load(factors, 256), error),
  )
}

/** Squared distances (for dot: negative products) to 8-bit codes; emits rows whose residual does not put them beyond the limit. */
function scanBytes(from: u32, to: u32): i32 {
  const padded = queryBytes >> 2
  const isDot = queryMetric == metricDot
  const step = f32x4.splat(byteStep)
  const ground = f32x4.splat(byteGround)
  const limit = f32x4.splat(byteLimit)
  const weight = f32x4.splat(byteWeight)
  const recordBytes = (padded << 2) + recordTailBytes
  let count = 0
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    if (popcnt(word) <= 12) {
      while (word != 0) {
        const row = start + ctz(word)
        word &= word - 1
        const estimate = byteEstimate(row)
        if (!isBeyondBytes(row, estimate)) putCandidate(candidates, count++, estimate, row)
      }
      continue
    }
    let code = records + <usize>(start / recordRows) * recordBytes
    for (let row = start; word != 0; row += 4, word >>= 4, code += recordBytes) {
      if ((word & 15) == 0) continue
      const sums = sumsI32(
        productLanes(integers, code, padded),
        productLanes(integers, code + padded, padded),
        productLanes(integers, code + 2 * padded, padded),
        productLanes(integers, code + 3 * padded, padded),
      )
      const tail = code + (padded << 2)
      const product = f32x4.mul(f32x4.convert_i32x4_s(sums), step)
      const estimate = f32x4.add(
        f32x4.add(ground, v128.load(tail)),
        f32x4.mul(v128.load(tail, recordScalesAt), product),
      )
      const residual = v128.load(tail, recordResidualsAt)
      let beyond: i32
      if (isDot) {
        beyond = i32x4.bitmask(f32x4.gt(estimate, f32x4.add(limit, f32x4.mul(weight, residual))))
      } else {
        const reach = f32x4.add(limit, residual)
        beyond = i32x4.bitmask(f32x4.gt(estimate, f32x4.mul(reach, reach)))
      }
      let kept = word & 15 & ~(<u32>beyond)
      if (kept == 0) continue
      v128.store(lanes, estimate)
      count = putLanes(candidates, count, lanes, kept, row)
    }
  }
  return count
}

function beginPrefixes(block: usize, scratch: usize, framedMax: f64): void {
  prefixes = block + load<u32>(block, blockPrefixesAt)
  prefixSquares = block + load<u32>(block, blockPrefixSquaresAt)
  prefixScales = block + load<u32>(block, blockPrefixScalesAt)
  prefixErrors = block + load<u32>(block, blockPrefixErrorsAt)
  prefixRests = block + load<u32>(block, blockPrefixRestsAt)
  prefixIntegers = scratch + scratchPrefixIntegersAt
  ground = prefixGround(framedMax)
}

/** Emits positions that their cells do not put beyond the threshold; their estimates say nothing. */
function scanCells(from: u32, to: u32): i32 {
  let count = 0
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    // Fewer are cheaper to look at alone.
    if (popcnt(word) > 2) word &= rowsWithinCells(start)
    for (; word != 0; word &= word - 1) putCandidate(candidates, count++, 0, start + ctz(word))
  }
  return count
}

/** Squared distances to prefixes and their rests; emits positions that these do not put beyond the limit. */
function scanPrefixes(from: u32, to: u32): i32 {
  const padded = prefixBytes
  const step = f32x4.splat(prefixStep)
  const grounds = f32x4.splat(ground)
  const limit = f32x4.splat(prefixLimit)
  const queryRest = f32x4.splat(prefixRest)
  let count = 0
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    for (let row = start; word != 0; row += 4, word >>= 4) {
      if ((word & 15) == 0) continue
      const code = prefixes + <usize>row * padded
      const sums = sumsI32(
        productLanes(prefixIntegers, code, padded),
        productLanes(prefixIntegers, code + padded, padded),
        productLanes(prefixIntegers, code + 2 * padded, padded),
        productLanes(prefixIntegers, code + 3 * padded, padded),
      )
      const at = <usize>row << 2
      const product = f32x4.mul(f32x4.convert_i32x4_s(sums), step)
      const apart = f32x4.sub(queryRest, v128.load(prefixRests + at))
      const estimate = f32x4.add(
        f32x4.add(
          f32x4.add(grounds, v128.load(prefixSquares + at)),
          f32x4.mul(v128.load(prefixScales + at), product),
        ),
        f32x4.mul(apart, apart),
      )
      const most = f32x4.add(limit, v128.load(prefixErrors + at))
      let kept = word & 15 & ~(<u32>i32x4.bitmask(f32x4.gt(estimate, f32x4.mul(most, most))))
      if (kept == 0) continue
      v128.store(lanes, estimate)
      count = putLanes(candidates, count, lanes, kept, row)
    }
  }
  return count
}

// @ts-ignore: decorator
@inline
function prefixEstimate(position: u32): f32 {
  const at = <usize>position << 2
  const code = prefixes + <usize>position * prefixBytes
  const product = <f32>productBytes(prefixIntegers, code, prefixBytes) * prefixStep
  const apart = prefixRest - load<f32>(prefixRests + at)
  return ground + load<f32>(prefixSquares + at) + load<f32>(prefixScales + at) * product + apart * apart
}

// @ts-ignore: decorator
@inline
function isBeyondPrefix(position: u32, estimate: f32): bool {
  const most = prefixLimit + load<f32>(prefixErrors + (<usize>position << 2))
  return estimate > most * most
}

// @ts-ignore: decorator
@inline
function productLanes(integers: usize, codes: usize, padded: usize): v128 {
  let sums = i32x4.splat(0)
  for (let at: usize = 0; at < padded; at += 16) {
    const c = v128.load(codes + at)
    const q = integers + (at << 1)
    sums = i32x4.add(
      sums,
      i32x4.add(
        i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(c), v128.load(q)),
        i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(c), v128.load(q, 16)),
      ),
    )
  }
  return sums
}

// @ts-ignore: decorator
@inline
function byteEstimate(position: u32): f32 {
  const padded = queryBytes >> 2
  const tail = recordTail(records, position, padded)
  const product = <f32>productBytes(integers, recordCode(records, position, padded), padded) * byteStep
  return byteGround + load<f32>(tail) + load<f32>(tail, recordScalesAt) * product
}

// @ts-ignore: decorator
@inline
function isBeyondBytes(position: u32, estimate: f32): bool {
  const residual = load<f32>(recordTail(records, position, queryBytes >> 2), recordResidualsAt)
  if (queryMetric == metricDot) return estimate > byteLimit + byteWeight * residual
  const reach = byteLimit + residual
  return estimate > reach * reach
}

/** Computes a row's distance, in float64 unless float32 already puts it beyond the limit, and offers it. */
function decide(position: u32): void {
  const row = records != 0 ? load<u32>(recordTail(records, position, queryBytes >> 2), recordRowsAt) : position
  if (vectors == 0) {
    defer(position, row)
    return
  }
  const vector = vectors + <usize>row * queryBytes
  if (directLimit < Infinity && isBeyondDirect(row, vector)) return
  if (offer(exactDistance(vector), ranks != 0 ? load<u32>(ranks + (<usize>row << 2)) : row, row)) followThreshold()
}

/** Without its original a row is as near as its upper bound, and stays as long as its lower bound may matter. */
function defer(position: u32, row: u32): void {
  let lower: f64 = -Infinity
  let upper: f64 = Infinity
  if (withCodes) {
    const estimate = byteEstimate(position)
    const residual = load<f32>(recordTail(records, position, queryBytes >> 2), recordResidualsAt)
    lower = lowerBound(estimate, residual)
    // A row without a direction has distance 1, whatever its code.
    const directed = queryMetric != metricCosine || !isNaN<f32>(load<f32>(inverseNorms + (<usize>row << 2)))
    upper = directed ? upperBound(estimate, residual) : 2.1
  }
  if (lower > threshold) return
  putSurvivor(lower, position, row, threshold)
  if (offer(upper, position, row)) followThreshold()
}

// @ts-ignore: decorator
@inline
function isBeyondDirect(row: u32, vector: usize): bool {
  if (queryMetric == metricL2) {
    const square = <f64>square32(directQuery, vector, queryBytes)
    // An overflow says nothing.
    return square > directLimit && square < 1e38
  }
  const product = <f64>product32(directQuery, vector, queryBytes)
  if (queryMetric == metricDot) return -product > directLimit
  return 1 - product * <f64>load<f32>(inverseNorms + (<usize>row << 2)) > directLimit
}

/** `distance` of src/core/metric.ts, to the bit. */
function exactDistance(vector: usize): f64 {
  if (queryMetric == metricL2) return square64(query, vector, queryBytes)
  const product = product64(query, vector, queryBytes)
  if (queryMetric == metricDot) return product == 0 ? 0 : -product
  const norms = queryNorm * sqrt<f64>(product64(vector, vector, queryBytes))
  return norms == 0 ? 1 : 1 - product / norms
}
