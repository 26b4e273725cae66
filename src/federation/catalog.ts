/** The configured sources and the collections they list. */
import type { BackendAdapter } from '../adapters/adapter.js'
import { requireUsearch } from '../cache/hnsw/usearch.js'
import type { CachedCollection } from '../cache/vector-cache.js'
import type { Clock } from '../core/clock.js'
import { GatewayError, shuttingDown, toGatewayError } from '../core/errors.js'
import { type BackendId, backendId, type CollectionRef, formatCollection } from '../core/generation.js'
import { compareUtf8 } from '../core/id.js'
import { suggestion } from '../core/suggestion.js'
import type { SourceConfig, SourceSummary } from './gateway.js'
import type { Log } from './log.js'
import type { CollectionPattern } from './query.js'
import { readSourceSettings, type SourceSettings } from './source-settings.js'

/** What a pattern stands for: a collection, or a source that cannot say which collections it has. */
export type Resolved =
  | { readonly kind: 'collection'; readonly collection: CachedCollection }
  /** `collection` is as the caller wrote it, `*` when all were asked. */
  | { readonly kind: 'unlisted'; readonly ref: CollectionRef; readonly error: GatewayError }

export type OpenSource = (config: SourceConfig) => Promise<BackendAdapter>

export interface Catalog {
  /**
   * Opens and lists a source; a name that is taken gets a suffix -2. A mistake in the configuration rejects and adds
   * nothing; a source that is only unavailable is added with its error and tried again.
   */
  add(config: SourceConfig): Promise<SourceSummary>
  /** Forgets the source and closes its adapter; returns the collections it had. Throws LG_NOT_FOUND. */
  remove(backend: BackendId): Promise<readonly CollectionRef[]>
  /** Every collection of every source, in law 3's order; a source that failed to list stands for itself. */
  all(): readonly Resolved[]
  /** Collections that match a pattern, in law 3's order. Throws LG_COLLECTION_NOT_FOUND. */
  resolve(patterns: readonly CollectionPattern[], field: string): Promise<readonly Resolved[]>
  /** The same when every one of them is listed already; else null. */
  resolveAtOnce(patterns: readonly CollectionPattern[]): readonly Resolved[] | null
  /** One collection. Throws LG_COLLECTION_NOT_FOUND, or why the source could not be listed. */
  collection(ref: CollectionRef, field: string): Promise<CachedCollection>
  /** Lists a source again; rejects when that fails, and what was known stays. */
  relist(backend: BackendId): Promise<void>
  adapter(backend: BackendId): BackendAdapter | null
  /** Whether the last listing has it. */
  has(ref: CollectionRef): boolean
  kind(backend: BackendId): string
  /** Null for a source that is not there. */
  settings(backend: BackendId): SourceSettings | null
  sources(): readonly SourceSummary[]
  /** Whether no source is still being listed for the first time. */
  ready(): boolean
  close(): Promise<void>
}

interface Source {
  /** Without the gateway's own options. */
  readonly config: SourceConfig
  readonly settings: SourceSettings
  readonly backend: BackendId
  adapter: BackendAdapter | null
  /** Null until a listing succeeded. */
  collections: ReadonlyMap<string, CachedCollection> | null
  /** Why the last listing failed. */
  error: GatewayError | null
  failures: number
  /** Clock time of the last listing, good or bad. */
  listedAtMs: number
  /** The listing under way; callers share it. */
  listing: Promise<void> | null
  readonly removed: AbortController
}

/** A source that does not list within this time is unavailable. */
const listingMsMax = 30_000
/** A failed source is tried again after this time, doubled with every failure. */
const retryMsMin = 1000
const retryMsMax = 60_000
/** A name that is not listed makes a source list again at most this often. */
const relistMsMin = 1000

