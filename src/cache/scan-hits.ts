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
  /** All that the k best may be among, besides hits with distances. One of each scan. */
  readonly survivors: readonly Survivors[]
  /** Ranges with more survivors than fit; none of theirs is here. */
  readonly unread: readonly UnreadRange[]
}

const noSurvivors: Survivors = {
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
  survivors: [],
  unread: [],
}

/** Distance that a row must not exceed to matter, given hits so far and the ascending distances of other rows. */
export function hitsThreshold(
  hits: Hits,
  others: Float64Array,
  { k, distanceMax }: { readonly k: number; readonly distanceMax: number },
): number {
  const { distances } = hits
  if (distances.length + others.length < k) return distanceMax
  if (others.length === 0) return Math.min(distanceMax, distances[k - 1]!)
  // As many of the one list as are among the k best of both, by halving: it is asked after every range.
  let least = Math.max(0, k - others.length)
  let most = Math.min(k, distances.length)
  while (least < most) {
    const count = (least + most) >> 1
    if (distances[count]! < others[k - count - 1]!) least = count + 1
    else most = count
  }
  const last = least === 0 ? Number.NEGATIVE_INFINITY : distances[least - 1]!
  const lastOther = least === k ? Number.NEGATIVE_INFINITY : others[k - least - 1]!
  return Math.min(distanceMax, Math.max(last, lastOther))
}

/** Those of all that are within the threshold. */
export function joinSurvivors(all: readonly Survivors[], threshold: number): Survivors {
  if (all.length === 0) return noSurvivors
  const room = all.reduce((sum, { lowers }) => sum + lowers.length, 0)
  const lowers = new Float64Array(room)
  const blocks = new Uint32Array(room)
  const rows = new Uint32Array(room)
  const positions = new Uint32Array(room)
  let count = 0
  for (const some of all)
    for (let i = 0; i < some.lowers.length; i++) {
      if (some.lowers[i]! > threshold) continue
      lowers[count] = some.lowers[i]!
      blocks[count] = some.blocks[i]!
      rows[count] = some.rows[i]!
      positions[count++] = some.positions[i]!
    }
  return {
    lowers: lowers.slice(0, count),
    blocks: blocks.slice(0, count),
    rows: rows.slice(0, count),
    positions: positions.slice(0, count),
  }
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
    survivors: joinLists(a.survivors, b.survivors),
    unread: joinLists(a.unread, b.unread),
  }
}

const joinLists = <T>(a: readonly T[], b: readonly T[]): readonly T[] =>
  a.length === 0 ? b : b.length === 0 ? a : [...a, ...b]
