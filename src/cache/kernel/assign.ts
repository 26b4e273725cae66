/** The nearest centroid of many rows. */
import {
  batchRowBytes,
  batchRowsMax,
  scratchBatchAt,
  scratchBytes,
  tableCountAt,
  tableGroupHalvesAt,
  tableGroupStartsAt,
  tableGroupVectorsAt,
  tableGroupsAt,
  tableHalvesAt,
  tableNormMaxAt,
  tablePaddedAt,
  tableSeparationsAt,
  tableVectorsAt,
} from './layout'
import { frameRows } from './frame'
import { product32, unit } from './lanes'
import { products } from './products'

/** Bytes of centroids, and of rows, that are looked at together: they stay in the first and second level of cache. */
const tileBytes: usize = 16384
const batchBytes: usize = 262144

/* The table. */
let rowBytes: usize = 0
let centroids: usize = 0
let halves: usize = 0

/** f32[2][4]: scores of two rows and four centroids. */
let scores: usize = 0

/* One value a row of the batch. */
let rows: usize = 0
/** Bytes of one such array. */
let capacity: usize = 0
let list: usize = 0
let listed: u32 = 0
let bests: usize = 0
let nearest: usize = 0
let norms: usize = 0
let errors: usize = 0
let home: usize = 0
/** f32[batch][padded], only for rows that are not in the centroids' frame yet. */
let framed: usize = 0

/**
 * Writes the nearest of the table's centroids for each of `count` rows, float32[count][padded]. by |c|^2/2 - <x, c>,
 * computed in float32, then by lower index: with or without groups the same.
 * @param codebook to bring the rows into the centroids' frame; 0 when they are in it
 * @param found u32[count]
 * @param squares f32[count] or 0: squared distance, within float32's cancellation
 */
export function assign(
  scratch: usize,
  table: usize,
  codebook: usize,
  source: usize,
  count: u32,
  found: usize,
  squares: usize,
): void {
  rowBytes = <usize>load<u32>(table, tablePaddedAt) << 2
  centroids = table + load<u32>(table, tableVectorsAt)
  halves = table + load<u32>(table, tableHalvesAt)
  const groups = load<u32>(table, tableGroupsAt)
  const taken = batchRowBytes + (codebook != 0 ? <u32>rowBytes : 0)
  const room = (scratchBytes - scratchBatchAt - 64) / taken
  const batch = min<u32>(batchRowsMax, min<u32>(room, max<u32>(8, <u32>(batchBytes / rowBytes)))) & ~3
  layBatch(scratch + scratchBatchAt, batch)
  for (let start: u32 = 0; start < count; start += batch) {
    const size = min<u32>(batch, count - start)
    rows = source + <usize>start * rowBytes
    if (codebook != 0) {
      frameRows(scratch, codebook, framed, rows, size)
      rows = framed
    }
    assignBatch(table, groups, size)
    memory.copy(found + (<usize>start << 2), nearest, <usize>size << 2)
    if (squares != 0)
      for (let row: usize = 0; row < <usize>size; row++) {
        const square = load<f32>(norms + (row << 2)) + 2 * load<f32>(bests + (row << 2))
        store<f32>(squares + ((<usize>start + row) << 2), max<f32>(0, square))
      }
  }
}

function layBatch(start: usize, batch: u32): void {
  capacity = <usize>batch << 2
  scores = start
  list = start + 64
  bests = list + capacity
  nearest = bests + capacity
  norms = nearest + capacity
  errors = norms + capacity
  home = errors + capacity
  framed = home + capacity
}

function assignBatch(table: usize, groups: u32, size: u32): void {
  const normMax = load<f64>(table, tableNormMaxAt)
  // Twice what |x|^2 + |c|^2 - 2 <x, c> can be wrong by, relative to (|x| + |c|)^2.
  const rounding = 2 * (<f64>(rowBytes >> 4) + 24) * unit
  for (let row: usize = 0; row < <usize>size; row++) {
    const vector = rows + row * rowBytes
    const norm = product32(vector, vector, rowBytes)
    const at = row << 2
    const extent = sqrt<f64>(<f64>norm) + normMax
    store<f32>(norms + at, norm)
    store<f32>(errors + at, <f32>(rounding * extent * extent))
    store<f32>(bests + at, f32.POSITIVE_INFINITY)
    store<u32>(nearest + at, 0)
  }
  if (groups == 0) {
    listAll(size)
    search(centroids, halves, 0, load<u32>(table, tableCountAt))
    return
  }
  chooseHomes(table, groups, size)
  const starts = table + load<u32>(table, tableGroupStartsAt)
  const separations = table + load<u32>(table, tableSeparationsAt)
  for (let group: u32 = 0; group < groups; group++) {
    listResidents(group, size)
    visitGroup(starts, group)
  }
  for (let group: u32 = 0; group < groups; group++) {
    listVisitors(separations, groups, group, size)
    visitGroup(starts, group)
  }
}

function listAll(size: u32): void {
  listed = size
  for (let row: u32 = 0; row < size; row++) store<u32>(list + (<usize>row << 2), row)
}

/** Each row's home: the group of the nearest centre. */
function chooseHomes(table: usize, groups: u32, size: u32): void {
  const vectors = table + load<u32>(table, tableGroupVectorsAt)
  const groupHalves = table + load<u32>(table, tableGroupHalvesAt)
  listAll(size)
  search(vectors, groupHalves, 0, groups)
  for (let row: usize = 0; row < <usize>size; row++) {
    const at = row << 2
    store<u32>(home + at, load<u32>(nearest + at))
    store<f32>(bests + at, f32.POSITIVE_INFINITY)
    store<u32>(nearest + at, 0)
  }
}

