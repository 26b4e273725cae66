import type { Generation } from '../core/generation.js'

/** A stretch of checks that all saw one generation. */
export interface Sighting {
  readonly generation: Generation
  /** When the first check that saw it ended. */
  readonly firstSeenMs: number
  /** When the last check that saw it began. */
  lastSeenMs: number
  /** What was cached of it; null until it was. */
  summary: { readonly witness: string; readonly rows: number; readonly parts: number } | null
}

const sightingsMax = 256

/**
 * What the source was seen at, and when. Between two checks that saw the same generation, with no other in between, the
 * source is taken to have been there all along.
 */
export class Sightings {
  /** Oldest first. */
  readonly #list: Sighting[]

  constructor(list: readonly Sighting[]) {
    this.#list = list.map((sighting) => ({ ...sighting }))
  }

  get newest(): Readonly<Sighting> | null {
    return this.#list.at(-1) ?? null
  }

  /** Oldest first. */
  list(): readonly Readonly<Sighting>[] {
    return this.#list
  }

  lastSeenMs(generation: Generation): number | null {
    return this.#list.findLast((sighting) => sighting.generation === generation)?.lastSeenMs ?? null
  }

  record(generation: Generation, check: { readonly startMs: number; readonly endMs: number }): void {
    const newest = this.#list.at(-1)
    if (newest?.generation === generation) {
      newest.lastSeenMs = Math.max(newest.lastSeenMs, check.startMs)
      return
    }
    const summary = this.#list.findLast((sighting) => sighting.generation === generation)?.summary ?? null
    this.#list.push({ generation, firstSeenMs: check.endMs, lastSeenMs: check.startMs, summary })
    if (this.#list.length > sightingsMax) this.#list.shift()
  }

  /** Says what was cached of a generation. */
  describe(version: {
    readonly generation: Generation
    readonly witness: string
    readonly rows: number
    readonly parts: readonly unknown[]
  }): void {
    const { generation, witness, rows, parts } = version
    for (const sighting of this.#list)
      if (sighting.generation === generation) sighting.summary = { witness, rows, parts: parts.length }
  }

  /** The generation the source had at a time, or null when no two checks bracket it. */
  at(timeMs: number): Generation | null {
    const bracket = this.#list.find(({ firstSeenMs, lastSeenMs }) => firstSeenMs <= timeMs && timeMs <= lastSeenMs)
    return bracket?.generation ?? null
  }
}
