import type { RecordBatch } from 'apache-arrow' // a type: core depends on nothing at run time
import type { RowId } from './id.js'

/** Rows left out of a batch since the one before it, by reason. */
export interface SkippedRows {
  readonly nullVector: number
  readonly nullId: number
  /** Wrong length, null element, NaN or Inf; only with on_bad_row = "skip". */
  readonly badVector: number
}

export type IdValues = BigInt64Array | BigUint64Array | readonly RowId[]

/** Some rows of one part, in source order. Ownership passes to the receiver. */
export interface VectorBatch {
  readonly count: number
  readonly dimension: number
  /** float32[count * dimension], row-major, all finite. */
  readonly vectors: Float32Array
  /** uint32[count]: each row's number inside its part, counting skipped rows too; strictly ascending over a pull. */
  readonly ordinals: Uint32Array
  /** count ids. */
  readonly ids: IdValues
  /** count rows of metadata columns in the order of the manifest's columns, or null when there are none. */
  readonly metadata: RecordBatch | null
  readonly skipped: SkippedRows
}
