/** From a query to the shards that answer it: which collections, and which version of each. */
import type { CachedCollection, VectorCache } from '../cache/vector-cache.js'
import type { Consistency, VersionWanted } from '../core/contract.js'
import { GatewayError } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import { limits } from '../core/limits.js'
import type { Catalog, Resolved } from './catalog.js'
import type { AsOf, CollectionPattern, Query } from './query.js'
import { checkSpaces, type Space } from './spaces.js'

/** One collection's share of a query. */
export interface Shard {
  readonly collection: CachedCollection
  readonly wanted: VersionWanted
}

export interface Plan {
  /** In law 3's order. */
  readonly shards: readonly Shard[]
  /** Sources that were asked and cannot say which collections they have. */
  readonly unlisted: readonly { readonly ref: CollectionRef; readonly error: GatewayError }[]
}

/** How fresh an answer from a collection must be for the request at hand. */
export type ConsistencyOf = (query: Query, collection: CachedCollection) => Consistency

/** Throws LG_COLLECTION_NOT_FOUND, LG_INVALID_REQUEST (`as_of` that names nothing searched). */
export async function planQuery(catalog: Catalog, query: Query, consistencyOf: ConsistencyOf): Promise<Plan> {
  const { collections } = query
  const atOnce = planAtOnce(catalog, query, consistencyOf)
  return atOnce ?? planOf(await catalog.resolve(collections!, 'collections'), query, consistencyOf)
}

/** The same when no source has to be listed for it; else null. */
export function planAtOnce(catalog: Catalog, query: Query, consistencyOf: ConsistencyOf): Plan | null {
  const { collections } = query
  const resolved = collections === null ? catalog.all() : catalog.resolveAtOnce(collections)
  return resolved === null ? null : planOf(resolved, query, consistencyOf)
}

function planOf(resolved: readonly Resolved[], query: Query, consistencyOf: ConsistencyOf): Plan {
  const shards: Shard[] = []
  const unlisted: Plan['unlisted'][number][] = []
  for (const entry of resolved) {
    if (entry.kind === 'unlisted') unlisted.push(entry)
    else shards.push({ collection: entry.collection, wanted: versionWanted(query, entry.collection, consistencyOf) })
  }
  refuseIdleAsOf(query, resolved)
  return { shards, unlisted }
}

/** The most specific `as_of` entry decides, then the request's consistency, then the collection's default. */
export function versionWanted(query: Query, collection: CachedCollection, consistencyOf: ConsistencyOf): VersionWanted {
  const entry = query.asOf.length === 0 ? undefined : asOfFor(query.asOf, collection.ref)
  if (entry === undefined) return { kind: 'current', consistency: consistencyOf(query, collection) }
  return entry.at
}

/** Where checking is local and cheap, before every query; elsewhere, at most every few seconds. */
export function defaultConsistency(collection: CachedCollection): Consistency {
  return collection.info.freshness === 'cheap' ? { kind: 'fresh' } : { kind: 'ttl', ttlMs: limits.remoteTtlMsDefault }
}

/** The consistency that satisfies both. */
export function stricter(a: Consistency, b: Consistency): Consistency {
  if (a.kind === 'ttl' && b.kind === 'ttl') return a.ttlMs <= b.ttlMs ? a : b
  const order = { fresh: 0, ttl: 1, frozen: 2 }
  return order[a.kind] <= order[b.kind] ? a : b
}

const matches = (pattern: CollectionPattern | null, ref: CollectionRef): boolean =>
  pattern === null ||
  (pattern.backend === ref.backend && (pattern.collection === '*' || pattern.collection === ref.collection))

const specificity = (pattern: CollectionPattern | null): number =>
  pattern === null ? 0 : pattern.collection === '*' ? 1 : 2

const asOfFor = (entries: readonly AsOf[], ref: CollectionRef): AsOf | undefined =>
  entries
    .filter((entry) => matches(entry.pattern, ref))
    .sort((a, b) => specificity(b.pattern) - specificity(a.pattern))[0]

/** An `as_of` that decides nothing is a slip that would answer from another version than meant. */
function refuseIdleAsOf(query: Query, resolved: readonly Resolved[]): void {
  for (const { pattern } of query.asOf) {
    if (pattern === null) continue
    const searched = resolved.some((entry) =>
      entry.kind === 'collection' ? matches(pattern, entry.collection.ref) : entry.ref.backend === pattern.backend,
    )
    const target = query.target.kind === 'row' && matches(pattern, query.target.collection)
    if (searched || target) continue
    const name = `${pattern.backend}/${pattern.collection}`
    throw new GatewayError(
      'LG_INVALID_REQUEST',
      `as_of: "${name}" is none of the collections searched; name one of them`,
      { field: `as_of.${name}` },
    )
  }
}

/**
 * Refuses what can be known to be unmergeable before anything is pulled. What only a pull can tell is checked again on the
 * pinned versions. Writable collections are left to that: they are local, and may have been emptied since.
 */
export function checkKnownSpaces(plan: Plan, query: Query, dimension: number, cache: VectorCache): void {
  if (plan.shards.length < 2) return
  const spaces = plan.shards.flatMap(({ collection: { ref, info } }): Space[] => {
    if (info.writable) return []
    const { dimension, rows } = cache.collectionStatistics(ref)
    return rows === 0 ? [] : [{ name: formatCollection(ref), metric: info.metric, model: info.model, dimension }]
  })
  checkSpaces(spaces, query, dimension)
}
