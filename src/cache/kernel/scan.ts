/** One query over a range of one block's rows: estimates rule rows out, float64 decides. */
import {
  blockCellCountAt,
  blockCentredMaxAt,
  blockClustersAt,
  blockDirectionsAt,
  blockNormMaxAt,
  blockQuantizedAt,
  chunkRows,
  metricDot,
  stageBits,
  stageCells,
  stagePrefix,
} from './layout'
import { beginCeiling } from './ceiling'
import { beginCells, cellCount, followCells, rowsWithinCells } from './cells'
import { candidateBytes, estimateOf, heapify, popSmallest, putCandidate, rowOf } from './candidates'
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
import { beginDecisions, decide, rowAt } from './decide'
import { beginHits, hitCount, lost, sortHits, threshold } from './hits'
import { touch } from './lanes'
import { beginSurvivors, keepWithin } from './survivors'
import {
  bitLimit,
  followCluster,
  followThreshold,
  prepareBits,
  prepareBytes,
  prepareDirect,
  reach,
  reachLimit,
} from './limits'
import { prefixBytes } from './prefix'
import { framedNormHigh, hasCodes, queryBytes, queryMetric } from './query'
import { allowedRows, beginRows, candidates, lanes, records, vectors } from './rows'
import { beginBits, scanBits } from './scan-bits'
import { beginBytes, fetchRecords, fetchRows, isBeyondBytes, keepWithinBytes, scanBytes } from './scan-bytes'
import { beginPrefixes, fetchPrefixes, isBeyondPrefix, prefixEstimate, scanPrefixes } from './scan-prefixes'

/** The first chunks are small: without a threshold nothing is ruled out. */
const firstChunkRows: u32 = 2048

/* What is read of rows first. */
const readBytes: i32 = 0
const readBits: i32 = 1
const readPrefixes: i32 = 2
const readCells: i32 = 3

/* The scan. */
/** Whether prefixes can be read, also when they are not read first. */
let withPrefixes: bool = false
/** What is read first now, and what was to begin with. */
let stage: i32 = 0
let wanted: i32 = 0
/** Candidates that 8-bit codes did not rule out, and that wait for a smaller threshold. */
let pending: i32 = 0
/** Rows that the stage's codes were read of, once there was a threshold, and those they did not rule out; fading. */
let seen: u32 = 0
let passed: u32 = 0
/** How many hits are wanted. */
let nearestCount: i32 = 0
/** Rows that were read since the first stage was found to be of little help. */
let paused: u32 = 0
/** Fewer say too little of whether short codes help. */
const seenMin: u32 = 1024
const pausedMin: u32 = 256
/** Twice as many each time that they are. */
let pausedRows: u32 = 0
/** How much dearer a code is that is read alone, not in a row of many. */
const scattered: f64 = 1.6
/** What putting a row's estimate in order costs, in bytes of codes read in a row. */
const orderedBytes: f64 = 128
/** Bytes of originals that are brought into the cache at a time. */
const fetchBytes: usize = 32768

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
 * estimate (stageBits), a row's true distance may lie below it. `gap`: see `beginClusters`; Infinity misses nothing.
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
  gap: f64,
): i32 {
  beginRows(block, originals, scratch, allow)
  looked = 0
  const clustered = load<u32>(block, blockClustersAt) != 0
  const quantized = load<u32>(block, blockQuantizedAt) != 0
  beginHits(scratch, k, distanceMax)
  beginSurvivors(scratch, k)
  beginCeiling(scratch, k)
  const normMax = load<f64>(block, blockNormMaxAt)
  prepareDirect(normMax)
  const centredMax = load<f64>(block, blockCentredMaxAt)
  // Codes are exact zeros where rows equal their centroid.
  const scale = clustered ? max<f64>(centredMax, centroidNormMax) : centredMax
  const withCodes =
    hasCodes &&
    quantized &&
    framedNormHigh < 1e15 &&
    scale >= 1e-15 &&
    scale <= 1e15 &&
    (vectors == 0 || <u32>k < (to - from) >> 2)
  if (withCodes) {
    beginBytes(scratch)
    prepareBytes(normMax, centredMax, clustered)
    if (asked == stageBits) {
      beginBits(block, scratch)
      prepareBits(block, centredMax, tail)
    }
  }
  beginDecisions(scratch, withCodes)
  withPrefixes = false
  wanted = withCodes && asked == stageBits ? readBits : readBytes
  if (withCodes && (asked == stagePrefix || asked == stageCells)) {
    if (prefixBytes != 0 && <usize>load<u32>(block, blockDirectionsAt) == prefixBytes) {
      beginPrefixes(block, scratch, centredMax + (clustered ? centroidNormMax : 0))
      withPrefixes = true
      wanted = readPrefixes
    }
    if (asked == stageCells && queryMetric != metricDot && cellCount != 0 && load<u32>(block, blockCellCountAt) == cellCount) {
      beginCells(block)
      wanted = readCells
    }
  }
  followThreshold()
  stage = wanted
  nearestCount = k
  pending = 0
  seen = 0
  passed = 0
  paused = 0
  pausedRows = pausedMin
  if (!withCodes) scanDirect(from, to)
  else if (clustered) scanClusters(block, from, to, gap, k)
  else scanCodes(from, to)
  decideAll()
  sortHits()
  keepWithin(threshold)
  return hitCount
}

