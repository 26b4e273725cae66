/** A receipt in one sentence a source: coverage, freshness, certainty. */
import { formatCount } from './table.js'

/** The part of a wire receipt that people are told. */
export interface WireReceipt {
  readonly complete: boolean
  readonly certificate: WireCertificate
  readonly sources: readonly WireSource[]
}

interface WireCertificate {
  readonly kind: string
  readonly miss_probability?: number
  readonly recall_expected?: number
}

interface WireSource {
  readonly backend: string
  readonly collection: string
  readonly status: string
  readonly reason?: string
  readonly retry_after_ms?: number
  readonly generation?: string
  readonly rows?: number
  readonly freshness?: { readonly age_ms: number; readonly policy: string }
}

function certainty(certificate: WireCertificate): string {
  switch (certificate.kind) {
    case 'proven':
      return 'proven: no row is nearer than these'
    case 'certified':
      return `certified: a nearer row is missing with probability at most ${certificate.miss_probability}`
    case 'target':
      return `estimated: about ${Math.round((certificate.recall_expected ?? 0) * 1000) / 10} % of the true nearest rows`
    default:
      return 'fused by rank: distances of different spaces were not compared'
  }
}

function coverage(source: WireSource): string {
  const name = `${source.backend}/${source.collection}`
  if (source.status !== 'ok') {
    const retry = source.retry_after_ms === undefined ? '' : `, try again in ${source.retry_after_ms} ms`
    return `${name} did not answer (${source.status}${source.reason === undefined ? '' : `: ${source.reason}`}${retry})`
  }
  const rows = source.rows === undefined ? 'all rows' : `all ${formatCount(source.rows)} rows`
  const age = source.freshness === undefined ? '' : `, checked ${Math.round(source.freshness.age_ms)} ms ago`
  const generation = source.generation === undefined ? '' : ` at generation ${source.generation}`
  return `${rows} of ${name}${generation}${age}`
}

/** One or more sentences without a newline. */
export function describeReceipt(receipt: WireReceipt): string {
  const answered = receipt.sources.filter((source) => source.status === 'ok')
  const silent = receipt.sources.filter((source) => source.status !== 'ok')
  const covered = answered.length === 0 ? 'Nothing was searched' : `Searched ${answered.map(coverage).join('; ')}`
  const missing = silent.length === 0 ? '' : ` Not complete: ${silent.map(coverage).join('; ')}.`
  return `${covered}; ${certainty(receipt.certificate)}.${missing}`
}
