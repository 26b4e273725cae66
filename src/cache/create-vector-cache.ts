import { setMaxListeners } from 'node:events'
import type { Clock, Random } from '../core/clock.js'
import { GatewayError, shuttingDown } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import type { ArenaPool } from './arena.js'
import { MemoryBudget } from './budget.js'
import { readBundleWitness, writeBundle } from './bundle.js'
import type { CacheLog } from './cache-log.js'
import { Collection } from './collection.js'
import { neverAsked } from './collection-statistics.js'
import type { KernelExecutor } from './executor.js'
import { type FileSystem, nodeFileSystem } from './file-system.js'
import { clusteredRowsMin } from './index-plan.js'
import { noStore, openStore } from './store.js'
import type { CachedCollection, CacheEvent, CacheStatistics, GraphStatistics, VectorCache } from './vector-cache.js'

export interface VectorCacheOptions {
  /** Where segments outlive the process; null: memory only. Created when missing, locked until close. */
  readonly directory: string | null
  /** Arenas of all collections; its `bytesMax` is the memory budget. The cache is its only user. */
  readonly pool: ArenaPool
  readonly diskBytesMax: number
  /** Borrowed: close it after the cache. */
  readonly executor: KernelExecutor
  readonly clock: Clock
  /** Seeds rotations: must not be guessable by whoever chooses vectors and queries (law 6). */
  readonly random: Random
  readonly log: CacheLog
  /** Collections of fewer rows get no clusters; default: where they begin to pay. */
  readonly clusteredRowsMin?: number
  readonly fileSystem?: FileSystem
}

/** A cache with a way to await what goes on in the background. */
export interface VectorCacheHandle extends VectorCache {
  /** Resolves when the background has nothing left to improve or to write to disk, and what that needed is given back. */
  settled(): Promise<void>
  /** The same, without waiting for graphs that are being built: what is there by then is on disk. */
  stored(): Promise<void>
}

/** Opens the cache. Throws LG_LOCK_HELD when another process has the directory. */
export async function createVectorCache(options: VectorCacheOptions): Promise<VectorCacheHandle> {
  const { directory, pool, diskBytesMax, executor, clock, random, log } = options
  const store =
    directory === null
      ? noStore
      : await openStore({ directory, bytesMax: diskBytesMax, fileSystem: options.fileSystem ?? nodeFileSystem, log })
  const budget = new MemoryBudget(pool)
  const collections = new Map<string, Collection>()
  const listeners = new Set<(event: CacheEvent) => void>()
  const closing = new AbortController()
  setMaxListeners(0, closing.signal) // every check and pull listens, and Node takes more than ten for a leak
  let background: Promise<void> = Promise.resolve()

  const inBackground = (task: () => Promise<void>): void => {
    background = background.then(task).catch((error: unknown) => {
      if (!closing.signal.aborted) log.warn({ err: error }, 'background work of the cache failed')
    })
  }
  const emit = (event: CacheEvent): void => {
    if (event.kind === 'index-failed')
      log.warn(
        { collection: formatCollection(event.ref), code: event.error.code, err: event.error },
        `the index stays as it is, and is tried again later: ${event.error.message}`,
      )
    for (const listener of listeners) listener(event)
  }
  const collectionOf = (source: CachedCollection): Collection => {
    if (closing.signal.aborted) throw shuttingDown()
    const name = formatCollection(source.ref)
    const known = collections.get(name)
    if (known !== undefined) return known
    const { ref } = source
    const files = store.collection(ref)
    const lifetime = closing.signal
    const made = new Collection(source, {
      ref,
      files,
      budget,
      executor,
      clock,
      random,
      clusteredRowsMin: options.clusteredRowsMin ?? clusteredRowsMin,
      emit,
      inBackground,
      lifetime,
    })
    collections.set(name, made)
    return made
  }
  const whenDone = async (done: (collection: Collection) => Promise<unknown>): Promise<void> => {
    for (let seen: Promise<void> | null = null; seen !== background; ) {
      seen = background
      await Promise.all(Array.from(collections.values(), done))
      await background
    }
  }
  const find = (ref: CollectionRef): Collection | undefined => collections.get(formatCollection(ref))

  return {
    pin: async (source, wanted, { signal }) => collectionOf(source).pin(source, wanted, signal),
    pinAtOnce: (source, wanted) => collectionOf(source).pinAtOnce(source, wanted),
    primingRetryMs: (ref) => find(ref)?.primingRetryMs() ?? null,
    refresh: async (source, { signal }) => collectionOf(source).refresh(source, signal),
    async invalidate(ref) {
      const collection = find(ref)
      if (collection === undefined) await store.collection(ref).remove()
      else await collection.invalidate()
    },
    async checkBundle(source, path, { signal }) {
      const published = await readBundleWitness(path)
      if (published === null) return 'bundle-missing'
      const current = await collectionOf(source).current(source, signal)
      return current?.witness === published ? 'up-to-date' : 'invalidated'
    },
    async publishBundle(source, into, { signal, piiPolicy }) {
      const current = await collectionOf(source).current(source, signal)
      if (current === null)
        throw new GatewayError(
          'LG_PRIMING',
          `${formatCollection(source.ref)}: nothing is cached yet; query or refresh it first`,
        )
      const { generation, dimension, witness } = current
      const dataRef = formatCollection(source.ref)
      await writeBundle(into, { dataRef, dimension: dimension ?? 0, generation, piiPolicy }, signal)
      return { generation, witness }
    },
    history: (ref) => find(ref)?.history() ?? [],
    statistics: () => ({
      memoryBytes: pool.bytesCommitted,
      memoryBytesMax: pool.bytesMax,
      diskBytes: store.bytes,
      diskBytesMax: directory === null ? 0 : diskBytesMax,
      arenas: pool.arenaCount,
      graphs: graphTotals([...collections.values()].flatMap((collection) => collection.graph() ?? [])),
    }),
    collectionStatistics: (ref) => find(ref)?.statistics() ?? neverAsked(store.collection(ref).bytes),
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async settled() {
      await whenDone((collection) => Promise.all([collection.indexed(), collection.graphBuilt()]))
      await pool.giveBackEmpty()
    },
    stored: () => whenDone((collection) => collection.indexed()),
    async close() {
      if (closing.signal.aborted) return
      closing.abort(shuttingDown())
      await Promise.all([...collections.values()].map((collection) => collection.close()))
      await background
      await store.close()
    },
  }
}

const graphTotals = (graphs: readonly GraphStatistics[]): CacheStatistics['graphs'] =>
  graphs.reduce(
    (sum, { rows, bytes, answered, left }) => ({
      ready: sum.ready + (rows > 0 ? 1 : 0),
      bytes: sum.bytes + bytes,
      answered: sum.answered + answered,
      left: sum.left + left,
    }),
    { ready: 0, bytes: 0, answered: 0, left: 0 },
  )
