import type { CachedCollection, PinnedVersion, VectorCache } from '../cache/vector-cache.js'
import type { VersionWanted } from '../core/contract.js'
import { formatCollection } from '../core/generation.js'

/**
 * The versions one request (or batch) works on. A collection is pinned once a version wanted, so everything in the request
 * sees the same generation (law 2). A version is released when the request is closed and nobody uses it any more: a search
 * that outlives its deadline still reads memory that the pin keeps in place.
 */
export interface Pins {
  /** The pinned version when it is there without waiting; else null. Do not use it after anything was awaited but through `use`. */
  atOnce(collection: CachedCollection, wanted: VersionWanted): PinnedVersion | null
  /** Runs `work` on the pinned version; rejects as the pin or `work` does. */
  use<T>(collection: CachedCollection, wanted: VersionWanted, work: (version: PinnedVersion) => Promise<T>): Promise<T>
  /** Whether work is still under way. */
  readonly busy: boolean
  close(): void
}

interface SharedPin {
  /** Null while it is waited for. */
  ready: PinnedVersion | null
  /** Null when it was ready at once. */
  readonly waiting: Promise<PinnedVersion> | null
  users: number
}

/** @param request its signal ends waiting for pins; aborted when the request is over */
export function openPins(cache: VectorCache, request: { readonly signal: AbortSignal }): Pins {
  const pins = new Map<string, SharedPin>()
  let closed = false

  const keyOf = (collection: CachedCollection, wanted: VersionWanted): string =>
    `${formatCollection(collection.ref)}\n${versionKey(wanted)}`
  const share = (collection: CachedCollection, wanted: VersionWanted): SharedPin => {
    const key = keyOf(collection, wanted)
    let pin = pins.get(key)
    if (pin === undefined) {
      pin = { ready: null, waiting: cache.pin(collection, wanted, { signal: request.signal }), users: 0 }
      pins.set(key, pin)
    }
    return pin
  }
  const release = (pin: SharedPin): void => {
    if (pin.ready !== null) pin.ready.release()
    // A pin that failed holds nothing; whoever waited for it has the error.
    else void pin.waiting!.then((version) => version.release()).catch(() => undefined)
  }

  return {
    atOnce(collection, wanted) {
      const key = keyOf(collection, wanted)
      const pin = pins.get(key)
      if (pin !== undefined) return pin.ready
      const version = cache.pinAtOnce(collection, wanted)
      if (version !== null) pins.set(key, { ready: version, waiting: null, users: 0 })
      return version
    },
    async use(collection, wanted, work) {
      const pin = share(collection, wanted)
      pin.users += 1
      try {
        pin.ready ??= await pin.waiting!
        request.signal.throwIfAborted()
        return await work(pin.ready)
      } finally {
        pin.users -= 1
        if (closed && pin.users === 0) release(pin)
      }
    },
    get busy() {
      for (const pin of pins.values()) if (pin.users > 0) return true
      return false
    },
    close() {
      closed = true
      for (const pin of pins.values()) if (pin.users === 0) release(pin)
    },
  }
}

/** Equal texts want the same version. */
export function versionKey(wanted: VersionWanted): string {
  switch (wanted.kind) {
    case 'current':
      return wanted.consistency.kind === 'ttl' ? `ttl ${wanted.consistency.ttlMs} ms` : wanted.consistency.kind
    case 'generation':
      return `as_of generation ${wanted.generation}`
    case 'time':
      return `as_of ${new Date(wanted.atMs).toISOString()}`
  }
}
