/** How many candidates a graph must look at for a wanted recall: measured on rows it did not have, never assumed. */

/** Numbers of neighbours that recall is measured for. Answers that reach deeper than the last are not for the graph. */
export const depths = [1, 2, 5, 10, 20, 50, 100] as const
export const depthMax = 100
/** Numbers of candidates that are tried, until the deepest answers are whole. */
export const candidateCounts = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024] as const

/** What searches with so many candidates found of the `depth` nearest. */
export interface RecallPoint {
  readonly candidates: number
  readonly depth: number
  /** Mean over the third of the held-out rows whose neighbours are farthest: queries are farther from rows than rows are. */
  readonly recall: number
  /** What the mean over all queries like these is at least, with 95 % confidence. */
  readonly recallAtLeast: number
}

export interface Calibration {
  /** Held-out rows that were searched for. */
  readonly queries: number
  /** Rows of the graph then. */
  readonly rows: number
  /** By candidates, then depth, both ascending. */
  readonly points: readonly RecallPoint[]
  /** Of every depth measured, the distance of the farthest neighbour of that rank: queries with farther ones are unlike all that were tried. */
  readonly farthest: readonly { readonly depth: number; readonly distance: number }[]
}

/** One-sided, 95 %, of the normal distribution. */
const confidence = 1.645

/**
 * @param found of every query, how many of the `depth` nearest it found
 */
export function recallPoint(candidates: number, depth: number, found: readonly number[]): RecallPoint {
  const queries = found.length
  const recalls = found.map((count) => count / depth)
  const mean = recalls.reduce((sum, recall) => sum + recall, 0) / queries
  const variance = recalls.reduce((sum, recall) => sum + (recall - mean) ** 2, 0) / Math.max(1, queries - 1)
  // Where nothing was missed the spread says nothing; then misses are rarer than 3 in as many trials (the rule of three).
  const recallAtLeast = Math.min(mean - confidence * Math.sqrt(variance / queries), 1 - 3 / (queries * depth))
  return { candidates, depth, recall: mean, recallAtLeast: Math.max(0, recallAtLeast) }
}

/** The cheapest search whose `depth` nearest have the wanted expected recall; null when no measured one does. */
export function chooseSearch(calibration: Calibration, depth: number, recall: number): RecallPoint | null {
  // Recall falls with depth: what holds for a deeper answer holds for this one.
  const measured = depths.find((candidate) => candidate >= depth)
  if (measured === undefined) return null
  return calibration.points.find((point) => point.depth === measured && point.recallAtLeast >= recall) ?? null
}

/** Whether a query whose neighbour of this rank is so far is like those that recall was measured with. */
export function isLike({ farthest }: Calibration, depth: number, distance: number): boolean {
  const measured = farthest.find((candidate) => candidate.depth >= depth)
  return measured !== undefined && distance <= measured.distance
}

/** Of two measurements of one graph, the lower where both measured: either may be of queries that are harder. */
export function lowerOf(a: Calibration, b: Calibration): Calibration {
  const points = new Map<string, RecallPoint>()
  for (const point of [...a.points, ...b.points]) {
    const name = `${point.candidates} ${point.depth}`
    const other = points.get(name)
    if (other === undefined || point.recallAtLeast < other.recallAtLeast) points.set(name, point)
  }
  const ordered = [...points.values()].sort((x, y) => x.candidates - y.candidates || x.depth - y.depth)
  return { queries: b.queries, rows: b.rows, points: ordered, farthest: b.farthest }
}
