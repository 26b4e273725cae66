/** Everything the server and the command line can ask of lakegate. */

import type { CollectionInfo, WriteRequest } from '../adapters/adapter.js'
import type {
  BundleVerdict,
  CacheEvent,
  CacheStatistics,
  CheckedAnswer,
  CollectionStatistics,
  HeldGeneration,
  ShardHit,
} from '../cache/vector-cache.js'
import type { Consistency, RecallContract } from '../core/contract.js'
import type { GatewayError } from '../core/errors.js'
import type { BackendId, CollectionRef } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Answer, Result } from './answer.js'
import type { AuditStatistics } from './audit.js'
import type { Query } from './query.js'
import type { Priming } from './source-settings.js'

export type { BundleVerdict }

interface CallOptions {
  readonly signal: AbortSignal
}

export interface SearchOptions extends CallOptions {
  /** Resolves when the queries that came together have all begun: until then threads may scan for them. Never rejects. */
  readonly together?: () => Promise<void>
}

export interface CollectionSummary {
  readonly ref: CollectionRef
  readonly info: CollectionInfo
  readonly kind: string
  readonly defaultConsistency: Consistency
  readonly statistics: CollectionStatistics
  /** Of its answers; null: answers are not audited. */
  readonly audit: AuditStatistics | null
}

export interface SourceSummary {
  readonly backend: BackendId
  readonly kind: string
  readonly uri: string | null
  readonly prime: Priming
  /** Between background checks; null: there are none. */
  readonly refreshMs: number | null
  /** Null while the source lists well. */
  readonly error: { readonly code: string; readonly message: string } | null
}

/** A source as configuration or POST /v1/sources describes it; options are the gateway's (source-settings.ts) and the kind's own. */
export interface SourceConfig {
  readonly name: string
  readonly kind: string
  readonly uri: string | null
  readonly options: Readonly<Record<string, unknown>>
}

/** A source to add while running: of the kind that its uri is when it names none. */
export interface SourceRequest extends Omit<SourceConfig, 'kind'> {
  readonly kind: string | null
}

export interface ShardPlan {
  readonly ref: CollectionRef
  readonly route: 'cache' | 'pushdown'
  readonly reason: string
  readonly state: string
  readonly consistency: string
  readonly rows: number | null
  readonly dimension: number | null
  readonly metric: string
  /** Parts that would have to be pulled first; null when only the source can tell. */
  readonly partsMissing: number | null
  readonly stages: readonly string[]
}

export interface QueryPlan {
  readonly shards: readonly ShardPlan[]
  readonly contract: string
  readonly deadlineMs: number
}

export interface VerifyResult {
  readonly matches: boolean
  readonly digest: string
  readonly expected: string
  /** Why it could not be decided or differs; null when it matches. */
  readonly reason: string | null
}

/** One collection's answer compared with brute force. */
export interface AuditReport {
  readonly ref: CollectionRef
  readonly generation: string
  /** What the answer claims. */
  readonly contract: RecallContract
  readonly found: readonly ShardHit[]
  readonly checked: CheckedAnswer
  /** Whether the answer alone breaks its contract; a certified one may miss. */
  readonly isBroken: boolean
}

export interface WritableStatus {
  /** Null while the collection does not exist. */
  readonly dimension: number | null
  readonly totalVectors: number
  readonly totalSegments: number
  readonly fileSize: number
  readonly currentEpoch: number
  readonly deadSpaceRatio: number
  readonly readOnly: boolean
}

/** What happened, for /ws/live and logs. */
export type GatewayEvent =
  | { readonly kind: 'cache'; readonly event: CacheEvent }
  | { readonly kind: 'written' | 'deleted'; readonly ref: CollectionRef; readonly rows: number; readonly epoch: number }
  /** An audit's alarm; `fault` says what is wrong without naming rows. */
  | {
      readonly kind: 'certificate-violated'
      readonly ref: CollectionRef
      readonly contract: RecallContract['kind']
      readonly fault: string
    }
  | { readonly kind: 'source-added' | 'source-removed'; readonly backend: BackendId }

export interface Gateway {
  /** Law 1 to 9. Rejects with a GatewayError when nothing could answer. */
  search(query: Query, options: SearchOptions): Promise<Answer>
  /** One answer or error a query, in order; all see the same generations. */
  searchBatch(queries: readonly Query[], options: CallOptions): Promise<readonly (Answer | GatewayError)[]>
  explain(query: Query, options: CallOptions): Promise<QueryPlan>
  verify(
    receipt: {
      readonly request: Readonly<Record<string, unknown>>
      readonly digest: string
      readonly sources: readonly unknown[]
    },
    parse: (request: unknown) => Query,
    options: CallOptions,
  ): Promise<VerifyResult>
  /**
   * Asks a query and compares what each collection answers with brute force over all of its rows. One audit at a time:
   * others are refused with LG_OVERLOADED.
   */
  audit(query: Query, options: CallOptions): Promise<readonly AuditReport[]>
  /** Null: answers are not audited. */
  auditStatistics(): AuditStatistics | null
  row(ref: CollectionRef, id: RowId, want: { readonly includeVector: boolean }, options: CallOptions): Promise<Result>
  collections(options: CallOptions): Promise<readonly CollectionSummary[]>
  collection(ref: CollectionRef, options: CallOptions): Promise<CollectionSummary>
  refresh(
    ref: CollectionRef,
    options: CallOptions,
  ): Promise<{ readonly generation: string; readonly changed: boolean; readonly partsPulled: number }>
  invalidate(ref: CollectionRef, options: CallOptions): Promise<void>
  /** Whether the table.rulake.json beside the source names what is cached. Throws LG_UNSUPPORTED when there is no such place. */
  checkBundle(ref: CollectionRef, options: CallOptions): Promise<BundleVerdict>
  /** Refreshes the collection and writes its table.rulake.json beside the source. */
  publishBundle(
    ref: CollectionRef,
    options: CallOptions,
  ): Promise<{ readonly generation: string; readonly witness: string }>
  history(ref: CollectionRef, options: CallOptions): Promise<readonly HeldGeneration[]>
  cache(): CacheStatistics
  sources(): readonly SourceSummary[]
  addSource(source: SourceRequest, options: CallOptions): Promise<SourceSummary>
  removeSource(backend: BackendId, options: CallOptions): Promise<void>
  /**
   * Writes go to the one writable collection that RVF messages mean. Creates it with the first vectors' dimension and l2.
   * No rows is a write too (the epoch rises), and then `dimension` is 0 and creates nothing.
   */
  ingest(
    request: Omit<WriteRequest, 'collection'>,
    options: CallOptions,
  ): Promise<{ readonly accepted: number; readonly rejected: number; readonly epoch: number }>
  delete(ids: readonly RowId[], options: CallOptions): Promise<{ readonly deleted: number; readonly epoch: number }>
  writableStatus(options: CallOptions): Promise<WritableStatus>
  /** Ready when every source has been listed once (or has said why not); priming is not waited for. */
  ready(): boolean
  subscribe(listener: (event: GatewayEvent) => void): () => void
  close(): Promise<void>
}