function listResidents(group: u32, size: u32): void {
  listed = 0
  for (let row: u32 = 0; row < size; row++)
    if (load<u32>(home + (<usize>row << 2)) == group) store<u32>(list + (<usize>(listed++) << 2), row)
}

/**
 * Rows of other groups that may find something as near in this one: a centroid more than twice as far from a row's nearest
 * as the row is cannot be (triangle inequality).
 */
function listVisitors(separations: usize, groups: u32, group: u32, size: u32): void {
  listed = 0
  for (let row: u32 = 0; row < size; row++) {
    const at = <usize>row << 2
    if (load<u32>(home + at) == group) continue
    const separation = load<f32>(separations + ((<usize>load<u32>(nearest + at) * groups + group) << 2))
    // Squares, and with room for rounding, so that no centroid of a better or equal score is left out.
    const square = load<f32>(norms + at) + 2 * load<f32>(bests + at) + load<f32>(errors + at)
    if (!(separation > 4 * square)) store<u32>(list + (<usize>(listed++) << 2), row)
  }
}

/** A group's centroids, from whole fours: neighbours of the group that come along are as good as any. */
function visitGroup(starts: usize, group: u32): void {
  const from = load<u32>(starts + (<usize>group << 2))
  const to = load<u32>(starts + (<usize>group << 2), 4)
  if (from < to && listed > 0) search(centroids, halves, from & ~3, (to + 3) & ~3)
}

/** Compares the listed rows with vectors [from, to), both multiples of 4. */
function search(vectors: usize, halfSquares: usize, from: u32, to: u32): void {
  const step = max<u32>(4, <u32>(tileBytes / rowBytes) & ~3)
  for (let start = from; start < to; start += step) {
    const end = min<u32>(to, start + step)
    for (let i: u32 = 0; i < listed; i += 2) {
      const row = load<u32>(list + (<usize>i << 2))
      const other = load<u32>(list + (<usize>min<u32>(i + 1, listed - 1) << 2))
      searchPair(<usize>row << 2, <usize>other << 2, vectors, halfSquares, start, end)
    }
  }
}

function searchPair(x: usize, y: usize, vectors: usize, halfSquares: usize, from: u32, to: u32): void {
  const xRow = rows + (x >> 2) * rowBytes
  const yRow = rows + (y >> 2) * rowBytes
  let bestX = f32x4.splat(load<f32>(bests + x))
  let bestY = f32x4.splat(load<f32>(bests + y))
  let atX = i32x4.splat(load<u32>(nearest + x))
  let atY = i32x4.splat(load<u32>(nearest + y))
  let index = i32x4(from, from + 1, from + 2, from + 3)
  for (let centroid = from; centroid < to; centroid += 4) {
    score(xRow, yRow, vectors + <usize>centroid * rowBytes, halfSquares + (<usize>centroid << 2))
    const scoreX = v128.load(scores)
    const scoreY = v128.load(scores, 16)
    const nearerX = isBefore(scoreX, index, bestX, atX)
    const nearerY = isBefore(scoreY, index, bestY, atY)
    bestX = v128.bitselect(scoreX, bestX, nearerX)
    bestY = v128.bitselect(scoreY, bestY, nearerY)
    atX = v128.bitselect(index, atX, nearerX)
    atY = v128.bitselect(index, atY, nearerY)
    index = i32x4.add(index, i32x4.splat(4))
  }
  keepBest(x, bestX, atX)
  keepBest(y, bestY, atY)
}

/** Whether (score, index) comes before (best, at), lane by lane. */
// @ts-ignore: decorator
@inline
function isBefore(score: v128, index: v128, best: v128, at: v128): v128 {
  return v128.or(f32x4.lt(score, best), v128.and(f32x4.eq(score, best), i32x4.lt_s(index, at)))
}

function keepBest(at: usize, best: v128, index: v128): void {
  // Lane i against lane i + 2, then against lane i + 1.
  let otherBest = v128.shuffle<i32>(best, best, 2, 3, 0, 1)
  let otherIndex = v128.shuffle<i32>(index, index, 2, 3, 0, 1)
  let before = isBefore(otherBest, otherIndex, best, index)
  best = v128.bitselect(otherBest, best, before)
  index = v128.bitselect(otherIndex, index, before)
  otherBest = v128.shuffle<i32>(best, best, 1, 0, 3, 2)
  otherIndex = v128.shuffle<i32>(index, index, 1, 0, 3, 2)
  before = isBefore(otherBest, otherIndex, best, index)
  v128.store32_lane(bests + at, v128.bitselect(otherBest, best, before), 0)
  v128.store32_lane(nearest + at, v128.bitselect(otherIndex, index, before), 0)
}

/** |c|^2/2 - <x, c> of two rows and four adjacent centroids, to `scores`. */
// @ts-ignore: decorator
@inline
function score(x: usize, y: usize, centroid: usize, half: usize): void {
  products(x, y, centroid, rowBytes, scores)
  const four = v128.load(half)
  v128.store(scores, f32x4.sub(four, v128.load(scores)))
  v128.store(scores, f32x4.sub(four, v128.load(scores, 16)), 16)
}
