/** Options of a source that are the gateway's to read, whatever the kind; adapters never see them. */
import { GatewayError } from '../core/errors.js'
import { limits } from '../core/limits.js'
import type { SourceConfig } from './gateway.js'

/** When a source's collections are pulled for the first time: by the first query, or as soon as the source was added. */
export const primings = ['first_query', 'eager'] as const
export type Priming = (typeof primings)[number]

export interface SourceSettings {
  /** Time between the end of one background check and the start of the next; null: only queries check. */
  readonly refreshMs: number | null
  readonly prime: Priming
}

/**
 * Takes the gateway's options out of a source's; what is left is the adapter's. Throws LG_INVALID_REQUEST naming the option,
 * LG_UNSUPPORTED for `pii_policy`.
 */
export function readSourceSettings(config: SourceConfig): {
  readonly settings: SourceSettings
  readonly adapterConfig: SourceConfig
} {
  const {
    refresh_ms: refreshMs = null,
    prime = 'first_query',
    pii_policy: piiPolicy = null,
    ...options
  } = config.options
  if (piiPolicy !== null)
    throw new GatewayError(
      'LG_UNSUPPORTED',
      `source "${config.name}": pii_policy: a PII policy is not supported yet; remove this option`,
      { field: 'pii_policy' },
    )
  if (refreshMs !== null && !isInterval(refreshMs))
    throw invalid(
      config,
      'refresh_ms',
      `a whole number from ${limits.refreshMsMin} to ${limits.refreshMsMax}`,
      refreshMs,
    )
  const priming = primings.find((candidate) => candidate === prime)
  if (priming === undefined) throw invalid(config, 'prime', primings.map((value) => `"${value}"`).join(' or '), prime)
  return { settings: { refreshMs, prime: priming }, adapterConfig: { ...config, options } }
}

const isInterval = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= limits.refreshMsMin && (value as number) <= limits.refreshMsMax

const invalid = (config: SourceConfig, field: string, expected: string, found: unknown): GatewayError =>
  new GatewayError(
    'LG_INVALID_REQUEST',
    `source "${config.name}": ${field}: expected ${expected}, got ${JSON.stringify(found)}`,
    { field },
  )
