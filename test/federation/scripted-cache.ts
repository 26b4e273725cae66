/** A cache and sources whose every step a test decides; searches are brute force. Counts pins. */
import type { BackendAdapter, CollectionInfo } from '../../src/adapters/adapter.js'
import { noCounts } from '../../src/cache/collection-counts.js'
import type {
  AnswerCheck,
  CachedCollection,
  CheckedAnswer,
  CollectionState,
  CollectionStatistics,
  PinnedVersion,
  ShardAnswer,
  ShardHit,
  ShardQuery,
  VectorCache,
} from '../../src/cache/vector-cache.js'
import { systemTimer } from '../../src/core/clock.js'
import type { Cell, Column } from '../../src/core/column.js'
import type { RecallContract, VersionWanted } from '../../src/core/contract.js'
import { GatewayError } from '../../src/core/errors.js'
import { backendId, type CollectionRef, formatCollection, generation } from '../../src/core/generation.js'
import { compareHits } from '../../src/core/hit.js'
import type { RowId } from '../../src/core/id.js'
import { distance, type Metric } from '../../src/core/metric.js'
import { createGateway, type GatewayOptions, localDefault, localSource } from '../../src/federation/create-gateway.js'
import type { Gateway, SourceConfig } from '../../src/federation/gateway.js'
import type { Query } from '../../src/federation/query.js'

export interface ScriptedRow {
  readonly id: RowId
  readonly vector: readonly number[]
  readonly part?: string
  readonly cells?: readonly Cell[]
}

/** One collection; change the fields between calls to script what happens next. */
export interface ScriptedCollection {
  /** `backend/collection` */
  readonly name: string
  metric?: Metric
  model?: string | null
  dimension?: number | null
  columns?: readonly Column[]
  freshness?: 'cheap' | 'remote'
  writable?: boolean
  rows: readonly ScriptedRow[]
  generation?: string
  /** Earlier generations that as_of can still read. */
  held?: Readonly<Record<string, readonly ScriptedRow[]>>
  state?: CollectionState
  /** Of its segments on disk; default: 0. */
  diskBytes?: number
  primingRetryMs?: number | null
  /** Awaited before a pin resolves. */
  pinning?: (wanted: VersionWanted, signal: AbortSignal) => Promise<void>
  /** Awaited before a search answers. */
  searching?: (query: ShardQuery, signal: AbortSignal) => Promise<void>
  /** What checks of its answers find; default: that they are right. */
  checking?: AnswerCheck['run']
  /** Awaited before a refresh ends. */
  refreshing?: () => Promise<void>
  /** What was measured of its scans; default: nothing. */
  tuning?: CollectionStatistics['index']['tuning']
  tried?: { readonly atMs: number; readonly rows: number }
  /** What the shard claims; default: exact. */
  achieves?: RecallContract
}

