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
export const openPins = (cache: VectorCache, request: { readonly signal: AbortSignal }): Pins =>
  new RequestPins(cache, request)

class RequestPins implements Pins {
  readonly #cache: VectorCache
  readonly #request: { readonly signal: AbortSignal }
  readonly #pins = new Map<string, SharedPin>()
  #closed = false

  constructor(cache: VectorCache, request: { readonly signal: AbortSignal }) {
    this.#cache = cache
    this.#request = request
  }

  atOnce(collection: CachedCollection, wanted: VersionWanted): PinnedVersion | null {
    const key = keyOf(collection, wanted)
    const pin = this.#pins.get(key)
    if (pin !== undefined) return pin.ready
    const version = this.#cache.pinAtOnce(collection, wanted)
    if (version !== null) this.#pins.set(key, { ready: version, waiting: null, users: 0 })
    return version
  }

  async use<T>(
    collection: CachedCollection,
    wanted: VersionWanted,
    work: (version: PinnedVersion) => Promise<T>,
  ): Promise<T> {
    const pin = this.#share(collection, wanted)
    pin.users += 1
    try {
      pin.ready ??= await pin.waiting!
      this.#request.signal.throwIfAborted()
      return await work(pin.ready)
    } finally {
      pin.users -= 1
      if (this.#closed && pin.users === 0) release(pin)
    }
  }

  get busy(): boolean {
    for (const pin of this.#pins.values()) if (pin.users > 0) return true
    return false
  }

  close(): void {
    this.#closed = true
    for (const pin of this.#pins.values()) if (pin.users === 0) release(pin)
  }

  #share(collection: CachedCollection, wanted: VersionWanted): SharedPin {
    const key = keyOf(collection, wanted)
    let pin = this.#pins.get(key)
    if (pin === undefined) {
      const waiting = this.#cache.pin(collection, wanted, { signal: this.#request.signal })
      pin = { ready: null, waiting, users: 0 }
      this.#pins.set(key, pin)
    }
    return pin
  }
}

function release(pin: SharedPin): void {
  if (pin.ready !== null) pin.ready.release()
  // A pin that failed holds nothing; whoever waited for it has the error.
  else void pin.waiting!.then((version) => version.release()).catch(() => undefined)
}

const keyOf = (collection: CachedCollection, wanted: VersionWanted): string =>
  `${formatCollection(collection.ref)}\n${versionKey(wanted)}`

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
