import type { CachedCollection, PinnedVersion, VectorCache } from '../cache/vector-cache.js'
import type { VersionWanted } from '../core/contract.js'
import { formatCollection } from '../core/generation.js'

/**
 * The versions one request (or batch) works on. A collection is pinned once a version wanted, so everything in the request
 * sees the same generation (law 2). A version is released when the request is closed and nobody uses it any more: a search
 * that outlives its deadline still reads memory that the pin keeps in place.
 */
export interface Pins {
  /** Runs `work` on the pinned version; rejects as the pin or `work` does. */
  use<T>(collection: CachedCollection, wanted: VersionWanted, work: (version: PinnedVersion) => Promise<T>): Promise<T>
  /** Whether work is still under way. */
  readonly busy: boolean
  close(): void
}

interface SharedPin {
  readonly version: Promise<PinnedVersion>
  users: number
}

/** @param signal ends waiting for pins; aborted when the request is over */
export function openPins(cache: VectorCache, signal: AbortSignal): Pins {
  const pins = new Map<string, SharedPin>()
  let closed = false

  const share = (collection: CachedCollection, wanted: VersionWanted): SharedPin => {
    const key = `${formatCollection(collection.ref)}\n${versionKey(wanted)}`
    let pin = pins.get(key)
    if (pin === undefined) {
      pin = { version: cache.pin(collection, wanted, { signal }), users: 0 }
      pins.set(key, pin)
    }
    return pin
  }
  // A pin that failed holds nothing; whoever waited for it has the error.
  const release = (pin: SharedPin): void => void pin.version.then((version) => version.release()).catch(() => undefined)

  return {
    async use(collection, wanted, work) {
      const pin = share(collection, wanted)
      pin.users += 1
      try {
        const version = await pin.version
        signal.throwIfAborted()
        return await work(version)
      } finally {
        pin.users -= 1
        if (closed && pin.users === 0) release(pin)
      }
    },
    get busy() {
      return [...pins.values()].some((pin) => pin.users > 0)
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