/** Visits clusters from the nearest on, as long as they may have rows within the threshold. */
function scanClusters(block: usize, from: u32, to: u32, gap: f64, k: i32): void {
  beginClusters(block, gap, <u32>k)
  let first = -1
  if (reach == Infinity) {
    // The rows of one cluster make the threshold small enough to leave most others out.
    first = nearestCluster()
    if (first < 0) return
    scanCluster(first, from, to)
  }
  listVisits(reachLimit, first)
  for (let next = nextVisit(reachLimit); next >= 0; next = nextVisit(reachLimit)) scanCluster(next, from, to)
}

function scanCluster(cluster: u32, from: u32, to: u32): void {
  enter(cluster)
  followCluster(wanted == readBits)
  chooseWindow(reach, from, to)
  scanCodes(windowFrom, windowTo)
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
    // Without a threshold nothing is ruled out: upper bounds of 8-bit codes make one.
    const isOpen = threshold == Infinity
    if (pending > chunkRows >> 1) decideAll()
    end = min<u32>(to, start + (isOpen ? firstChunkRows : (<u32>(chunkRows - pending) & ~31)))
    looked += end - start
    const read = isOpen ? openingStage(end - start) : stage == readCells && !followCells(reach) ? readBytes : stage
    const count =
      read == readBits
        ? scanBits(start, end, pending)
        : read == readCells
        ? scanCells(start, end, pending)
        : read == readPrefixes
        ? scanPrefixes(start, end, pending)
        : scanBytes(start, end, pending)
    const found = count - pending
    if (read == readBytes) pending = count
    else pending = isOpen ? lookNearestFirst(pending, count, read) : lookAlone(pending, count, read)
    if (!isOpen) chooseStage(end - start, found)
  }
  // The bounds of products, and those that survivors keep, are of one cluster.
  if (vectors == 0 || queryMetric == metricDot) decideAll()
}

/** What is read first of so many rows without a threshold: 8-bit codes of all, or shorter ones to choose the k that make a threshold. */
function openingStage(rows: u32): i32 {
  const short = wanted == readBits ? readBits : withPrefixes ? readPrefixes : readBytes
  const saved = <f64>rows * (firstBytes(readBytes) - firstBytes(short) - orderedBytes)
  return saved > <f64>nearestCount * scattered * firstBytes(readBytes) ? short : readBytes
}

