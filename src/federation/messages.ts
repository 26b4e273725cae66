/** What the pool and its worker threads say to each other. */

import type { Compared, CompareWork } from '../cache/compare-rows.js'
import type { ArenaHandle } from '../cache/executor.js'
import type { EncodeWork, ScanWork } from '../cache/kernel.js'
import type { Hits } from '../cache/scan-hits.js'
import type { TrainingCall } from '../cache/training-call.js'
import type { ServeScans } from './scan-thread.js'

export type WorkerTask =
  /** Ends when the ring is closed, or nothing was put into it for some seconds. */
  | ({ readonly kind: 'serve' } & ServeScans)
  /** Does nothing: measures the way there and back. */
  | { readonly kind: 'ping' }
  | { readonly kind: 'encode'; readonly arena: ArenaHandle; readonly slot: number; readonly work: EncodeWork }
  | { readonly kind: 'scan'; readonly arena: ArenaHandle; readonly slot: number; readonly work: ScanWork }
  | { readonly kind: 'forget'; readonly arenaId: number }
  | { readonly kind: 'compare'; readonly work: CompareWork }
  | { readonly kind: 'train'; readonly arena: ArenaHandle; readonly slot: number; readonly call: TrainingCall }

/** The reply to each kind of task. `ms`: time in the kernel. */
export interface WorkerReplies {
  readonly ping: null
  readonly serve: null
  readonly encode: { readonly maxima: Float64Array; readonly ms: number }
  readonly compare: Compared
  readonly train: { readonly ms: number }
  /** Who has forgotten it. */
  readonly forget: { readonly threadId: number }
  readonly scan: { readonly hits: Hits; readonly ms: number }
}
