/** What a graph's thread is told and answers. */
import type { Metric } from '../../core/metric.js'

/** What the thread is started with. */
export interface GraphShape {
  readonly metric: Metric
  readonly dimension: number
}

export type GraphTask =
  /** Nothing: the thread has started. */
  | { readonly kind: 'probe' }
  /** Adds rows under their numbers. `vectors`: float32[rows.length * dimension]. */
  | { readonly kind: 'add'; readonly rows: Uint32Array; readonly vectors: Float32Array }
  /** `query`: float32[dimension]; `candidates`: how many rows to find, which is also how far the search goes. */
  | { readonly kind: 'search'; readonly query: Float32Array; readonly candidates: number }
  /** Writes a sealed graph file, whole and flushed. */
  | { readonly kind: 'save'; readonly path: string; readonly description: string }
  /** Verifies a graph file and takes what is in it. */
  | { readonly kind: 'load'; readonly path: string }

/** The reply to each kind of task. */
export interface GraphReplies {
  readonly probe: null
  readonly add: null
  /** uint32[at most candidates], nearest first by usearch's float32 distances; `ms`: time in usearch. */
  readonly search: { readonly rows: Uint32Array; readonly ms: number }
  readonly save: { readonly bytes: number }
  readonly load: { readonly description: string }
}

export interface GraphRequest {
  readonly id: number
  readonly task: GraphTask
}

export type GraphReply =
  | { readonly id: number; readonly kind: 'done'; readonly reply: GraphReplies[GraphTask['kind']] }
  /** `corrupt`: a file's bytes are at fault, and no defect. */
  | { readonly id: number; readonly kind: 'failed'; readonly corrupt: boolean; readonly message: string }
