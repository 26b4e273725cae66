import { setMaxListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import type { CachedCollection, VectorCache } from '../cache/vector-cache.js'
import type { Clock, Timer } from '../core/clock.js'
import type { Consistency } from '../core/contract.js'
import { GatewayError, shuttingDown, toGatewayError } from '../core/errors.js'
import { backendId, type CollectionRef, formatCollection, isBackendName } from '../core/generation.js'
import { limits } from '../core/limits.js'
import type { Answer } from './answer.js'
import { type AuditSettings, createAudit } from './audit.js'
import { auditQuery } from './audit-query.js'
import { createCatalog, type OpenSource } from './catalog.js'
import { type Deadline, openDeadline } from './deadline.js'
import { explainPlan } from './explain.js'
import type { CollectionSummary, Gateway, GatewayEvent, SearchOptions, SourceConfig, SourceSummary } from './gateway.js'
import type { Log } from './log.js'
import { openPins, type Pins } from './pins.js'
import { type ConsistencyOf, checkKnownSpaces, defaultConsistency, planQuery, stricter } from './planner.js'
import type { Query } from './query.js'
import { readResults, readVectors } from './results.js'
import { readRow } from './row.js'
import { type SearchContext, search } from './search.js'
import { createUpkeep } from './upkeep.js'
import { verifyReceipt } from './verify.js'
import { openWritable } from './writable.js'

export interface GatewayOptions {
  /** Stays the caller's: close it after the gateway. */
  readonly cache: VectorCache
  readonly openAdapter: OpenSource
  /** What kind of source a uri is. Throws LG_UNSUPPORTED, LG_SOURCE_UNAVAILABLE. */
  readonly detectKind: (uri: string) => Promise<string>
  readonly clock: Clock
  /** For eager priming and background checks. */
  readonly timer: Timer
  readonly log: Log
  /** For queries that name none; null: each collection's own default. */
  readonly consistency: Consistency | null
  /** The source that always exists; opened before the first call is answered. */
  readonly local: SourceConfig
  /** Where RVF ingest and delete go; in `local` unless configured otherwise. */
  readonly writable: CollectionRef
  /** Which answers are compared with brute force in the background. Default: none. */
  readonly audit?: AuditSettings
}

export const localSource: SourceConfig = { name: 'local', kind: 'local', uri: null, options: {} }
export const localDefault: CollectionRef = { backend: backendId('local'), collection: 'default' }

function bundleDirectory(
  { ref, adapter }: CachedCollection,
  options: { readonly signal: AbortSignal },
): Promise<string> {
  if (adapter.bundleDirectory !== undefined) return adapter.bundleDirectory(options)
  throw new GatewayError(
    'LG_UNSUPPORTED',
    `${formatCollection(ref)}: there is no directory beside this source that a table.rulake.json could be in`,
    { field: 'collection' },
  )
}

/** Queries of a batch that run side by side. */
const batchConcurrentMax = 16
/** The lanes of a batch begin one after the other, before any of them goes on. */
const othersBegin = (): Promise<void> => Promise.resolve()
/** After this long others, cancellations and deadlines get their turn: answers given at once leave them none. */
const batchTurnMs = 5

export function createGateway(options: GatewayOptions): Gateway {
  const { cache, clock, log } = options
  const listeners = new Set<(event: GatewayEvent) => void>()
  const closing = new AbortController()
  const emit = (event: GatewayEvent): void => {
    for (const listener of listeners) listener(event)
  }
  const unsubscribe = cache.subscribe((event) => emit({ kind: 'cache', event }))
  const isHeld = (ref: CollectionRef): boolean => {
    const { memoryBytes, diskBytes } = cache.collectionStatistics(ref)
    return memoryBytes + diskBytes > 0
  }
  const catalog = createCatalog({ openAdapter: options.openAdapter, isHeld, clock, log })
  const writable = openWritable(catalog, options.writable, (kind, rows, epoch) =>
    emit({ kind, ref: options.writable, rows, epoch }),
  )
  const audit =
    options.audit === undefined
      ? null
      : createAudit(options.audit, {
          clock,
          log,
          onViolation: (ref, { kind: contract }, fault) => emit({ kind: 'certificate-violated', ref, contract, fault }),
        })
  let auditing = false
  const upkeep = createUpkeep({ catalog, cache, timer: options.timer, log })
  const add = async (config: SourceConfig): Promise<SourceSummary> => {
    const summary = await catalog.add(config)
    upkeep.start(summary.backend, summary)
    return summary
  }
  const localOpened = add(options.local)
  // Every call awaits it and reports the failure; without this, a failure before the first call would end the process.
  localOpened.catch((error: unknown) => log.error({ err: error }, 'the local source could not be opened'))

  let isOpened = false
  localOpened.then(
    () => {
      isOpened = true
    },
    () => {}, // every call reports it
  )

  const opened = async (): Promise<void> => {
    if (closing.signal.aborted) throw closing.signal.reason
    await localOpened
  }
  const consistencyFor = (collection: CachedCollection): Consistency =>
    options.consistency ?? defaultConsistency(collection)
  const consistencyOf: ConsistencyOf = (query, collection) => query.consistency ?? consistencyFor(collection)
  const context: SearchContext = { catalog, cache, clock, log, audit, consistencyOf }

  /** Runs `work` until the deadline, with pins of its own. */
  const within = async <T>(
    signal: AbortSignal,
    deadlineMs: number,
    work: (pins: Pins, deadline: Deadline) => Promise<T>,
  ): Promise<T> => {
    const deadline = openDeadline(signal, deadlineMs)
    const pins = openPins(cache, deadline)
    try {
      if (!isOpened || closing.signal.aborted) await opened()
      return await work(pins, deadline)
    } catch (error) {
      throw toGatewayError(error)
    } finally {
      deadline.close(pins.busy)
      pins.close()
    }
  }
  const searchOne = (query: Query, { signal, together }: SearchOptions): Promise<Answer> =>
    within(signal, query.deadlineMs, (pins, deadline) =>
      search(query, context, { pins, deadline, together: together ?? null }),
    )

  const summarize = (collection: CachedCollection): CollectionSummary => ({
    ref: collection.ref,
    info: collection.info,
    kind: catalog.kind(collection.ref.backend),
    defaultConsistency: consistencyFor(collection),
    statistics: cache.collectionStatistics(collection.ref),
    audit: audit?.statistics(collection.ref) ?? null,
  })

  const kindOf = async (uri: string | null): Promise<string> => {
    if (uri === null)
      throw new GatewayError('LG_MALFORMED_REQUEST', 'uri: expected a path, or a kind that needs none, found nothing', {
        field: 'uri',
      })
    try {
      return await options.detectKind(uri)
    } catch (cause) {
      const error = toGatewayError(cause)
      if (error.code !== 'LG_SOURCE_UNAVAILABLE') throw error
      // Nothing to detect a kind from is the request's fault; with a kind the source would be added and tried again.
      throw new GatewayError(
        'LG_INVALID_REQUEST',
        `uri: ${error.message}; for a source that is yet to come, name its kind`,
        {
          field: 'uri',
          cause,
        },
      )
    }
  }

  return {
    search: searchOne,

    async searchBatch(queries, { signal }) {
      // One version for all, so the strictest query decides how fresh it is.
      const named = queries.flatMap((query) => query.consistency ?? [])
      const isDefault = named.length < queries.length
      const strictest = named.length === 0 ? null : named.reduce(stricter)
      const shared: SearchContext = {
        ...context,
        consistencyOf: (_, collection) => {
          const usual = consistencyFor(collection)
          if (strictest === null) return usual
          return isDefault ? stricter(strictest, usual) : strictest
        },
      }
      const startMs = clock.monotonicMs()
      return within(signal, limits.deadlineMsMax, async (pins, whole) => {
        setMaxListeners(0, whole.signal)
        const answers = new Array<Answer | GatewayError>(queries.length)
        const waiting = queries.keys()
        let turnSinceMs = startMs
        const lane = async (): Promise<void> => {
          for (const i of waiting) {
            if (clock.monotonicMs() - turnSinceMs > batchTurnMs) {
              await setImmediate()
              turnSinceMs = clock.monotonicMs()
            }
            const query = queries[i]!
            // Each query's time runs from the start of the batch, also while it waits for its turn.
            const leftMs = query.deadlineMs - (clock.monotonicMs() - startMs)
            const deadline = openDeadline(whole.signal, Math.max(0, leftMs))
            try {
              answers[i] = await search(query, shared, { pins, deadline, together: othersBegin })
            } catch (error) {
              answers[i] = toGatewayError(error)
            } finally {
              deadline.close(false)
            }
          }
        }
        await Promise.all(Array.from({ length: Math.min(batchConcurrentMax, queries.length) }, lane))
        if (whole.state === 'cancelled') throw whole.signal.reason
        return answers
      })
    },

    async explain(query, { signal }) {
      await opened()
      signal.throwIfAborted()
      const plan = await planQuery(catalog, query, consistencyOf)
      if (query.target.kind === 'vector') checkKnownSpaces(plan, query, query.target.vector.length, cache)
      return explainPlan(plan, query, cache)
    },

    verify: (receipt, parse, { signal }) => verifyReceipt(receipt, parse, (query) => searchOne(query, { signal })),

    async audit(query, { signal }) {
      if (auditing)
        throw new GatewayError('LG_OVERLOADED', 'another audit is running; they take turns', { retryAfterMs: 1000 })
      auditing = true
      try {
        return await within(signal, query.deadlineMs, (pins, deadline) => auditQuery(query, context, pins, deadline))
      } finally {
        auditing = false
      }
    },
    auditStatistics: () => audit?.statistics() ?? null,

    row: (ref, id, { includeVector }, { signal }) =>
      within(signal, limits.deadlineMsDefault, (pins, deadline) =>
        readRow(
          {
            ref,
            id,
            wanted: (collection) => ({ kind: 'current', consistency: consistencyFor(collection) }),
            field: 'id',
          },
          { catalog, cache, pins, deadline },
          async (version, location) => {
            const ranking = { rows: [{ id, distance: 0, location }], versionOf: () => version }
            const vectors = includeVector ? await readVectors(ranking, deadline) : null
            return readResults(ranking, null, vectors)[0]!
          },
        ),
      ),

    async collections() {
      await opened()
      return catalog.all().flatMap((entry) => (entry.kind === 'collection' ? [summarize(entry.collection)] : []))
    },

    async collection(ref) {
      await opened()
      return summarize(await catalog.collection(ref, 'collection'))
    },

    async refresh(ref, callOptions) {
      await opened()
      if (catalog.adapter(ref.backend) !== null) await catalog.relist(ref.backend)
      return cache.refresh(await catalog.collection(ref, 'collection'), callOptions)
    },

    async invalidate(ref) {
      await opened()
      await catalog.collection(ref, 'collection')
      await cache.invalidate(ref)
    },

    async checkBundle(ref, callOptions) {
      await opened()
      const collection = await catalog.collection(ref, 'collection')
      return cache.checkBundle(collection, await bundleDirectory(collection, callOptions), callOptions)
    },

    async publishBundle(ref, callOptions) {
      await opened()
      const collection = await catalog.collection(ref, 'collection')
      const directory = await bundleDirectory(collection, callOptions)
      await cache.refresh(collection, callOptions)
      const piiPolicy = catalog.settings(ref.backend)?.piiPolicy ?? null
      return cache.publishBundle(collection, directory, { ...callOptions, piiPolicy })
    },

    async history(ref) {
      await opened()
      await catalog.collection(ref, 'collection')
      return cache.history(ref)
    },

    cache: () => cache.statistics(),
    sources: () => catalog.sources(),

    async addSource(source, { signal }) {
      await opened()
      signal.throwIfAborted()
      if (!isBackendName(source.name))
        throw new GatewayError(
          'LG_INVALID_REQUEST',
          `name: expected a name without "/", "*" or control characters, found ${JSON.stringify(source.name)}`,
          { field: 'name' },
        )
      const summary = await add({ ...source, kind: source.kind ?? (await kindOf(source.uri)) })
      emit({ kind: 'source-added', backend: summary.backend })
      return summary
    },

    async removeSource(backend) {
      await opened()
      if (backend === options.local.name || backend === options.writable.backend)
        throw new GatewayError('LG_CONFLICT', `source "${backend}" takes writes and cannot be removed`)
      // Another source may get the name: nothing of this one may answer for it.
      const stopped = upkeep.stop(backend)
      const refs = await catalog.remove(backend)
      await stopped
      for (const ref of refs) {
        await cache.invalidate(ref)
        audit?.forget(ref)
      }
      emit({ kind: 'source-removed', backend })
    },

    async ingest(request, callOptions) {
      await opened()
      return writable.ingest(request, callOptions)
    },
    async delete(ids, callOptions) {
      await opened()
      return writable.delete(ids, callOptions)
    },
    async writableStatus(callOptions) {
      await opened()
      return writable.writableStatus(callOptions)
    },

    ready: () => catalog.ready(),

    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

    async close() {
      closing.abort(shuttingDown({ retryAfterMs: 1000 }))
      unsubscribe()
      listeners.clear()
      await localOpened.catch(() => undefined)
      // Together: a round may wait for a listing, which ends when its source closes.
      await Promise.all([upkeep.close(), catalog.close(), audit?.close()])
    },
  }
}