export const never = (): Promise<never> => new Promise(() => undefined)
/** Hangs until the signal aborts, as a well-behaved source does. */
export const untilAborted = (_: unknown, signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

/** Time stands still unless a test moves it. */
export const clock = { nowMs: 1_000_000, now: () => clock.nowMs, monotonicMs: () => clock.nowMs }

/** What a check finds of an answer that is right. */
export const foundRight: CheckedAnswer = {
  complete: true,
  rowsRead: 1,
  expected: [],
  missed: 0,
  wrong: [],
  segments: [],
}
const unchecked = async (): Promise<CheckedAnswer> => foundRight

export class ScriptedCache implements VectorCache {
  readonly collections = new Map<string, ScriptedCollection>()
  /** By source: awaited before it lists. */
  readonly listings = new Map<string, () => Promise<void>>()
  /** By source, once it was opened. */
  readonly adapters = new Map<string, { closed: boolean; listed: number; prepared: number }>()
  readonly invalidated: string[] = []
  readonly refreshed: string[] = []
  readonly #pinned = new Set<string>()
  pins = 0
  releases = 0
  searches = 0

  async pin(
    collection: CachedCollection,
    wanted: VersionWanted,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<PinnedVersion> {
    const scripted = this.#named(collection.ref)
    await scripted.pinning?.(wanted, signal)
    const current = generation(scripted.generation ?? 'g1')
    let rows = scripted.rows
    let pinned = current
    if (wanted.kind === 'generation' && wanted.generation !== current) {
      const held = scripted.held?.[wanted.generation]
      if (held === undefined)
        throw new GatewayError('LG_GENERATION_EXPIRED', `${scripted.name}: ${wanted.generation} is not held`)
      rows = held
      pinned = generation(wanted.generation)
    }
    this.pins += 1
    this.#pinned.add(scripted.name)
    return this.#version(scripted, rows, pinned)
  }

  #version(scripted: ScriptedCollection, rows: readonly ScriptedRow[], pinned: string): PinnedVersion {
    const { columns = [], metric = 'l2', model = null } = scripted
    const ref = parseName(scripted.name)
    const dimension = scripted.dimension ?? rows[0]?.vector.length ?? null
    let released = false
    const row = (location: { readonly position: number }): ScriptedRow => {
      if (released) throw new Error(`${scripted.name} is read after its release`)
      return rows[location.position]!
    }
    const vector = (location: { readonly position: number }): Float32Array => Float32Array.from(row(location).vector)
    const hit = (position: number, query: ShardQuery): ShardHit => ({
      distance: distance(metric, query.vector, vector({ position })),
      id: row({ position }).id,
      part: row({ position }).part ?? 'p',
      row: position,
      location: { segment: 0, position },
    })
    return {
      ref,
      generation: generation(pinned),
      metric,
      model,
      dimension,
      columns,
      rows: rows.length,
      parts: 1,
      witness: `w-${pinned}`,
      checkedAtMs: clock.nowMs - 5,
      search: async (query, { signal }): Promise<ShardAnswer> => {
        this.searches += 1
        await scripted.searching?.(query, signal)
        const hits = rows
          .map((_, position) => hit(position, query))
          .filter((found) => found.distance <= query.distanceMax)
          .sort((a, b) => compareHits({ ...ref, ...a }, { ...ref, ...b }))
          .slice(0, query.k)
        const contract = scripted.achieves ?? { kind: 'exact' }
        return {
          hits,
          contract,
          recallExpected: null,
          rowsScanned: rows.length,
          bytesScanned: 0,
          searchMs: 1,
          waitMs: 2,
        }
      },
      check: () => ({ run: scripted.checking ?? unchecked }),
      beginSearch: () => null,
      find: async (id) =>
        rows.flatMap((candidate, position) => (candidate.id === id ? [{ segment: 0, position }] : [])),
      id: (location) => row(location).id,
      vectors: async (locations) => locations.map(vector),
      cell: (location, column) => {
        if (columns[column] === undefined) throw new Error(`no column ${column}`)
        return row(location).cells?.[column] ?? null
      },
      release: () => {
        if (released) throw new Error(`${scripted.name} is released twice`)
        released = true
        this.releases += 1
      },
    }
  }

  #named(ref: CollectionRef): ScriptedCollection {
    return this.collections.get(formatCollection(ref))!
  }

  primingRetryMs(ref: CollectionRef): number | null {
    return this.#named(ref).primingRetryMs ?? null
  }

  async refresh({
    ref,
  }: CachedCollection): Promise<{ generation: ReturnType<typeof generation>; changed: boolean; partsPulled: number }> {
    this.refreshed.push(formatCollection(ref))
    await this.#named(ref).refreshing?.()
    return { generation: generation('g1'), changed: false, partsPulled: 0 }
  }

  async invalidate(ref: CollectionRef): Promise<void> {
    this.invalidated.push(formatCollection(ref))
  }

  /** Scripted waits happen in `pin` and `search`. */
  pinAtOnce = (): null => null
  checkBundle = (): Promise<'up-to-date'> => Promise.resolve('up-to-date')
  publishBundle = (): Promise<never> => Promise.reject(new Error('no bundles here'))
  history = (): [] => []
  statistics = () => ({
    memoryBytes: 0,
    memoryBytesMax: 0,
    diskBytes: 0,
    diskBytesMax: 0,
    arenas: 0,
    graphs: { ready: 0, bytes: 0, answered: 0, left: 0 },
  })

  collectionStatistics(ref: CollectionRef): CollectionStatistics {
    const scripted = this.#named(ref)
    const state = scripted.state ?? (this.#pinned.has(scripted.name) ? 'ready' : 'cold')
    const cold = state === 'cold'
    return {
      state,
      generation: null,
      witness: null,
      checkedAtMs: null,
      dimension: cold ? null : (scripted.dimension ?? scripted.rows[0]?.vector.length ?? null),
      columns: [],
      idColumn: null,
      vectorColumn: null,
      rows: cold ? null : scripted.rows.length,
      parts: null,
      graph: null,
      index: {
        kind: 'flat',
        tried: scripted.tried ?? null,
        segments: { clustered: 0, flat: 0, plain: 0 },
        tuning: scripted.tuning ?? null,
        lastError: null,
      },
      segmentsResident: 0,
      memoryBytes: 0,
      diskBytes: scripted.diskBytes ?? 0,
      skipped: { nullVector: 0, nullId: 0, badVector: 0 },
      ...noCounts(),
      lastError: null,
    }
  }

  subscribe = () => () => undefined
  close = (): Promise<void> => Promise.resolve()
}

export function parseName(name: string): CollectionRef {
  const slash = name.indexOf('/')
  return { backend: backendId(name.slice(0, slash)), collection: name.slice(slash + 1) }
}

const unused = (): never => {
  throw new Error('federation reads sources through the cache')
}

const infoOf = (collection: ScriptedCollection): CollectionInfo => ({
  name: parseName(collection.name).collection,
  metric: collection.metric ?? 'l2',
  model: collection.model ?? null,
  writable: collection.writable ?? false,
  freshness: collection.freshness ?? 'cheap',
})

/** A source that lists the scripted collections of its name. */
function scriptedAdapter(name: string, cache: ScriptedCache): BackendAdapter {
  const seen = { closed: false, listed: 0, prepared: 0 }
  cache.adapters.set(name, seen)
  return {
    id: backendId(name),
    async listCollections() {
      seen.listed += 1
      await cache.listings.get(name)?.()
      return [...cache.collections.values()]
        .filter((collection) => parseName(collection.name).backend === name)
        .map(infoOf)
    },
    async prepare() {
      seen.prepared += 1
    },
    generation: unused,
    manifest: unused,
    pullVectors: unused,
    supportsPushdown: () => ({ kind: 'unsupported', reason: 'scripted' }),
    async close() {
      seen.closed = true
    },
  }
}

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

export interface Scripted {
  readonly gateway: Gateway
  readonly cache: ScriptedCache
}

/** A gateway over scripted collections; every backend they name is a source. */
export async function scriptedGateway(
  collections: readonly ScriptedCollection[],
  options: Partial<GatewayOptions> & { readonly listings?: Readonly<Record<string, () => Promise<void>>> } = {},
): Promise<Scripted> {
  const cache = new ScriptedCache()
  for (const [name, listing] of Object.entries(options.listings ?? {})) cache.listings.set(name, listing)
  for (const collection of collections) cache.collections.set(collection.name, collection)
  const gateway = createGateway({
    cache,
    openAdapter: async (config) => scriptedAdapter(config.name, cache),
    detectKind: async () => 'scripted',
    clock,
    timer: systemTimer,
    log: silent,
    consistency: null,
    local: localSource,
    writable: localDefault,
    ...options,
  })
  const backends = new Set(collections.map((collection) => parseName(collection.name).backend))
  for (const backend of backends)
    if (backend !== 'local') await gateway.addSource(sourceConfig(backend), { signal: idle })
  return { gateway, cache }
}

export const sourceConfig = (name: string, options: SourceConfig['options'] = {}): SourceConfig => ({
  name,
  kind: 'scripted',
  uri: null,
  options,
})

/** A signal that never aborts. */
export const idle = new AbortController().signal

/** A parsed query with every default. */
export function query(fields: Partial<Query> & { readonly vector?: readonly number[] } = {}): Query {
  const { vector = [0, 0], ...rest } = fields
  const target = rest.target ?? { kind: 'vector', vector: Float32Array.from(vector) }
  return {
    target,
    k: 10,
    collections: null,
    fusion: null,
    filter: null,
    select: null,
    includeVectors: false,
    recall: { kind: 'exact' },
    distanceMax: Infinity,
    consistency: null,
    asOf: [],
    deadlineMs: 10_000,
    requireComplete: false,
    costBytesMax: Infinity,
    receipt: 'summary',
    canonical: () =>
      target.kind === 'vector'
        ? { vector: Array.from(target.vector), k: rest.k ?? 10 }
        : { row: { collection: formatCollection(target.collection), id: target.id }, k: rest.k ?? 10 },
    ...rest,
  }
}

/** Everything that was asked before has had its turn. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
