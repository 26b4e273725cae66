/** What scans find, and how it is put together. */

/** Rows that only their originals, on disk, can tell: those whose lower bound is within the threshold. Parallel arrays. */
export interface Survivors {
  /** Lower bounds of their distances. */
  readonly lowers: Float64Array
  /** Index into the job's blocks. */
  readonly blocks: Uint32Array
  readonly rows: Uint32Array
  /** Where the row's code, and on disk its original, is. */
  readonly positions: Uint32Array
}

/** Positions [from, to) of a block. */
export interface UnreadRange {
  readonly index: number
  readonly from: number
  readonly to: number
}

/** The k best rows, ascending by distance, and every further row as near as the k-th. Parallel arrays. */
export interface Hits {
  /** Of rows whose originals are on disk, upper bounds. */
  readonly distances: Float64Array
  /** Index into the job's blocks. */
  readonly blocks: Uint32Array
  readonly rows: Uint32Array
  /** Smallest distance at which position in an unranked block decided which rows were left out; Infinity for none. */
  readonly lost: number
  /** Bytes that the first stage read. */
  readonly bytesRead: number
  /** All that the k best may be among, besides hits with distances. */
  readonly survivors: Survivors
  /** Ranges with more survivors than fit; none of theirs is here. */
  readonly unread: readonly UnreadRange[]
}

export const noSurvivors: Survivors = {
  lowers: new Float64Array(0),
  blocks: new Uint32Array(0),
  rows: new Uint32Array(0),
  positions: new Uint32Array(0),
}

export const noHits: Hits = {
  distances: new Float64Array(0),
  blocks: new Uint32Array(0),
  rows: new Uint32Array(0),
  lost: Number.POSITIVE_INFINITY,
  bytesRead: 0,
  survivors: noSurvivors,
  unread: [],
}

/** Distance that a row must not exceed to matter, given hits so far. */
export const hitsThreshold = (hits: Hits, k: number, distanceMax: number): number =>
  hits.distances.length >= k ? Math.min(distanceMax, hits.distances[k - 1]!) : distanceMax

function joinSurvivors(a: Survivors, b: Survivors): Survivors {
  if (a.lowers.length === 0) return b
  if (b.lowers.length === 0) return a
  const lowers = new Float64Array(a.lowers.length + b.lowers.length)
  lowers.set(a.lowers)
  lowers.set(b.lowers, a.lowers.length)
  return {
    lowers,
    blocks: joinWords(a.blocks, b.blocks),
    rows: joinWords(a.rows, b.rows),
    positions: joinWords(a.positions, b.positions),
  }
}

function joinWords(a: Uint32Array, b: Uint32Array): Uint32Array {
  const joined = new Uint32Array(a.length + b.length)
  joined.set(a)
  joined.set(b, a.length)
  return joined
}

/** Merges two results of the same query, keeping all rows as near as the k-th. */
export function mergeHits(a: Hits, b: Hits, k: number): Hits {
  if (a === noHits) return b
  const total = a.distances.length + b.distances.length
  const distances = new Float64Array(total)
  const blocks = new Uint32Array(total)
  const rows = new Uint32Array(total)
  let count = 0
  let i = 0
  let j = 0
  while (count < total) {
    const fromA = j === b.distances.length || (i < a.distances.length && a.distances[i]! <= b.distances[j]!)
    const source = fromA ? a : b
    const at = fromA ? i++ : j++
    const distance = source.distances[at]!
    if (count >= k && distance > distances[k - 1]!) break
    distances[count] = distance
    blocks[count] = source.blocks[at]!
    rows[count] = source.rows[at]!
    count++
  }
  return {
    distances: distances.subarray(0, count),
    blocks: blocks.subarray(0, count),
    rows: rows.subarray(0, count),
    lost: Math.min(a.lost, b.lost),
    bytesRead: a.bytesRead + b.bytesRead,
    survivors: joinSurvivors(a.survivors, b.survivors),
    unread: a.unread.length === 0 ? b.unread : [...a.unread, ...b.unread],
  }
}
