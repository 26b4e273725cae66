/** A collection that asks for a graph, small enough to be built in a moment. */
import type { VectorCacheHandle } from '../../src/cache/create-vector-cache.js'
import type { CachedCollection, GraphStatistics, IndexKind, ShardAnswer } from '../../src/cache/vector-cache.js'
import { seededRandom } from '../../src/core/clock.js'
import type { VersionWanted } from '../../src/core/contract.js'
import { distance, type Metric } from '../../src/core/metric.js'
import type { Predicate } from '../../src/core/predicate.js'
import { fresh, never } from './open-cache.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

export const dimension = 8
/** Collections of fewer rows get neither clusters nor a graph. */
export const clusteredRowsMin = 1500

const random = seededRandom(29)
export const queries = Array.from({ length: 20 }, () =>
  Float32Array.from({ length: dimension }, () => random() * 2 - 1),
)

/** Files of so many rows, with ids counting through all of them and an int column `tens`: the id modulo 10. */
export function sourceOf(files: readonly number[], metric: Metric = 'l2'): ScriptedSource {
  const source = new ScriptedSource(dimension, metric)
  source.columns = [{ name: 'tens', type: { kind: 'int' } }]
  let first = 0
  for (const [index, rows] of files.entries()) {
    addFile(source, `file ${index}`, rows, first)
    first += rows
  }
  return source
}

export function addFile(source: ScriptedSource, name: string, rows: number, firstId: number): void {
  const cells = [Array.from({ length: rows }, (_, i) => BigInt((firstId + i) % 10))]
  source.files.set(name, { ...randomFile('1', rows, dimension, random, BigInt(firstId)), cells })
}

/** The same object for every query, as a catalog hands it out. */
export const collectionOf = (source: ScriptedSource, index: IndexKind = 'hnsw'): CachedCollection => ({
  ...source.collection(),
  index,
})

export const graphOf = (cache: VectorCacheHandle, { ref }: CachedCollection): GraphStatistics =>
  cache.collectionStatistics(ref).graph!

/** Asks for a target recall; waits until the background is done first, so that a graph that can answer does. */
export async function askTarget(
  cache: VectorCacheHandle,
  collection: CachedCollection,
  vector: Float32Array,
  more: {
    readonly recall?: number
    readonly k?: number
    readonly filter?: Predicate
    readonly wanted?: VersionWanted
    readonly distanceMax?: number
  } = {},
): Promise<ShardAnswer> {
  const pinned = await cache.pin(collection, more.wanted ?? fresh, { signal: never })
  try {
    return await pinned.search(
      {
        vector,
        k: more.k ?? 10,
        contract: { kind: 'target', recall: more.recall ?? 0.9 },
        filter: more.filter ?? null,
        distanceMax: more.distanceMax ?? Number.POSITIVE_INFINITY,
      },
      { signal: never },
    )
  } finally {
    pinned.release()
  }
}

/** Primes and waits for the graph. */
export async function buildGraph(cache: VectorCacheHandle, collection: CachedCollection): Promise<GraphStatistics> {
  await askTarget(cache, collection, queries[0]!)
  await cache.settled()
  return graphOf(cache, collection)
}

/** Live rows of the source that pass, nearest first. */
export function nearest(
  source: ScriptedSource,
  vector: Float32Array,
  k: number,
  passes: (id: bigint) => boolean = () => true,
): readonly { readonly id: bigint; readonly distance: number }[] {
  const rows: { id: bigint; distance: number }[] = []
  for (const { ids, vectors, deleted } of source.files.values())
    for (let row = 0; row < ids.length; row++) {
      const id = ids[row] as bigint
      if (deleted?.ordinals.includes(row) || !passes(id)) continue
      const at = vectors.subarray(row * source.dimension, (row + 1) * source.dimension)
      rows.push({ id, distance: distance(source.metric, vector, at) })
    }
  return rows.sort((a, b) => a.distance - b.distance || Number(a.id - b.id)).slice(0, k)
}

/** Mean share of the true nearest in answers to all queries. */
export async function recallOf(
  cache: VectorCacheHandle,
  source: ScriptedSource,
  collection: CachedCollection,
  more: { readonly recall: number; readonly k: number },
): Promise<number> {
  let found = 0
  for (const vector of queries) {
    const { hits } = await askTarget(cache, collection, vector, more)
    const ids = new Set(hits.map(({ id }) => id))
    found += nearest(source, vector, more.k).filter(({ id }) => ids.has(id)).length
  }
  return found / (queries.length * more.k)
}
