/** What sources would have to read for a query, held against what its caller allows (`max_cost`). */
import type { BackendAdapter } from '../adapters/adapter.js'
import type { CachedCollection, VectorCache } from '../cache/vector-cache.js'
import { GatewayError } from '../core/errors.js'
import { formatCollection } from '../core/generation.js'
import type { Catalog } from './catalog.js'
import type { Plan } from './planner.js'
import type { Query } from './query.js'

/**
 * Throws LG_TOO_LARGE with the numbers when first pulls would read more than `costBytesMax`, and what a source's own
 * estimate fails with: spending what nobody could estimate is what the caller ruled out.
 */
export async function checkCost(
  plan: Plan,
  query: Query,
  context: { readonly catalog: Catalog; readonly cache: VectorCache },
  signal: AbortSignal,
): Promise<void> {
  const asked = new Map(plan.shards.map(({ collection }) => [formatCollection(collection.ref), collection]))
  if (query.target.kind === 'row') {
    const collection = await context.catalog.collection(query.target.collection, 'row')
    asked.set(formatCollection(collection.ref), collection)
  }
  const costs = await Promise.all(
    Array.from(asked, async ([name, collection]) => ({
      name,
      bytes: await pullBytes(collection, context.cache, signal),
    })),
  )
  const bytes = costs.reduce((sum, cost) => sum + cost.bytes, 0)
  if (bytes <= query.costBytesMax) return
  const shares = costs.flatMap((cost) => (cost.bytes > 0 ? [`${cost.name} ${cost.bytes}`] : []))
  throw new GatewayError(
    'LG_TOO_LARGE',
    `max_cost.bytes: expected at most ${query.costBytesMax}, but first pulls would read an estimated ${bytes} bytes (${shares.join(', ')}); raise it, or search fewer collections`,
    { field: 'max_cost.bytes' },
  )
}

/** Bytes that the first pull of a collection would read from its source; 0 when there is no first pull to come. */
async function pullBytes({ ref, adapter }: CachedCollection, cache: VectorCache, signal: AbortSignal): Promise<number> {
  const { state, generation, diskBytes } = cache.collectionStatistics(ref)
  if (state === 'priming' || generation !== null || diskBytes > 0) return 0
  if (adapter.estimate !== undefined) return (await adapter.estimate(ref.collection, { signal })).bytes
  return manifestBytes(adapter, ref.collection, signal)
}

async function manifestBytes(adapter: BackendAdapter, collection: string, signal: AbortSignal): Promise<number> {
  try {
    const manifest = await adapter.manifest(collection, await adapter.generation(collection, { signal }), { signal })
    return manifest.parts.reduce((sum, part) => sum + (part.bytes ?? 0), 0)
  } catch {
    // The pull begins with the same calls: it meets this failure, reads nothing and names it (law 5).
    return 0
  }
}
