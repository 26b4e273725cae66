/** Other engines, built; and their effort, turned up until they reach a recall. */
import type { Dataset } from '../dataset.js'
import type { EngineOptions, Search } from '../engine.js'

/** Searches with one setting of an index. */
export interface Searcher {
  readonly search: Search
  close(): void
}

/** What an engine trades time for recall with, such as the candidates that a graph search keeps. */
export interface Effort {
  readonly name: string
  readonly min: number
  readonly max: number
}

/** An index of another engine. */
export interface Peer {
  readonly engine: string
  /** The kind of index; `exact` when it computes every distance. */
  readonly kind: string
  readonly version: string
  /** What it was built with; the engine's own recommendations. */
  readonly settings: string
  readonly buildMs: number
  /** Of the index as the engine stores it, vectors included; null when it does not tell. */
  readonly bytesPerVector: number | null
  /** Null when there is nothing to turn. */
  readonly effort: Effort | null
  /** @param effort  a whole number in the peer's range; ignored when it has none */
  at(effort: number): Searcher | Promise<Searcher>
  close(): void | Promise<void>
}

/** Builds one index of an engine; rejects with a reason when the engine is not installed. */
export type OpenPeer = (dataset: Dataset, options: EngineOptions) => Promise<Peer>

export const nothingToClose = (): void => undefined