export function createCatalog(options: {
  readonly openAdapter: OpenSource
  /** Whether the cache has rows of it, in memory or on disk. */
  readonly isHeld: (ref: CollectionRef) => boolean
  readonly clock: Clock
  readonly log: Log
}): Catalog {
  const { openAdapter, isHeld, clock, log } = options
  const sources = new Map<BackendId, Source>()
  /** Names of sources that are being opened and not yet seen by queries. */
  const opening = new Set<string>()
  let everything: readonly Resolved[] | null = null

  const readListing = async (source: Source): Promise<void> => {
    const signal = AbortSignal.any([source.removed.signal, AbortSignal.timeout(listingMsMax)])
    try {
      source.adapter ??= await openAdapter(source.config)
      refuseIdlePolicy(source.adapter, source.settings)
      await requireIndex(source.backend, source.settings)
      const infos = await source.adapter.listCollections({ signal })
      const { adapter, backend } = source
      if (infos.some(({ name }) => !isHeld({ backend, collection: name }))) await adapter.prepare?.({ signal })
      const { index } = source.settings
      source.collections = new Map(
        infos.map((info) => [info.name, { ref: { backend, collection: info.name }, adapter, info, index }]),
      )
      source.error = null
      source.failures = 0
    } catch (cause) {
      source.error = listingError(source.backend, cause)
      source.failures += 1
      throw source.error
    } finally {
      source.listedAtMs = clock.now()
      source.listing = null
      everything = null
    }
  }
  const list = (source: Source): Promise<void> => {
    source.listing ??= readListing(source)
    return source.listing
  }

  const retryDue = (source: Source): boolean =>
    clock.now() - source.listedAtMs >= Math.min(retryMsMax, retryMsMin * 2 ** (source.failures - 1))

  /** Tries failed sources again beside the query that met them. */
  const retryBeside = (source: Source): void => {
    if (source.listing !== null || !retryDue(source)) return
    list(source).then(
      () => log.info({ backend: source.backend }, 'source lists again'),
      (error: unknown) => log.warn({ backend: source.backend, err: error }, 'source still fails to list'),
    )
  }

  const freeName = (wanted: string): string => {
    const taken = (name: string): boolean => sources.has(backendId(name)) || opening.has(name)
    let name = wanted
    for (let i = 2; taken(name); i++) name = `${wanted}-${i}`
    return name
  }

  const notFound = (ref: CollectionRef, field: string): GatewayError => {
    const known = [...sources.values()].flatMap((source) =>
      [...(source.collections?.values() ?? [])].map((entry) => formatCollection(entry.ref)),
    )
    const name = formatCollection(ref)
    const what = sources.has(ref.backend) ? 'collection' : 'source'
    return new GatewayError(
      'LG_COLLECTION_NOT_FOUND',
      `${field}: no ${what} for "${name}"${suggestion(name, known)}; GET /v1/collections lists them`,
      { field },
    )
  }

  /** @param alone nothing else could answer, so a failed source is worth waiting for */
  const resolveOne = async (
    pattern: CollectionPattern,
    field: string,
    alone: boolean,
  ): Promise<readonly Resolved[]> => {
    const ref: CollectionRef = { backend: backendId(pattern.backend), collection: pattern.collection }
    const source = sources.get(ref.backend)
    if (source === undefined) throw notFound(ref, field)
    const named = (): CachedCollection | undefined => source.collections?.get(ref.collection)
    if (source.collections === null && !alone) retryBeside(source)
    else if (
      source.collections === null
        ? source.listing !== null || retryDue(source)
        : ref.collection !== '*' && named() === undefined && clock.now() - source.listedAtMs >= relistMsMin
    )
      await list(source).catch((error: unknown) => log.warn({ backend: source.backend, err: error }, 'listing failed'))
    if (source.collections === null) return [{ kind: 'unlisted', ref, error: source.error! }]
    if (ref.collection === '*')
      return [...source.collections.values()].map((collection) => ({ kind: 'collection', collection }))
    const collection = named()
    if (collection === undefined) throw notFound(ref, field)
    return [{ kind: 'collection', collection }]
  }

  const summary = (source: Source): SourceSummary => ({
    backend: source.backend,
    kind: source.config.kind,
    uri: source.config.uri,
    prime: source.settings.prime,
    refreshMs: source.settings.refreshMs,
    error: source.error === null ? null : { code: source.error.code, message: source.error.message },
  })

  return {
    async add(config) {
      const name = freeName(config.name)
      const { settings, adapterConfig } = readSourceSettings({ ...config, name })
      const source: Source = {
        config: adapterConfig,
        settings,
        backend: backendId(name),
        adapter: null,
        collections: null,
        error: null,
        failures: 0,
        listedAtMs: clock.now(),
        listing: null,
        removed: new AbortController(),
      }
      opening.add(name)
      try {
        await list(source)
      } catch (error) {
        if (toGatewayError(error).retry !== 'later') {
          await source.adapter?.close()
          throw error
        }
        log.warn({ backend: source.backend, err: error }, 'source is not available; it will be tried again')
      } finally {
        opening.delete(name)
      }
      sources.set(source.backend, source)
      everything = null
      return summary(source)
    },

    async remove(backend) {
      const source = sources.get(backend)
      if (source === undefined) throw new GatewayError('LG_NOT_FOUND', `there is no source "${backend}"`)
      sources.delete(backend)
      everything = null
      source.removed.abort(new GatewayError('LG_SOURCE_UNAVAILABLE', `source "${backend}" was removed`))
      await source.adapter?.close()
      return [...(source.collections?.values() ?? [])].map((entry) => entry.ref)
    },

    all() {
      everything ??= inOrder(
        [...sources.values()].flatMap((source): Resolved[] =>
          source.collections === null
            ? [{ kind: 'unlisted', ref: { backend: source.backend, collection: '*' }, error: source.error! }]
            : [...source.collections.values()].map((collection) => ({ kind: 'collection', collection })),
        ),
      )
      for (const entry of everything) if (entry.kind === 'unlisted') retryBeside(sources.get(entry.ref.backend)!)
      return everything
    },

    async resolve(patterns, field) {
      const resolved = await Promise.all(
        patterns.map((pattern, i) => resolveOne(pattern, `${field}[${i}]`, patterns.length === 1)),
      )
      return inOrder(resolved.flat())
    },

    resolveAtOnce(patterns) {
      const resolved: Resolved[] = []
      for (const { backend, collection: name } of patterns) {
        const collections = sources.get(backendId(backend))?.collections ?? null
        if (collections === null) return null
        const named = name === '*' ? collections.values() : [collections.get(name)]
        for (const collection of named) {
          if (collection === undefined) return null
          resolved.push({ kind: 'collection', collection })
        }
      }
      return inOrder(resolved)
    },

    async collection(ref, field) {
      const [resolved] = await resolveOne(ref, field, true)
      if (resolved === undefined || ref.collection === '*') throw notFound(ref, field)
      if (resolved.kind === 'unlisted') throw resolved.error
      return resolved.collection
    },

    async relist(backend) {
      const source = sources.get(backend)
      if (source === undefined) throw notFound({ backend, collection: '*' }, 'backend')
      await list(source)
    },

    has: (ref) => sources.get(ref.backend)?.collections?.has(ref.collection) ?? false,
    adapter: (backend) => sources.get(backend)?.adapter ?? null,
    kind: (backend) => sources.get(backend)?.config.kind ?? '',
    settings: (backend) => sources.get(backend)?.settings ?? null,
    sources: () => [...sources.values()].map(summary),
    ready: () => opening.size === 0,

    async close() {
      const closing = [...sources.values()]
      sources.clear()
      everything = null
      for (const source of closing) source.removed.abort(shuttingDown())
      await Promise.all(closing.map((source) => source.adapter?.close()))
    },
  }
}

