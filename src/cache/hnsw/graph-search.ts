/** Answers a query for a target recall from a graph, or leaves it to the scan. */
import { setMaxListeners } from 'node:events'
import { distance, type Metric } from '../../core/metric.js'
import { formatPredicate } from '../../core/predicate.js'
import { bindPredicate } from '../../core/predicate-bind.js'
import { evaluatePredicate } from '../../core/predicate-evaluate.js'
import { type SearchTarget, searchSegments } from '../search.js'
import { hitAt, mergeHits, vectorsAt } from '../shelf.js'
import { waitFor } from '../single-flight.js'
import type { RowLocation, ShardAnswer, ShardHit, ShardQuery } from '../vector-cache.js'
import { chooseSearch, depths, isLike } from './calibration.js'
import type { Graph } from './graph.js'
import type { Coverage } from './graph-rows.js'

/** Where the graph has a smaller share of the rows, what is left to scan is most of the work. */
const coveredMin = 0.5
/** Where fewer of the graph's rows may be returned, it looks at so many in vain that scanning is faster. */
const passingMin = 0.2
/** Where too few rows came back, how many times deeper the next search reaches. */
const deeperFactor = 4
/** Rows that a filter is tried on, to learn which share passes. */
const triedRows = 128

/** A version and the metric of its collection. */
export interface GraphTarget extends SearchTarget {
  readonly readIdentity: string
  readonly metric: Metric
}

interface CallOptions {
  readonly signal: AbortSignal
}

/**
 * Null where the scan is to answer: another contract than a target, a recall that the graph was not measured to reach,
 * too few rows in it or passing the filter, or too few found. Hits are live rows that pass the filter (laws 7 and 8), with
 * our own distances in our own order.
 */
export async function searchGraph(
  graph: Graph,
  target: GraphTarget,
  query: ShardQuery,
  options: CallOptions,
): Promise<ShardAnswer | null> {
  const { contract, k } = query
  if (contract.kind !== 'target') return null
  const coverage = graph.rows.coverage(target)
  if (coverage.rows < coveredMin * (coverage.rows + rowsOf(target, coverage.uncovered))) return null
  const passes = passesOf(target, query)
  setMaxListeners(0, options.signal) // any number of queries of one batch may share it
  const started = performance.now()
  let waitMs = 0
  let depth = depthFor(k, passingShare(graph, coverage, query, passes))
  for (;;) {
    const choice = depth === null ? null : chooseSearch(graph.calibration, depth, contract.recall)
    if (choice === null) return null
    const asked = performance.now()
    const task = { kind: 'search', query: query.vector, candidates: choice.candidates } as const
    const { rows, ms } = await waitFor(graph.thread.run(task), options.signal)
    waitMs += Math.max(0, performance.now() - asked - ms)
    const nearest = rows.subarray(0, 2 * choice.depth)
    const vectors = await readStored(target, coverage, nearest)
    const found = nearestOf(target, coverage, { query, rows: nearest, passes, vectors })
    if (found !== null && !isLike(graph.calibration, found.depth, found.distance)) return null
    if (found !== null && found.depth <= choice.depth) {
      const { hits, looked } = found
      const bytesScanned = looked * query.vector.byteLength
      const searchMs = performance.now() - started - waitMs
      const recallExpected = choice.recall
      const answer = { hits, contract, recallExpected, rowsScanned: rows.length, bytesScanned, searchMs, waitMs }
      const { uncovered } = coverage
      return uncovered.length === 0 ? answer : joinScanned(answer, target, uncovered, query, options)
    }
    // Rows that may not be returned lie thicker here than elsewhere: once more, for what lies behind them.
    depth = found?.depth ?? deeperFactor * choice.depth
  }
}

const rowsOf = (target: SearchTarget, segments: readonly number[]): number =>
  segments.reduce((sum, index) => sum + target.segments[index]!.segment.rows, 0)

/** Whether a live row may be returned. */
function passesOf({ segments, columns }: SearchTarget, query: ShardQuery): (place: RowLocation) => boolean {
  if (query.filter === null) return () => true
  const filter = bindPredicate(query.filter, columns)
  return ({ segment, position }) => {
    const { metadata } = segments[segment]!.segment.resident!
    return evaluatePredicate(filter, (column) => metadata!.cell(position, column)) === true
  }
}

