/** Adds rows of a version to a graph and measures the recall it has then. */
import { setImmediate } from 'node:timers/promises'
import { GatewayError } from '../../core/errors.js'
import type { Metric } from '../../core/metric.js'
import type { SearchTarget } from '../search.js'
import type { Segment } from '../segment.js'
import { startReading, stopReading } from '../shelf.js'
import { isResident, type Version } from '../versions.js'
import { type Calibration, lowerOf } from './calibration.js'
import { GraphRows, type GraphRun, gapRun, liveRuns, runName } from './graph-rows.js'
import type { GraphThread } from './graph-thread.js'
import { measureRecall } from './measure-recall.js'

/** Rows kept out until recall was measured with them: at most so many, and this share of what is added. */
const heldOutMax = 1000
const heldOutShare = 1 / 20
/** Recall is measured again when the graph has so many times the rows. */
const remeasureFactor = 1.25

/** How long a search may have to wait for rows being added, milliseconds: when there are searches, and when not. */
const batchMs = { serving: 4, building: 25 }
const batchRowsMin = 8
const batchRowsMax = 4096
/** Rows looked at for a batch before others get their turn. */
const lookedAtMax = 65_536

export interface GraphBuild {
  readonly thread: GraphThread
  /** What is in the graph. What is added enters when all of it is there. */
  readonly rows: GraphRows
  /** Of these rows; null: never measured. */
  readonly calibration: Calibration | null
  readonly metric: Metric
  readonly dimension: number
  /** Whether the graph is searched meanwhile. */
  readonly serving: boolean
  current(): Version | null
  searchTarget(version: Version): SearchTarget
  /** Told how many rows more are in the graph. */
  onAdded(rows: number): void
}

/** Rows being added, and their numbers: `first` and those after it. */
interface Piece {
  readonly run: GraphRun
  readonly first: number
}

/**
 * Adds runs of the current version. Answers the calibration that holds from then on. Runs that the version loses
 * meanwhile are not added. Throws LG_OVER_BUDGET when rows left memory meanwhile.
 */
export async function extendGraph(
  build: GraphBuild,
  runs: readonly GraphRun[],
  signal: AbortSignal,
): Promise<Calibration> {
  const { rows, calibration } = build
  let end = rows.rows
  const pieces = runs.map((run): Piece => {
    const first = end
    end += run.rows
    return { run, first }
  })
  const added = end - rows.rows
  const isMeasured = calibration === null || end >= remeasureFactor * calibration.rows
  const heldOut = isMeasured ? spread(rows.rows, added, liveOf(build, runs)) : new Set<number>()
  const adding = new Adding(build, signal)
  try {
    const gone = new Set<Piece>()
    const addEach = async (wanted: (row: number) => boolean): Promise<void> => {
      for (const piece of pieces) if (!gone.has(piece) && !(await adding.add(piece, wanted))) gone.add(piece)
    }
    const extended = (): GraphRun[] => pieces.map((piece) => (gone.has(piece) ? gapRun(piece.run.rows) : piece.run))
    await addEach((row) => !heldOut.has(row))
    let measured: Calibration | null = null
    if (heldOut.size > 0) {
      measured = await measure(build, new GraphRows([...rows.runs, ...extended()]), heldOut, signal)
      await addEach((row) => heldOut.has(row))
    }
    for (const run of extended()) rows.append(run)
    if (measured === null) return calibration!
    return calibration === null ? measured : lowerOf(calibration, measured)
  } catch (error) {
    rows.append(gapRun(added)) // their numbers are taken
    throw error
  }
}

/** Of rows to be added, by number: whether the version has them, not deleted. */
function liveOf(build: GraphBuild, runs: readonly GraphRun[]): (row: number) => boolean {
  const coverage = new GraphRows([...build.rows.runs, ...runs]).coverage(residentVersion(build))
  return (row) => coverage.place(row) !== null
}