/** A policy that could not reach anybody would be a promise not kept. */
function refuseIdlePolicy(adapter: BackendAdapter, { piiPolicy }: SourceSettings): void {
  if (piiPolicy === null || adapter.bundleDirectory !== undefined) return
  throw new GatewayError(
    'LG_UNSUPPORTED',
    `source "${adapter.id}": pii_policy: it is published in table.rulake.json, and there is no directory beside this source for that`,
    { field: 'pii_policy' },
  )
}

/** An index that needs a package which is not there is refused when the source is added, not when it is queried. */
async function requireIndex(backend: BackendId, { index }: SourceSettings): Promise<void> {
  if (index !== 'hnsw') return
  try {
    await requireUsearch()
  } catch (cause) {
    const { code, message, field } = toGatewayError(cause)
    throw new GatewayError(code, `source "${backend}": ${message}`, { field: field ?? 'index', cause })
  }
}

/** A listing that ran out of time is the source's failure, not the caller's deadline. */
function listingError(backend: BackendId, cause: unknown): GatewayError {
  if (cause instanceof Error && cause.name === 'TimeoutError')
    return new GatewayError(
      'LG_SOURCE_UNAVAILABLE',
      `source "${backend}" did not list its collections within ${listingMsMax} ms`,
      { cause },
    )
  return toGatewayError(cause)
}

const refOf = (entry: Resolved): CollectionRef => (entry.kind === 'collection' ? entry.collection.ref : entry.ref)

/** In law 3's order, each name once. */
function inOrder(entries: readonly Resolved[]): readonly Resolved[] {
  if (entries.length < 2) return entries
  const byName = new Map(entries.map((entry) => [formatCollection(refOf(entry)), entry]))
  return [...byName.values()].sort((a, b) => {
    const x = refOf(a)
    const y = refOf(b)
    return compareUtf8(x.backend, y.backend) || compareUtf8(x.collection, y.collection)
  })
}
