import type { Dataset } from './dataset.js'

/** Row numbers of the nearest, best first. */
export type Neighbours = readonly number[]

/** An answer of an engine in another process, which times itself so that the way there does not count. */
export interface TimedNeighbours {
  readonly ids: Neighbours
  readonly us: number
}

type Answer = Neighbours | TimedNeighbours

/** `query`: float32[dimension], borrowed. */
export type Search = (query: Float32Array) => Answer | Promise<Answer>

/** One way to search, built over a dataset. */
export interface Engine {
  readonly name: string
  /** What is asked of it; the same in every report. */
  readonly mode: string
  /** How it was built and tuned for that; null when there is nothing to say. */
  readonly settings: string | null
  readonly threads: number
  /** What the engine claims of its answers; null when it claims nothing. */
  readonly claim: { readonly kind: 'proven' | 'certified' | 'target'; readonly claimed: number } | null
  readonly buildMs: number
  readonly firstQueryMs: number
  /** Null when the engine does not tell. */
  readonly bytesPerVector: number | null
  readonly search: Search
  close(): void | Promise<void>
}

export interface EngineOptions {
  readonly k: number
  readonly seed: number
}

/** Runs and times, milliseconds. */
export async function timed<T>(run: () => T | Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const started = performance.now()
  const value = await run()
  return { value, ms: performance.now() - started }
}

/** Answers and times one search, in microseconds. */
export async function askOnce(search: Search, query: Float32Array): Promise<TimedNeighbours> {
  const begun = performance.now()
  const answer = search(query)
  const found = answer instanceof Promise ? await answer : answer
  const us = (performance.now() - begun) * 1000
  return 'ids' in found ? found : { ids: found, us }
}

/** Nothing was searched before; milliseconds. */
export async function firstQueryMs(search: Search, dataset: Dataset): Promise<number> {
  return (await askOnce(search, dataset.queries.subarray(0, dataset.dimension))).us / 1000
}
