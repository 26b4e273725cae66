import type { Dataset } from './dataset.js'

/** One way to search, built over a dataset. */
export interface Engine {
  readonly name: string
  readonly mode: string
  readonly threads: number
  /** What the engine claims of its answers; null when it claims nothing. */
  readonly claim: { readonly kind: 'proven' | 'certified' | 'target'; readonly claimed: number } | null
  readonly buildMs: number
  readonly firstQueryMs: number
  /** Null when the engine does not tell. */
  readonly bytesPerVector: number | null
  /** Row numbers of the nearest, best first. `query`: float32[dimension], borrowed. */
  search(query: Float32Array): readonly number[] | Promise<readonly number[]>
  close(): void | Promise<void>
}

/** Builds the modes of one engine; rejects with a reason when it is not installed. */
export type OpenEngine = (dataset: Dataset, options: EngineOptions) => Promise<readonly Engine[]>

export interface EngineOptions {
  readonly k: number
  readonly seed: number
  readonly modes: readonly string[]
}

/** Runs and times, milliseconds. */
export async function timed<T>(run: () => T | Promise<T>): Promise<{ readonly value: T; readonly ms: number }> {
  const started = performance.now()
  const value = await run()
  return { value, ms: performance.now() - started }
}