/** As `lookAlone` of what `read` made candidates, when there is no threshold: the 8-bit codes of the k nearest by it make one for the others. */
function lookNearestFirst(from: i32, to: i32, read: i32): i32 {
  const heap = candidates + <usize>from * candidateBytes
  let first = to
  while (first > from && to - first < nearestCount) {
    if (first == to) heapify(heap, to - from)
    popSmallest(heap, first-- - from)
  }
  fetchRecords(first, to)
  const end = keepWithinBytes(first, to, first)
  const kept = lookAlone(from, first, read)
  const moved = end - first
  memory.copy(
    candidates + <usize>kept * candidateBytes,
    candidates + <usize>first * candidateBytes,
    <usize>moved * candidateBytes,
  )
  return kept + moved
}

/** Of the candidates [from, to), leaves those that 8-bit codes do not rule out; returns their end. `read`: what made them candidates. */
function lookAlone(from: i32, to: i32, read: i32): i32 {
  let kept = from
  for (let first = from; first < to; first += fetchRows) {
    const end = keepWithinStage(first, min<i32>(to, first + fetchRows), read)
    fetchRecords(first, end)
    kept = keepWithinBytes(first, end, kept)
  }
  return kept
}

/** Leaves those of the candidates [from, to) that shorter codes do not rule out under the threshold of now; returns their end. */
function keepWithinStage(from: i32, to: i32, read: i32): i32 {
  if (read == readCells && !withPrefixes) return to
  if (read == readCells) fetchPrefixes(from, to)
  let end = from
  for (let i = from; i < to; i++) {
    const position = rowOf(candidates, i)
    const estimate = read == readCells ? prefixEstimate(position) : estimateOf(candidates, i)
    const isBeyond = read == readBits ? estimate > bitLimit : isBeyondPrefix(position, estimate)
    if (!isBeyond) putCandidate(candidates, end++, estimate, position)
  }
  return end
}

/** Decides the pending candidates that 8-bit codes do not rule out by now. */
function decideAll(): void {
  const step = <i32>max<usize>(1, fetchBytes / queryBytes)
  for (let from = 0; from < pending; from += step) {
    let to = from
    for (let i = from; i < min<i32>(pending, from + step); i++) {
      const estimate = estimateOf(candidates, i)
      const position = rowOf(candidates, i)
      if (!isBeyondBytes(position, estimate)) putCandidate(candidates, to++, estimate, position)
    }
    fetchVectors(from, to)
    for (let i = from; i < to; i++) {
      const position = rowOf(candidates, i)
      if (!isBeyondBytes(position, estimateOf(candidates, i))) decide(position)
    }
  }
  pending = 0
}

/** Brings the originals of the candidates [from, to) into the cache, as `fetchRecords` does their records. */
function fetchVectors(from: i32, to: i32): void {
  if (vectors == 0) return
  let sum: u32 = 0
  for (let i = from; i < to; i++) {
    sum += touch(vectors + <usize>rowAt(rowOf(candidates, i)) * queryBytes, queryBytes)
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
    if (paused >= pausedRows) {
      changeStage(wanted)
      return
    }
  }
  if (stage == readBytes) return
  seen += rows
  passed += found
  if (seen < seenMin) return
  const next = stage == readCells && withPrefixes ? readPrefixes : readBytes
  const longBytes = firstBytes(next)
  if (<f64>passed * scattered * longBytes > <f64>seen * (longBytes - firstBytes(stage))) {
    changeStage(next)
    pausedRows <<= 1
  }
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

/** Emits positions that their cells do not put beyond the threshold; their estimates say nothing. */
function scanCells(from: u32, to: u32, found: i32): i32 {
  let count = found
  for (let start = from & ~31; start < to; start += 32) {
    let word = allowedRows(start, from, to)
    // Fewer are cheaper to look at alone.
    if (popcnt(word) > 2) word &= rowsWithinCells(start)
    for (; word != 0; word &= word - 1) putCandidate(candidates, count++, 0, start + ctz(word))
  }
  return count
}
