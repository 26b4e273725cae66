import type { Consistency, RecallContract } from '../core/contract.js'
import type { CollectionRef } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Predicate } from '../core/predicate.js'

/** Where the query vector comes from. */
export type QueryVector =
  /** float32[dimension], finite. */
  | { readonly kind: 'vector'; readonly vector: Float32Array }
  /** Nearest to an existing row (which is itself part of the answer). */
  | { readonly kind: 'row'; readonly collection: CollectionRef; readonly id: RowId }

/** Which collections: all, or patterns `backend/collection`, `backend/*`. */
export type CollectionPattern = { readonly backend: string; readonly collection: string | '*' }

/** A time (milliseconds since the epoch) or a generation, for collections that match the pattern; null pattern = all. */
export interface AsOf {
  readonly pattern: CollectionPattern | null
  readonly at:
    | { readonly kind: 'time'; readonly atMs: number }
    | { readonly kind: 'generation'; readonly generation: string }
}

/** A parsed, bounded request. Everything is decided; nothing is optional. */
export interface Query {
  readonly target: QueryVector
  readonly k: number
  /** Null: every collection, which must then share dimension, metric and model. */
  readonly collections: readonly CollectionPattern[] | null
  readonly fusion: 'rrf' | null
  readonly filter: Predicate | null
  /** Metadata columns to return: null none asked, so all that the collection has; [] none. */
  readonly select: readonly string[] | null
  readonly includeVectors: boolean
  readonly recall: RecallContract
  /** Inclusive; Infinity for none. */
  readonly distanceMax: number
  /** Null: the collection's default. */
  readonly consistency: Consistency | null
  readonly asOf: readonly AsOf[]
  readonly deadlineMs: number
  readonly requireComplete: boolean
  /** Bytes that sources may read for this query; Infinity for no limit. */
  readonly costBytesMax: number
  readonly receipt: 'none' | 'summary' | 'full'
  /** The request as the caller wrote it, canonicalised: what a full receipt repeats and `verify` runs again. Made when asked for. */
  canonical(): Readonly<Record<string, unknown>>
}
