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
  const distancesOf = async (vector: Float32Array, rows: Uint32Array): Promise<readonly number[]> => {
    const nearest = Array.from(rows).flatMap((row) => coverage.place(row) ?? [])
    const vectors = await vectorsAt(target.segments, nearest.slice(0, depthMax))
    return vectors.map((other) => distance(metric, vector, other))
  }
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
  const strata = depths.flatMap((depth) => {
    const asked = questions.filter(({ distances }) => distances.length >= depth)
    return asked.length === 0 ? [] : [{ depth, ...farThird(asked, depth) }]
  })
  const points: RecallPoint[] = []
  for (const candidates of candidateCounts) {
    const nearOf = new Map<Question, readonly number[]>()
    for (const question of questions) {
      signal.throwIfAborted()
      const { rows } = await thread.run({ kind: 'search', query: question.vector, candidates })
      nearOf.set(question, await distancesOf(question.vector, rows))
    }
    const tried = strata.filter(({ depth }) => depth <= candidates)
    const measured = tried.map(({ depth, asked }) => {
      const found = asked.map((question) => {
        const limit = question.distances[depth - 1]!
        return nearOf
          .get(question)!
          .slice(0, depth)
          .filter((far) => far <= limit).length
      })
      return recallPoint(candidates, depth, found)
    })
    points.push(...measured)
    if (tried.length === strata.length && measured.every(({ recall }) => recall >= recallEnough)) break
  }
  const farthest = strata.map(({ depth, distance }) => ({ depth, distance }))
  return { queries: questions.length, rows: coverage.held, points, farthest }
}

/** The third whose neighbour of this rank is farthest, and how far that of the farthest is. */
function farThird(
  questions: readonly Question[],
  depth: number,
): { readonly asked: readonly Question[]; readonly distance: number } {
  const far = ({ distances }: Question): number => distances[depth - 1]!
  const asked = questions.toSorted((a, b) => far(b) - far(a)).slice(0, Math.ceil(questions.length / 3))
  return { asked, distance: far(asked[0]!) }
}