/** The share of the graph's rows that may be returned: of some evenly spread ones, remembered for the filter. */
function passingShare(
  graph: Graph,
  coverage: Coverage,
  { filter }: ShardQuery,
  passes: (place: RowLocation) => boolean,
): number {
  return coverage.share(filter === null ? '' : formatPredicate(filter), () => {
    const { rows } = graph.rows
    const tried = Math.min(triedRows, rows)
    let passed = 0
    for (let i = 0; i < tried; i++) {
      const place = coverage.place(Math.floor(((i + 0.5) * rows) / tried))
      if (place !== null && passes(place)) passed++
    }
    return passed / tried
  })
}

/**
 * Among how many of the nearest rows of the graph k that pass are found (but for chance, three standard deviations of it);
 * null when that is more than recall is measured for.
 */
export function depthFor(k: number, share: number): number | null {
  if (share < passingMin) return null
  const wanted = (k + 3 * Math.sqrt(k * (1 - share))) / share
  return depths.find((depth) => depth >= wanted) ?? null
}

interface Found {
  readonly query: ShardQuery
  /** In the order of usearch. */
  readonly rows: Uint32Array
  readonly passes: (place: RowLocation) => boolean
  /** By row: those that are not in memory. */
  readonly vectors: ReadonlyMap<number, Float32Array>
}

/** Vectors of rows whose originals are on disk. Throws LG_CORRUPT. */
async function readStored(
  { segments }: GraphTarget,
  coverage: Coverage,
  rows: Uint32Array,
): Promise<ReadonlyMap<number, Float32Array>> {
  const wanted = Array.from(rows).flatMap((row) => {
    const place = coverage.place(row)
    if (place === null || segments[place.segment]!.segment.resident!.block.originals !== null) return []
    return { row, place }
  })
  if (wanted.length === 0) return new Map()
  const vectors = await vectorsAt(
    segments,
    wanted.map(({ place }) => place),
  )
  return new Map(wanted.map(({ row }, i) => [row, vectors[i]!]))
}

/**
 * At most k hits, among how many of the nearest rows of the graph they are, and how far the last of those is. Null when neither k
 * rows pass nor one is farther than wanted, so that rows behind the last could be in the answer.
 */
function nearestOf(
  target: GraphTarget,
  coverage: Coverage,
  { query, rows, passes, vectors }: Found,
): {
  readonly hits: readonly ShardHit[]
  readonly depth: number
  readonly distance: number
  readonly looked: number
} | null {
  const bounded = query.distanceMax < Number.POSITIVE_INFINITY
  const hits: ShardHit[] = []
  let depth = Number.POSITIVE_INFINITY
  let last = 0
  let looked = 0
  // The order of usearch is that of float32 distances: who is a little behind may be a little ahead.
  for (; looked < rows.length && looked < 2 * depth; looked++) {
    const place = coverage.place(rows[looked]!)
    if (place === null) continue
    const passing = passes(place)
    if (!passing && !bounded) continue
    const masked = target.segments[place.segment]!
    const vector = vectors.get(rows[looked]!) ?? masked.segment.resident!.block.vector(place.position)
    const far = distance(target.metric, query.vector, vector)
    const wanted = far <= query.distanceMax
    if (wanted && passing) hits.push(hitAt(masked, place, far))
    if (depth === Number.POSITIVE_INFINITY && (!wanted || hits.length === query.k)) {
      depth = looked + 1
      last = far
    }
  }
  if (depth === Number.POSITIVE_INFINITY) return null
  return { hits: mergeHits(hits, [], query.k), depth, distance: last, looked }
}

/** The rows that the graph does not have yet are scanned, under the same contract. */
async function joinScanned(
  answer: ShardAnswer & { readonly recallExpected: number },
  target: GraphTarget,
  uncovered: readonly number[],
  query: ShardQuery,
  options: CallOptions,
): Promise<ShardAnswer> {
  const segments = uncovered.map((index) => target.segments[index]!)
  const scanned = await searchSegments({ ...target, segments }, query, options)
  const hits = scanned.hits.map((hit) => ({
    ...hit,
    location: { ...hit.location, segment: uncovered[hit.location.segment]! },
  }))
  return {
    hits: mergeHits(answer.hits, hits, query.k),
    contract: answer.contract,
    recallExpected: Math.min(answer.recallExpected, scanned.recallExpected ?? 1),
    rowsScanned: answer.rowsScanned + scanned.rowsScanned,
    bytesScanned: answer.bytesScanned + scanned.bytesScanned,
    searchMs: answer.searchMs + scanned.searchMs,
    waitMs: answer.waitMs + scanned.waitMs,
  }
}
