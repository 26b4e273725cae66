/** Searches a graph for rows that it does not have yet, and counts which of their true neighbours it finds. */
import { setImmediate } from 'node:timers/promises'
import { distance, type Metric } from '../../core/metric.js'
import { type SearchTarget, searchSegments } from '../search.js'
import { vectorsAt } from '../shelf.js'
import type { RowLocation } from '../vector-cache.js'
import { type Calibration, candidateCounts, depthMax, depths, type RecallPoint, recallPoint } from './calibration.js'
import type { Coverage } from './graph-rows.js'
import type { GraphThread } from './graph-thread.js'

/** At this recall more candidates are not tried. */
const recallEnough = 0.9995

/** Held-out rows come up among neighbours, but are not in the graph. */
const spare = 1.3

/** One held-out row with its nearest in the graph. */
interface Question {
  readonly vector: Float32Array
  /** Ascending, at most `depthMax`. */
  readonly distances: Float64Array
}

/**
 * @param target pinned; brute force over it (proven, so equal to it) says what the neighbours are
 * @param heldOut numbers of rows that the graph does not have; deleted ones are passed over
 */
export async function measureRecall(
  of: {
    readonly thread: GraphThread
    readonly metric: Metric
    readonly target: SearchTarget
    readonly coverage: Coverage
    readonly heldOut: readonly number[]
  },
  signal: AbortSignal,
): Promise<Calibration> {
  const { thread, metric, target, coverage, heldOut } = of
  const questions: Question[] = []
  const name = ({ segment, position }: RowLocation): string => `${segment} ${position}`
  const places = heldOut.flatMap((row) => coverage.place(row) ?? [])
  const out = new Set(places.map(name))
  for (const place of places) {
    signal.throwIfAborted()
    const [vector] = await vectorsAt(target.segments, [place])
    const k = Math.ceil(depthMax * spare)
    const { hits } = await searchSegments(
      target,
      { vector: vector!, k, contract: { kind: 'exact' }, filter: null, distanceMax: Number.POSITIVE_INFINITY },
      { signal },
    )
    const nearest = hits
      .filter(({ location }) => !out.has(name(location)) && !coverage.uncovered.includes(location.segment))
      .slice(0, depthMax)
    questions.push({ vector: vector!, distances: Float64Array.from(nearest, (hit) => hit.distance) })
    await setImmediate() // queries go first
  }
  const points: RecallPoint[] = []
  for (const candidates of candidateCounts) {
    const found = depths.map((): number[] => [])
    for (const { vector, distances } of questions) {
      signal.throwIfAborted()
      const { rows } = await thread.run({ kind: 'search', query: vector, candidates })
      const nearest = Array.from(rows).flatMap((row) => coverage.place(row) ?? [])
      const vectors = await vectorsAt(target.segments, nearest.slice(0, depthMax))
      const near = vectors.map((other) => distance(metric, vector, other))
      for (const [i, depth] of depths.entries()) {
        if (distances.length < depth) continue
        const limit = distances[depth - 1]!
        found[i]!.push(near.slice(0, depth).filter((far) => far <= limit).length)
      }
    }
    for (const [i, depth] of depths.entries())
      if (depth <= candidates && found[i]!.length > 0) points.push(recallPoint(candidates, depth, found[i]!))
    if (candidates >= depthMax && points.slice(-depths.length).every(({ recall }) => recall >= recallEnough)) break
  }
  return { queries: questions.length, rows: coverage.held, points }
}
