/** Options of a source that are the gateway's to read, whatever the kind; adapters never see them. */

import { type IndexKind, indexKinds } from '../cache/vector-cache.js'
import { GatewayError } from '../core/errors.js'
import { limits } from '../core/limits.js'

/** When a source's collections are pulled for the first time: by the first query, or as soon as the source was added. */
export const primings = ['first_query', 'eager'] as const
export type Priming = (typeof primings)[number]

/** A shorter interval would keep the source busy with nothing else. */
export const refreshMsMin = 100

export interface SourceSettings {
  /** Time between the end of one background check and the start of the next; null: only queries check. */
  readonly refreshMs: number | null
  readonly prime: Priming
  readonly index: IndexKind
  /** Published in table.rulake.json for those who read it; not acted upon here. */
  readonly piiPolicy: string | null
}

/** As much of a source's configuration as is read here. */
interface Configured {
  readonly name: string
  readonly options: Readonly<Record<string, unknown>>
}

/** Takes the gateway's options out of a source's; what is left is the adapter's. Throws LG_INVALID_REQUEST naming the option. */
export function readSourceSettings<C extends Configured>(
  config: C,
): { readonly settings: SourceSettings; readonly adapterConfig: C } {
  const { refresh_ms = null, prime = 'first_query', pii_policy = null, index = 'auto', ...options } = config.options
  const invalid = (field: string, expected: string, found: unknown): GatewayError =>
    new GatewayError(
      'LG_INVALID_REQUEST',
      `source "${config.name}": ${field}: expected ${expected}, got ${JSON.stringify(found)}`,
      { field },
    )
  const choose = <T extends string>(field: string, choices: readonly T[], found: unknown): T => {
    const choice = choices.find((candidate) => candidate === found)
    if (choice === undefined) throw invalid(field, choices.map((value) => `"${value}"`).join(' or '), found)
    return choice
  }
  const settings = { prime: choose('prime', primings, prime), index: choose('index', indexKinds, index) }
  if (refresh_ms !== null && !isInterval(refresh_ms))
    throw invalid('refresh_ms', `a whole number from ${refreshMsMin} to ${limits.refreshMsMax}`, refresh_ms)
  if (pii_policy !== null && !isBundleText(pii_policy))
    throw invalid('pii_policy', `a text of 1 to ${limits.bundleStringBytesMax} bytes`, pii_policy)
  return {
    settings: { ...settings, refreshMs: refresh_ms, piiPolicy: pii_policy },
    adapterConfig: { ...config, options },
  }
}

const isInterval = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= refreshMsMin && (value as number) <= limits.refreshMsMax

const isBundleText = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && Buffer.byteLength(value, 'utf8') <= limits.bundleStringBytesMax