/** Evenly spread numbers of live rows from `first` on: each the next one that is live, because deletes may have a rhythm of their own. */
function spread(first: number, count: number, isLive: (row: number) => boolean): ReadonlySet<number> {
  const wanted = Math.min(heldOutMax, Math.floor(count * heldOutShare))
  const chosen = new Set<number>()
  for (let i = 0; i < wanted; i++) {
    const end = first + Math.floor(((i + 1) * count) / wanted)
    let row = first + Math.floor(((i + 0.5) * count) / wanted)
    while (row < end && !isLive(row)) row++
    if (row < end) chosen.add(row)
  }
  return chosen
}

async function measure(
  build: GraphBuild,
  rows: GraphRows,
  heldOut: ReadonlySet<number>,
  signal: AbortSignal,
): Promise<Calibration> {
  const { thread, metric } = build
  const version = residentVersion(build)
  startReading(version.segments)
  try {
    const coverage = rows.coverage(version)
    return await measureRecall(
      { thread, metric, target: build.searchTarget(version), coverage, heldOut: [...heldOut] },
      signal,
    )
  } finally {
    stopReading(version.segments)
  }
}

function residentVersion({ current }: GraphBuild): Version {
  const version = current()
  if (version !== null && isResident(version)) return version
  throw new GatewayError('LG_OVER_BUDGET', 'cache.memory: the rows left memory while their graph was built', {
    field: 'cache.memory',
  })
}

/** Where a run is. */
interface Place {
  readonly segment: Segment
  readonly position: number
}

/** Copies rows to the thread, a batch at a time, wherever the background has put them by then. */
class Adding {
  readonly #build: GraphBuild
  readonly #signal: AbortSignal
  readonly #places = new WeakMap<Version['segments'], ReadonlyMap<string, Place>>()
  #batchRows = batchRowsMin

  constructor(build: GraphBuild, signal: AbortSignal) {
    this.#build = build
    this.#signal = signal
  }

  /** Adds those of the piece's rows that are wanted by number; false when the current version does not have them any more. */
  async add({ run, first }: Piece, wanted: (row: number) => boolean): Promise<boolean> {
    for (let next = 0; next < run.rows; ) {
      this.#signal.throwIfAborted()
      const place = this.#find(run)
      if (place === null) return false
      const numbers: number[] = []
      const positions: number[] = []
      const end = Math.min(run.rows, next + lookedAtMax)
      for (; next < end && numbers.length < this.#batchRows; next++) {
        if (!wanted(first + next)) continue
        numbers.push(first + next)
        positions.push(place.position + next)
      }
      if (numbers.length > 0) await this.#send(numbers, await readPinned(place.segment, positions))
      else await setImmediate()
    }
    return true
  }

  async #send(numbers: readonly number[], rows: readonly Float32Array[]): Promise<void> {
    const { thread, dimension, serving, onAdded } = this.#build
    const vectors = new Float32Array(rows.length * dimension)
    for (const [i, row] of rows.entries()) vectors.set(row, i * dimension)
    const started = performance.now()
    await thread.run({ kind: 'add', rows: Uint32Array.from(numbers), vectors }, [vectors.buffer])
    const perMs = rows.length / Math.max(0.01, performance.now() - started)
    const wanted = Math.round(perMs * (serving ? batchMs.serving : batchMs.building))
    this.#batchRows = Math.min(batchRowsMax, Math.max(batchRowsMin, Math.min(wanted, 2 * this.#batchRows)))
    onAdded(rows.length)
    await setImmediate() // queries go first
  }

  #find(run: GraphRun): Place | null {
    const version = residentVersion(this.#build)
    let places = this.#places.get(version.segments)
    if (places === undefined) {
      places = new Map(
        liveRuns(version).map(({ run, place }) => [
          runName(run),
          { segment: version.segments[place.segment]!.segment, position: place.position },
        ]),
      )
      this.#places.set(version.segments, places)
    }
    return places.get(runName(run)) ?? null
  }
}

/** The segment may leave memory between two batches, not during one. */
async function readPinned(segment: Segment, positions: readonly number[]): Promise<Float32Array[]> {
  segment.startReading()
  try {
    return await segment.vectors(positions)
  } finally {
    segment.stopReading()
  }
}
