/** Which rows a graph has, and where a version has them. Segments come, go and are re-encoded; runs of parts stay what they are. */
import { type PartKey, partKey } from '../../core/generation.js'
import { lastAtMost } from '../ascending.js'
import { isDeleted } from '../deleted-rows.js'
import type { SegmentRun } from '../segment-description.js'
import type { MaskedSegment } from '../shelf.js'
import type { RowLocation } from '../vector-cache.js'

/** Rows of one part, one after another: the same rows, in the same order, wherever a run of this name is. */
export interface GraphRun {
  readonly part: PartKey
  readonly readIdentity: string
  /** Ordinal of the first. */
  readonly ordinal: number
  readonly rows: number
}

export const runName = ({ part, readIdentity, ordinal, rows }: GraphRun): string =>
  JSON.stringify([part, readIdentity, ordinal, rows])

/** Numbers that stand for no rows: what had them is gone. No version has a run of this name. */
export const gapRun = (rows: number): GraphRun => ({ part: partKey(''), readIdentity: '', ordinal: 0, rows })

/** As much of a version as decides which rows it has. */
export interface VersionRows {
  readonly readIdentity: string
  readonly segments: readonly MaskedSegment[]
}

/** A run of a version's segments that has live rows. */
export interface LiveRun {
  readonly run: GraphRun
  readonly place: RowLocation
}

/** Resident versions only: a run is named by its first row's ordinal. */
export function liveRuns({ readIdentity, segments }: VersionRows): LiveRun[] {
  return segments.flatMap(({ segment: { runs, resident }, masks }, segment) =>
    runs.flatMap(({ part, start, rows }: SegmentRun, index): LiveRun[] =>
      masks[index] === 'all'
        ? []
        : [
            {
              run: { part, readIdentity, ordinal: resident!.ordinals[start]!, rows },
              place: { segment, position: start },
            },
          ],
    ),
  )
}

/** Where a version has a graph's rows. */
export interface Coverage {
  /** The row's place; null when the version does not have it, or it is deleted. */
  place(row: number): RowLocation | null
  /** Rows of the graph in places that are not null but for deletes. */
  readonly rows: number
  /** Rows of the graph that the version has, here or in segments that are scanned. */
  readonly held: number
  /** Of the version's runs, those that the graph lacks. */
  readonly missing: readonly LiveRun[]
  /** Indices of segments that have such runs: none of their rows has a place. */
  readonly uncovered: readonly number[]
  /** What `measure` answered for a filter when it was first asked. */
  share(filter: string, measure: () => number): number
}

/** Filters whose share of rows is remembered. */
const sharesMax = 256

/** Runs of a graph, in the order of their rows' numbers: a run's first row follows the last of the one before. */
export class GraphRows {
  readonly #runs: GraphRun[] = []
  readonly #starts: number[] = []
  #rows = 0
  #coverages = new WeakMap<readonly MaskedSegment[], Coverage>()

  constructor(runs: readonly GraphRun[]) {
    for (const run of runs) this.append(run)
  }

  get runs(): readonly GraphRun[] {
    return this.#runs
  }

  get rows(): number {
    return this.#rows
  }

  append(run: GraphRun): void {
    this.#runs.push(run)
    this.#starts.push(this.#rows)
    this.#rows += run.rows
    this.#coverages = new WeakMap()
  }

  coverage(version: VersionRows): Coverage {
    const known = this.#coverages.get(version.segments)
    if (known !== undefined) return known
    const coverage = this.#cover(version)
    this.#coverages.set(version.segments, coverage)
    return coverage
  }

  #cover(version: VersionRows): Coverage {
    const { segments } = version
    const live = liveRuns(version)
    const indexOf = new Map(this.#runs.map((run, index) => [runName(run), index]))
    const missing = live.filter(({ run }) => !indexOf.has(runName(run)))
    const uncovered = new Set(missing.map(({ place }) => place.segment))
    const places = new Array<RowLocation | null>(this.#runs.length).fill(null)
    let rows = 0
    let held = 0
    for (const { run, place } of live) {
      const index = indexOf.get(runName(run))
      if (index === undefined) continue
      held += run.rows
      if (uncovered.has(place.segment)) continue
      places[index] = place
      rows += run.rows
    }
    const runs = this.#runs.slice()
    const starts = this.#starts.slice()
    const shares = new Map<string, number>()
    return {
      rows,
      held,
      missing,
      uncovered: [...uncovered],
      share(filter, measure) {
        const known = shares.get(filter)
        if (known !== undefined) return known
        if (shares.size >= sharesMax) shares.clear()
        const share = measure()
        shares.set(filter, share)
        return share
      },
      place(row) {
        const index = lastAtMost(starts, row)
        const first = places[index]
        if (first === undefined || first === null) return null
        const offset = row - starts[index]!
        if (offset >= runs[index]!.rows) return null // its run is still being added
        const position = first.position + offset
        const masked = segments[first.segment]!
        const { ordinals } = masked.segment.resident!
        return isDeleted(masked, ordinals, position) ? null : { segment: first.segment, position }
      },
    }
  }
}
