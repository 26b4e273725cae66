import { setMaxListeners } from 'node:events'
import { onTestFinished } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { createVectorCache, type VectorCacheHandle } from '../../src/cache/create-vector-cache.js'
import type { KernelExecutor } from '../../src/cache/executor.js'
import type { FileSystem } from '../../src/cache/file-system.js'
import type { CachedCollection, PinnedVersion, ShardAnswer } from '../../src/cache/vector-cache.js'
import { type Clock, seededRandom } from '../../src/core/clock.js'
import type { VersionWanted } from '../../src/core/contract.js'
import { compareIds, type RowId } from '../../src/core/id.js'
import { distance } from '../../src/core/metric.js'
import { openPool } from '../../src/federation/pool.js'
import type { ScriptedSource } from './scripted-source.js'

export const never = new AbortController().signal
setMaxListeners(0, never) // many tests wait with it at once
export const fresh: VersionWanted = { kind: 'current', consistency: { kind: 'fresh' } }
export const frozen: VersionWanted = { kind: 'current', consistency: { kind: 'frozen' } }
export const ttl = (ttlMs: number): VersionWanted => ({ kind: 'current', consistency: { kind: 'ttl', ttlMs } })

/** A clock that stands still until told. */
export class ManualClock implements Clock {
  ms = 1_700_000_000_000
  now(): number {
    return this.ms
  }
  monotonicMs(): number {
    return this.ms
  }
}

interface Opened {
  readonly cache: VectorCacheHandle
  readonly clock: ManualClock
  readonly pool: ArenaPool
  readonly warnings: string[]
  /** The errors that came with them. */
  readonly warnedOf: unknown[]
}

/** A cache on an executor without threads. Closed when the test ends. */
export async function openCache(
  options: {
    readonly directory?: string
    readonly memoryBytesMax?: number
    readonly diskBytesMax?: number
    readonly fileSystem?: FileSystem
    readonly clock?: ManualClock
    readonly executor?: KernelExecutor
    readonly clusteredRowsMin?: number
  } = {},
): Promise<Opened> {
  const executor = options.executor ?? openPool({ workers: 0 })
  const pool = new ArenaPool({
    bytesMax: options.memoryBytesMax ?? 512 * 1024 * 1024,
    scratchSlots: executor.scratchSlots,
    forget: (arenaId) => executor.forget(arenaId),
  })
  const clock = options.clock ?? new ManualClock()
  const warnings: string[] = []
  const warnedOf: unknown[] = []
  const cache = await createVectorCache({
    directory: options.directory ?? null,
    pool,
    diskBytesMax: options.diskBytesMax ?? 1024 * 1024 * 1024,
    executor,
    clock,
    random: seededRandom(1),
    log: {
      info: () => {},
      warn(fields, message) {
        warnings.push(message)
        if ('err' in fields) warnedOf.push(fields.err)
      },
    },
    ...(options.clusteredRowsMin === undefined ? {} : { clusteredRowsMin: options.clusteredRowsMin }),
    ...(options.fileSystem === undefined ? {} : { fileSystem: options.fileSystem }),
  })
  onTestFinished(async () => {
    await cache.close()
    if (options.executor === undefined) await executor.close()
  })
  return { cache, clock, pool, warnings, warnedOf }
}

/** Pins, asks for the k nearest exactly, releases. */
export async function ask(
  cache: VectorCacheHandle,
  source: CachedCollection,
  vector: Float32Array,
  wanted: VersionWanted = fresh,
  k = 10,
): Promise<ShardAnswer & { readonly generation: string }> {
  const pinned = await cache.pin(source, wanted, { signal: never })
  try {
    return { ...(await searchExactly(pinned, vector, k)), generation: pinned.generation }
  } finally {
    pinned.release()
  }
}

export const searchExactly = (pinned: PinnedVersion, vector: Float32Array, k = 10): Promise<ShardAnswer> =>
  pinned.search(
    { vector, k, contract: { kind: 'exact' }, filter: null, distanceMax: Number.POSITIVE_INFINITY },
    { signal: never },
  )

/** Every live row of the source by brute force: the k nearest as [id, distance]. */
export function bruteForce(
  source: ScriptedSource,
  vector: Float32Array,
  k = 10,
): readonly (readonly [RowId, number])[] {
  const rows: [RowId, number, string, number][] = []
  for (const [name, { ids, vectors, deleted, key }] of source.files) {
    const dead = new Set(deleted?.ordinals)
    for (let row = 0; row < ids.length; row++) {
      if (dead.has(row)) continue
      const at = row * source.dimension
      rows.push([
        ids[row]!,
        distance(source.metric, vector, vectors.subarray(at, at + source.dimension)),
        `${name} ${key}`,
        row,
      ])
    }
  }
  rows.sort((a, b) => a[1] - b[1] || compareIds(a[0], b[0]) || (a[2] < b[2] ? -1 : a[2] > b[2] ? 1 : a[3] - b[3]))
  return rows.slice(0, k).map(([id, far]) => [id, far] as const)
}

export const idsAndDistances = (answer: ShardAnswer): readonly (readonly [RowId, number])[] =>
  answer.hits.map((hit) => [hit.id, hit.distance] as const)
