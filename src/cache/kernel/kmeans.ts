/** Steps of k-means over float32[rows][padded]; src/cache/centroids.ts puts them together. */
import {
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
import { high, low, product64, roundDown, square32, unit } from './lanes'

/**
 * Chooses centroids [from, to) by k-means++ (Arthur and Vassilvitskii, 2007): a row becomes the next with probability
 * proportional to its squared distance from the nearest so far.
 * @param rows every `stride`-th byte is the start of one of `count` rows
 * @param uniforms f64[centroids] in [0, 1)
 * @param squares f32[count]: squared distance to the nearest so far; kept from call to call
 * @param nearest u32[count]: which one that is
 * @param between f32[centroids]: room for distances between centroids
 */
export function seedCentroids(
  scratch: usize,
  table: usize,
  rows: usize,
  stride: usize,
  count: u32,
  from: u32,
  to: u32,
  uniforms: usize,
  squares: usize,
  nearest: usize,
  between: usize,
): void {
  const bytes = <usize>load<u32>(table, tablePaddedAt) << 2
  const centroids = table + load<u32>(table, tableVectorsAt)
  for (let centroid = from; centroid < to; centroid++) {
    const uniform = load<f64>(uniforms + (<usize>centroid << 3))
    const chosen = centroid == 0 ? <u32>(uniform * <f64>count) : draw(squares, count, uniform)
    const vector = centroids + <usize>centroid * bytes
    memory.copy(vector, rows + <usize>chosen * stride, bytes)
    for (let earlier: u32 = 0; earlier < centroid; earlier++)
      store<f32>(between + (<usize>earlier << 2), square32(vector, centroids + <usize>earlier * bytes, bytes))
    for (let row: u32 = 0; row < count; row++) {
      const at = <usize>row << 2
      const known = centroid == 0 ? f32.POSITIVE_INFINITY : load<f32>(squares + at)
      // A centroid twice as far from the row's nearest as the row is cannot be nearer to the row.
      if (centroid != 0 && load<f32>(between + (<usize>load<u32>(nearest + at) << 2)) >= 4 * known) continue
      const square = square32(vector, rows + <usize>row * stride, bytes)
      // The first takes every row, whatever overflowed: what is not written here is not there to be read.
      if (centroid != 0 && !(square < known)) continue
      store<f32>(squares + at, square)
      store<u32>(nearest + at, centroid)
    }
  }
}

/** An index below `count` with probability proportional to its weight; any when all weights are zero. */
function draw(weights: usize, count: u32, uniform: f64): u32 {
  let total: f64 = 0
  for (let i: u32 = 0; i < count; i++) total += <f64>load<f32>(weights + (<usize>i << 2))
  if (!(total > 0 && total < Infinity)) return <u32>(uniform * <f64>count)
  let left = uniform * total
  let last: u32 = 0
  for (let i: u32 = 0; i < count; i++) {
    const weight = <f64>load<f32>(weights + (<usize>i << 2))
    if (weight == 0) continue
    last = i
    left -= weight
    if (left < 0) break
  }
  return last
}

/**
 * Adds rows [from, to) to the sums of the centroids they belong to.
 * @param owners u32[rows]
 * @param sums f64[centroids][padded]
 * @param counts u32[centroids]
 */
export function accumulate(
  scratch: usize,
  table: usize,
  rows: usize,
  from: u32,
  to: u32,
  owners: usize,
  sums: usize,
  counts: usize,
): void {
  const bytes = <usize>load<u32>(table, tablePaddedAt) << 2
  for (let row = from; row < to; row++) {
    const owner = <usize>load<u32>(owners + (<usize>row << 2))
    const count = counts + (owner << 2)
    store<u32>(count, load<u32>(count) + 1)
    const sum = sums + owner * (bytes << 1)
    const vector = rows + <usize>row * bytes
    for (let at: usize = 0; at < bytes; at += 16) {
      const value = v128.load(vector + at)
      const target = sum + (at << 1)
      v128.store(target, f64x2.add(v128.load(target), low(value)))
      v128.store(target, f64x2.add(v128.load(target, 16), high(value)), 16)
    }
  }
}

/** Moves every centroid that owns a row to the mean of its rows. */
export function moveToMeans(scratch: usize, table: usize, sums: usize, counts: usize): void {
  const bytes = <usize>load<u32>(table, tablePaddedAt) << 2
  const count = <usize>load<u32>(table, tableCountAt)
  const centroids = table + load<u32>(table, tableVectorsAt)
  for (let centroid: usize = 0; centroid < count; centroid++) {
    const owned = load<u32>(counts + (centroid << 2))
    if (owned == 0) continue
    const divisor = f64x2.splat(<f64>owned)
    const sum = sums + centroid * (bytes << 1)
    for (let at: usize = 0; at < bytes; at += 16) {
      const source = sum + (at << 1)
      const l = f32x4.demote_f64x2_zero(f64x2.div(v128.load(source), divisor))
      const h = f32x4.demote_f64x2_zero(f64x2.div(v128.load(source, 16), divisor))
      v128.store(centroids + centroid * bytes + at, v128.shuffle<i32>(l, h, 0, 1, 4, 5))
    }
  }
}

/** Puts the norms that `assign` needs beside centroids and centres of groups, which are in place. */
export function measureTable(scratch: usize, table: usize): void {
  const normMax = measure(
    table,
    load<u32>(table, tableVectorsAt),
    load<u32>(table, tableHalvesAt),
    load<u32>(table, tableCountAt),
  )
  const groupNormMax = measure(
    table,
    load<u32>(table, tableGroupVectorsAt),
    load<u32>(table, tableGroupHalvesAt),
    load<u32>(table, tableGroupsAt),
  )
  store<f64>(table, max<f64>(normMax, groupNormMax), tableNormMaxAt)
}

function measure(table: usize, vectorsAt: u32, halvesAt: u32, count: u32): f64 {
  const bytes = <usize>load<u32>(table, tablePaddedAt) << 2
  let largest: f64 = 0
  for (let index: usize = 0; index < <usize>count; index++) {
    const vector = table + vectorsAt + index * bytes
    const square = product64(vector, vector, bytes)
    largest = max<f64>(largest, square)
    store<f32>(table + halvesAt + (index << 2), <f32>(0.5 * square))
  }
  return sqrt<f64>(largest) * (1 + 1e-9)
}

/**
 * Fills a table with `source`'s centroids in the order of their groups, and with the groups' centres and norms.
 * @param source a table of as many centroids without groups
 * @param centres a table of the groups' centres
 * @param owners u32[centroids]: each one's group
 */
export function groupCentroids(scratch: usize, table: usize, source: usize, centres: usize, owners: usize): void {
  const bytes = <usize>load<u32>(table, tablePaddedAt) << 2
  const count = load<u32>(table, tableCountAt)
  const groups = load<u32>(table, tableGroupsAt)
  const vectors = table + load<u32>(table, tableVectorsAt)
  const groupVectors = table + load<u32>(table, tableGroupVectorsAt)
  const starts = table + load<u32>(table, tableGroupStartsAt)
  memory.copy(groupVectors, centres + load<u32>(centres, tableVectorsAt), <usize>groups * bytes)
  let placed: u32 = 0
  for (let group: u32 = 0; group < groups; group++) {
    store<u32>(starts + (<usize>group << 2), placed)
    for (let index: u32 = 0; index < count; index++) {
      if (load<u32>(owners + (<usize>index << 2)) != group) continue
      const from = source + load<u32>(source, tableVectorsAt) + <usize>index * bytes
      memory.copy(vectors + <usize>(placed++) * bytes, from, bytes)
    }
  }
  store<u32>(starts + (<usize>groups << 2), placed)
  measureTable(scratch, table)
}

/** Measures how far centroids [from, to) of a table with groups are from each group. */
export function separateGroups(scratch: usize, table: usize, from: u32, to: u32): void {
  const bytes = <usize>load<u32>(table, tablePaddedAt) << 2
  const groups = load<u32>(table, tableGroupsAt)
  const vectors = table + load<u32>(table, tableVectorsAt)
  const starts = table + load<u32>(table, tableGroupStartsAt)
  const separations = table + load<u32>(table, tableSeparationsAt)
  // More than float32 sums of squares can be too large by.
  const rounding = (<f64>(bytes >> 6) + 16) * unit
  for (let centroid = from; centroid < to; centroid++) {
    const vector = vectors + <usize>centroid * bytes
    for (let group: u32 = 0; group < groups; group++) {
      const end = load<u32>(starts + (<usize>group << 2), 4)
      let least: f32 = f32.POSITIVE_INFINITY
      for (let other = load<u32>(starts + (<usize>group << 2)); other < end; other++)
        least = min<f32>(least, square32(vector, vectors + <usize>other * bytes, bytes))
      store<f32>(separations + ((<usize>centroid * groups + group) << 2), roundDown(<f64>least * (1 - rounding)))
    }
  }
}
