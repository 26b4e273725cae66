import type { CachedCollection, PinnedVersion, RowLocation, VectorCache } from '../cache/vector-cache.js'
import type { VersionWanted } from '../core/contract.js'
import { GatewayError } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Catalog } from './catalog.js'
import type { Deadline } from './deadline.js'
import type { Pins } from './pins.js'

interface RowRequest {
  readonly ref: CollectionRef
  readonly id: RowId
  readonly wanted: (collection: CachedCollection) => VersionWanted
  /** How the caller spells where the row was named; errors start with it. */
  readonly field: string
}

interface RowContext {
  readonly catalog: Catalog
  readonly cache: VectorCache
  readonly pins: Pins
  readonly deadline: Deadline
}

/**
 * Reads one row of a pinned version; of rows that share the id, the first in (part, row) order.
 * Throws LG_COLLECTION_NOT_FOUND, LG_ROW_NOT_FOUND, LG_PRIMING, LG_DEADLINE_EXCEEDED and what pinning throws.
 */
export async function readRow<T>(
  { ref, id, wanted, field }: RowRequest,
  { catalog, cache, pins, deadline }: RowContext,
  read: (version: PinnedVersion, location: RowLocation) => T | Promise<T>,
): Promise<T> {
  const collection = await deadline.race(catalog.collection(ref, field))
  const reading = pins.use(collection, wanted(collection), async (version) => {
    const [location] = await version.find(id, { signal: deadline.signal })
    if (location !== undefined) return read(version, location)
    const text = typeof id === 'bigint' ? `${id}` : JSON.stringify(id)
    throw new GatewayError(
      'LG_ROW_NOT_FOUND',
      `${field}: ${formatCollection(ref)} has no row ${text} at generation ${version.generation}`,
      { field },
    )
  })
  try {
    return await deadline.race(reading)
  } catch (error) {
    const retryAfterMs = deadline.state === 'expired' ? cache.primingRetryMs(ref) : null
    throw retryAfterMs === null ? error : primingError(formatCollection(ref), retryAfterMs)
  }
}

/** @param names collections whose first pull is under way */
export const primingError = (names: string, retryAfterMs: number): GatewayError =>
  new GatewayError('LG_PRIMING', `${names}: the first pull is still running; ask again in ${retryAfterMs} ms`, {
    retryAfterMs,
  })
