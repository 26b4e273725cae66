/** Sorts a block's rows by cluster and distance from the centroid, before they are encoded in that order. */
import { assign } from './assign'
import { center } from './encode'
import { product64, roundUp, square64, unit } from './lanes'
import {
  blockBitsAt,
  blockClustersAt,
  blockMetricAt,
  blockPaddedAt,
  blockRadiiAt,
  blockReachesAt,
  blockRecordsAt,
  blockRowsAt,
  blockSlacksAt,
  blockStartsAt,
  codebookCenterAt,
  codebookNormsAt,
  codebookTableAt,
  metricCosine,
  recordRowsAt,
  scratchRotatedAt,
  tableVectorsAt,
} from './layout'
import { recordTail } from './records'
import { rotationError } from './rotation'

/**
 * Finds cluster and radius of rows [from, to). Until `arrange`, both are by row: clusters in the place of 1-bit codes,
 * radii in their own, which will be by position.
 */
export function place(block: usize, vectors: usize, codebook: usize, scratch: usize, from: u32, to: u32): void {
  const bytes = <usize>load<u32>(block, blockPaddedAt) << 2
  const metric = load<u32>(block, blockMetricAt)
  const table = codebook + load<u32>(codebook, codebookTableAt)
  const centroids = table + load<u32>(table, tableVectorsAt)
  const owners = block + load<u32>(block, blockBitsAt)
  const radii = block + load<u32>(block, blockRadiiAt)
  const framed = scratch + scratchRotatedAt
  let vector = vectors + <usize>from * bytes
  assign(scratch, table, codebook, vector, to - from, owners + (<usize>from << 2), 0)
  for (let row = from; row < to; row++) {
    const at = <usize>row << 2
    const norm = metric == metricCosine ? sqrt<f64>(product64(vector, vector, bytes)) : 0
    center(framed, vector, norm, metric, codebook + codebookCenterAt, bytes)
    const centroid = centroids + <usize>load<u32>(owners + at) * bytes
    store<f32>(radii + at, <f32>sqrt<f64>(square64(framed, centroid, bytes)))
    vector += bytes
  }
}

/** Orders all rows once they are placed. */
export function arrange(block: usize, codebook: usize): void {
  const rows = load<u32>(block, blockRowsAt)
  const clusters = load<u32>(block, blockClustersAt)
  const owners = block + load<u32>(block, blockBitsAt)
  const radii = block + load<u32>(block, blockRadiiAt)
  const starts = block + load<u32>(block, blockStartsAt)
  // Behind the clusters: 12 bytes a row in all, which 1-bit codes and their factors take at any dimension.
  const keys = owners + (<usize>((rows + 31) & ~31) << 2)
  memory.fill(starts, 0, <usize>(clusters + 1) << 2)
  for (let row: u32 = 0; row < rows; row++) {
    const count = starts + (<usize>load<u32>(owners + (<usize>row << 2)) << 2)
    store<u32>(count, load<u32>(count) + 1)
  }
  let end: u32 = 0
  for (let cluster: u32 = 0; cluster <= clusters; cluster++) {
    // Where each cluster ends: it is filled from there downwards, which leaves its start.
    end += load<u32>(starts + (<usize>cluster << 2))
    store<u32>(starts + (<usize>cluster << 2), end)
  }
  for (let row: u32 = 0; row < rows; row++) {
    const at = <usize>row << 2
    const cursor = starts + (<usize>load<u32>(owners + at) << 2)
    const position = load<u32>(cursor) - 1
    store<u32>(cursor, position)
    // Bits of floats that are not negative order as the floats do.
    store<u64>(keys + (<usize>position << 3), (<u64>load<u32>(radii + at) << 32) | <u64>row)
  }
  const padded = load<u32>(block, blockPaddedAt)
  const records = block + load<u32>(block, blockRecordsAt)
  for (let cluster: u32 = 0; cluster < clusters; cluster++) {
    const from = load<u32>(starts + (<usize>cluster << 2))
    const to = load<u32>(starts + (<usize>cluster << 2), 4)
    sort(keys + (<usize>from << 3), to - from)
    for (let position = from; position < to; position++) {
      const key = load<u64>(keys + (<usize>position << 3))
      store<u32>(recordTail(records, position, padded), <u32>key, recordRowsAt)
      store<u32>(radii + (<usize>position << 2), <u32>(key >> 32))
    }
    measureCluster(block, codebook, cluster, from, to)
  }
  memory.fill(owners, 0, keys - owners + (<usize>rows << 3))
}

/** Bounds of one cluster's radii (docs/rounding.md, "Clusters"). */
function measureCluster(block: usize, codebook: usize, cluster: u32, from: u32, to: u32): void {
  const at = <usize>cluster << 2
  const reaches = block + load<u32>(block, blockReachesAt)
  const slacks = block + load<u32>(block, blockSlacksAt)
  if (from == to) {
    store<f32>(reaches + at, -Infinity)
    store<f32>(slacks + at, 0)
    return
  }
  const radius = <f64>load<f32>(block + load<u32>(block, blockRadiiAt) + (<usize>(to - 1) << 2))
  const norm = <f64>load<f32>(codebook + load<u32>(codebook, codebookNormsAt) + at) * (1 + 1e-5)
  const inexact = load<u32>(block, blockMetricAt) == metricCosine ? unit * 1.01 : 0
  const slack = inexact + 1.02 * unit * (norm + 2 * radius) + rotationError(codebook) * norm + 1e-30
  store<f32>(slacks + at, roundUp(slack))
  store<f32>(reaches + at, roundUp(radius + slack))
}

/** Heapsort, ascending. */
function sort(keys: usize, count: i32): void {
  for (let index = (count >> 1) - 1; index >= 0; index--) sift(keys, index, count)
  for (let last = count - 1; last > 0; last--) {
    const largest = load<u64>(keys)
    const moved = load<u64>(keys + (<usize>last << 3))
    store<u64>(keys + (<usize>last << 3), largest)
    store<u64>(keys, moved)
    sift(keys, 0, last)
  }
}

function sift(keys: usize, start: i32, count: i32): void {
  const moved = load<u64>(keys + (<usize>start << 3))
  let index = start
  while (true) {
    let child = 2 * index + 1
    if (child >= count) break
    let key = load<u64>(keys + (<usize>child << 3))
    if (child + 1 < count) {
      const right = load<u64>(keys + (<usize>child << 3), 8)
      if (right > key) {
        child++
        key = right
      }
    }
    if (key <= moved) break
    store<u64>(keys + (<usize>index << 3), key)
    index = child
  }
  store<u64>(keys + (<usize>index << 3), moved)
}
