import { type CollectionCounts, noCounts } from './collection-counts.js'
import type { Holdings } from './holdings.js'
import type { CollectionState, CollectionStatistics, ErrorSeen } from './vector-cache.js'

/** @param of.checkedAtMs when a check of the source began last, milliseconds since the epoch; null before the first */
export function describeCollection(of: {
  readonly state: CollectionState
  readonly holdings: Holdings
  readonly checkedAtMs: number | null
  readonly diskBytes: number
  readonly counts: CollectionCounts
  readonly lastError: ErrorSeen | null
}): CollectionStatistics {
  const { state, holdings, checkedAtMs, diskBytes, counts, lastError } = of
  const { parts, versions, upkeep } = holdings
  const version = versions.current
  const skipped = { nullVector: 0, nullId: 0, badVector: 0 }
  for (const { part } of version?.parts ?? []) {
    skipped.nullVector += part.skipped.nullVector
    skipped.nullId += part.skipped.nullId
    skipped.badVector += part.skipped.badVector
  }
  const residents = [...parts.residents]
  const graph = holdings.graph?.statistics() ?? null
  return {
    state,
    index: upkeep.statistics(),
    graph,
    generation: version?.generation ?? null,
    witness: version?.witness ?? null,
    checkedAtMs,
    dimension: version?.dimension ?? null,
    columns: version?.columns ?? [],
    idColumn: version?.idColumn ?? null,
    vectorColumn: version?.vectorColumn ?? null,
    rows: version?.rows ?? null,
    parts: version?.parts.length ?? null,
    segmentsResident: residents.length,
    memoryBytes: residents.reduce((sum, segment) => sum + segment.residentBytes, 0) + (graph?.bytes ?? 0),
    diskBytes,
    skipped,
    ...counts,
    lastError,
  }
}

/** Those of a collection that the cache was not asked for yet. */
export const neverAsked = (diskBytes: number): CollectionStatistics => ({
  state: 'cold',
  index: { kind: 'flat', tried: null, segments: { clustered: 0, flat: 0, plain: 0 }, tuning: null, lastError: null },
  graph: null,
  generation: null,
  witness: null,
  checkedAtMs: null,
  dimension: null,
  columns: [],
  idColumn: null,
  vectorColumn: null,
  rows: null,
  parts: null,
  segmentsResident: 0,
  memoryBytes: 0,
  diskBytes,
  skipped: { nullVector: 0, nullId: 0, badVector: 0 },
  ...noCounts(),
  lastError: null,
})
