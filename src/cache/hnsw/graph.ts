import type { Reservation } from '../arena.js'
import type { Evictable } from '../budget.js'
import type { Calibration } from './calibration.js'
import type { GraphRows, GraphRun } from './graph-rows.js'
import type { GraphThread } from './graph-thread.js'

/** Kept in the graph's file beside the graph. */
export interface GraphDescription {
  readonly metric: string
  readonly dimension: number
  readonly runs: readonly GraphRun[]
  readonly calibration: Calibration
  readonly builtAtMs: number
  readonly buildMs: number
}

/** A graph that answers. */
export class Graph implements Evictable {
  readonly thread: GraphThread
  readonly dimension: number
  readonly rows: GraphRows
  calibration: Calibration
  /** When rows were last added, and how long adding all of them took. */
  builtAtMs: number
  buildMs: number
  /** Searches and additions under way. */
  pins = 0
  /** Of the memory budget. */
  readonly reservations: Reservation[] = []
  readonly #leave: () => void

  constructor(of: {
    readonly thread: GraphThread
    readonly dimension: number
    readonly rows: GraphRows
    readonly calibration: Calibration
    readonly builtAtMs: number
    readonly buildMs: number
    /** Lets it go: other collections need its memory. */
    readonly leave: () => void
  }) {
    this.thread = of.thread
    this.dimension = of.dimension
    this.rows = of.rows
    this.calibration = of.calibration
    this.builtAtMs = of.builtAtMs
    this.buildMs = of.buildMs
    this.#leave = of.leave
  }

  get bytes(): number {
    return this.reservations.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** It is searched in memory only. */
  surrender(): boolean {
    return false
  }

  evict(): void {
    this.#leave()
  }
}

/**
 * Bytes of native memory that a graph takes, measured for usearch 2.25: vectors, keys and edges as in its file, and the
 * tables by number and by key, which grow to powers of two.
 */
export function graphBytes(rows: number, dimension: number): number {
  const slots = 2 ** Math.ceil(Math.log2(Math.max(64, rows)))
  return rows * (dimension * 4 + 160) + slots * 100
}
