import type { Clock } from '../core/clock.js'
import type { Gateway } from '../federation/gateway.js'
import type { Cancellation } from './cancellation.js'
import type { Metrics } from './metrics.js'
import type { QueryRules } from './parse-query.js'

/** What every route needs. */
export interface ServerContext {
  readonly gateway: Gateway
  readonly rules: QueryRules
  readonly clock: Clock
  readonly cancellation: Cancellation
  readonly metrics: Metrics
}
