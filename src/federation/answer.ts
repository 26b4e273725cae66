import type { Cell, ColumnType } from '../core/column.js'
import type { ErrorCode } from '../core/errors.js'
import type { BackendId } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Metric } from '../core/metric.js'

export interface ResultField {
  readonly name: string
  readonly type: ColumnType
  readonly value: Cell
}

export interface Result {
  readonly id: RowId
  readonly distance: number
  readonly backend: BackendId
  readonly collection: string
  readonly metadata: readonly ResultField[] | null
  readonly vector: Float32Array | null
}

/** Law 6. `fused` claims nothing about distances: ranks were merged. */
export type Certificate =
  | { readonly kind: 'proven' }
  | { readonly kind: 'certified'; readonly missProbability: number }
  | { readonly kind: 'target'; readonly recallTarget: number; readonly recallExpected: number }
  | { readonly kind: 'fused' }

interface SourceBase {
  readonly backend: BackendId
  readonly collection: string
}

/** What became of one shard. A source that did not answer says why and when to try again. */
export type SourceReceipt =
  | (SourceBase & {
      readonly status: 'ok'
      readonly metric: Metric
      readonly certificate: Certificate
      readonly generation: string
      readonly witness: string
      readonly rows: number
      readonly route: 'cache' | 'pushdown'
      readonly freshness: { readonly checkedAtMs: number; readonly ageMs: number; readonly policy: string }
      readonly searchMs: number
      readonly waitMs: number
      readonly bytesScanned: number
    })
  | (SourceBase & {
      readonly status: 'failed'
      readonly code: ErrorCode
      readonly reason: string
      readonly retryAfterMs: number | null
    })
  | (SourceBase & { readonly status: 'skipped'; readonly reason: string; readonly retryAfterMs: number | null })
  | (SourceBase & { readonly status: 'priming'; readonly retryAfterMs: number })

export interface Receipt {
  /** Every source that was asked answered in full. */
  readonly complete: boolean
  /** Null when ranks of several metrics were fused, and when nothing was searched. */
  readonly metric: Metric | null
  readonly k: number
  readonly certificate: Certificate
  readonly sources: readonly SourceReceipt[]
  /** With receipt "full" only. */
  readonly request: Readonly<Record<string, unknown>> | null
  /** sha256, hex, of the RFC 8785 JSON of { request, generations, ids and distances }. */
  readonly digest: string | null
}

export interface Answer {
  readonly results: readonly Result[]
  /** Null when the caller wanted none. */
  readonly receipt: Receipt | null
}

/**
 * A distance as callers see it and digests cover it: float32, never -0; float64 where float32 would overflow, since JSON
 * has no Infinity. Answers are ordered by the float64 behind it.
 */
export function wireDistance(distance: number): number {
  const rounded = Math.fround(distance)
  return (Number.isFinite(rounded) ? rounded : distance) + 0
}
