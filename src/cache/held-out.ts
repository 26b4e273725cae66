/** Rows of a collection that stand for queries. */
import type { RecallContract } from '../core/contract.js'
import type { ScanChoice } from './executor.js'
import type { RowLocation } from './vector-cache.js'

/** A row that stands for a query: it is not among its own neighbours. */
export interface HeldOut {
  readonly vector: Float32Array
  readonly row: RowLocation
}

/** Searches for the k nearest neighbours of a held-out row: their distances, ascending, and the time it took, microseconds. */
export type Ask = (
  row: HeldOut,
  k: number,
  contract: RecallContract,
  choice: ScanChoice,
) => Promise<{ readonly distances: readonly number[]; readonly us: number }>
