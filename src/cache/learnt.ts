import type { Tuning } from './tuning.js'

/** How a codebook's centroids came about, or that it is better without. */
export interface Training {
  readonly atMs: number
  /** Rows of the collection then. */
  readonly rows: number
  /** Mean distance of a row from its centroid, over the rows of then; null until all of them are coded with it. */
  readonly meanRadius: number | null
}

/** What is known of a codebook besides what it is. */
export interface Learnt {
  /** Null when centroids were never trained. */
  readonly training: Training | null
  /** How scans with it are best done; null until that was measured. */
  readonly tuning: Tuning | null
}
