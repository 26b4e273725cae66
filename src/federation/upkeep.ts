/** Work on sources that no query asked for: eager priming and background checks. */
import type { CachedCollection, VectorCache } from '../cache/vector-cache.js'
import type { Timer } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { type BackendId, formatCollection } from '../core/generation.js'
import type { Catalog } from './catalog.js'
import type { Log } from './log.js'
import type { SourceSettings } from './source-settings.js'

type Rhythm = Pick<SourceSettings, 'prime' | 'refreshMs'>

export interface Upkeep {
  /** Begins what the source's settings ask for; returns at once. */
  start(backend: BackendId, settings: Rhythm): void
  /** Ends it; resolves when nothing of it is waited for any more. */
  stop(backend: BackendId): Promise<void>
  close(): Promise<void>
}

interface Kept {
  readonly stopping: AbortController
  cancelTimer: () => void
  round: Promise<void>
}

/** Failures are logged, and stay visible in the source's or collection's state; the next round tries again. */
export function createUpkeep(options: {
  readonly catalog: Catalog
  readonly cache: VectorCache
  readonly timer: Timer
  readonly log: Log
}): Upkeep {
  const { catalog, cache, timer, log } = options
  const kept = new Map<BackendId, Kept>()
  let closed = false

  /** One collection after the other, so that upkeep never takes more than one pull's share of the machine. */
  const eachCollection = async (
    backend: BackendId,
    signal: AbortSignal,
    work: (collection: CachedCollection) => Promise<void>,
  ): Promise<void> => {
    const collections = catalog
      .all()
      .flatMap((entry) =>
        entry.kind === 'collection' && entry.collection.ref.backend === backend ? [entry.collection] : [],
      )
    for (const collection of collections) {
      if (signal.aborted) return
      try {
        await work(collection)
      } catch (error) {
        if (signal.aborted) return
        log.warn({ collection: formatCollection(collection.ref), err: error }, 'background work on a collection failed')
      }
    }
  }

  const prime = (backend: BackendId, signal: AbortSignal): Promise<void> =>
    eachCollection(backend, signal, async (collection) => {
      const wanted = { kind: 'current', consistency: { kind: 'fresh' } } as const
      const version = await cache.pin(collection, wanted, { signal })
      version.release()
    })

  const refresh = async (backend: BackendId, settings: Rhythm, signal: AbortSignal): Promise<void> => {
    try {
      await catalog.relist(backend)
    } catch (error) {
      if (!signal.aborted) log.warn({ backend, err: error }, 'background listing of a source failed')
      return
    }
    await eachCollection(backend, signal, async (collection) => {
      // Without a query and without `eager`, nobody has asked for these rows.
      const { state } = cache.collectionStatistics(collection.ref)
      if (closed) return
      if (settings.prime === 'eager' || state !== 'cold') await cache.refresh(collection, { signal })
    })
  }

  const stop = async (backend: BackendId): Promise<void> => {
    const source = kept.get(backend)
    if (source === undefined) return
    kept.delete(backend)
    source.cancelTimer()
    source.stopping.abort(new GatewayError('LG_CANCELLED', `source "${backend}": its upkeep has ended`))
    await source.round
  }

  return {
    start(backend, settings) {
      if (settings.prime === 'first_query' && settings.refreshMs === null) return
      const stopping = new AbortController()
      const source: Kept = { stopping, cancelTimer: () => undefined, round: Promise.resolve() }
      kept.set(backend, source)
      const { signal } = stopping
      const roundIn = (delayMs: number, round: () => Promise<void>): void => {
        source.cancelTimer = timer(delayMs, () => {
          source.round = round().then(() => {
            if (settings.refreshMs !== null && !signal.aborted)
              roundIn(settings.refreshMs, () => refresh(backend, settings, signal))
          })
        })
      }
      // A timer even for the first round: whoever adds a source, or starts the server, does not wait for it.
      if (settings.prime === 'eager') roundIn(0, () => prime(backend, signal))
      else if (settings.refreshMs !== null) roundIn(settings.refreshMs, () => refresh(backend, settings, signal))
    },
    stop,
    async close() {
      closed = true
      await Promise.all([...kept.keys()].map(stop))
    },
  }
}
