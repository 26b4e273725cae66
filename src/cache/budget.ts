import { GatewayError } from '../core/errors.js'
import type { Allocation, ArenaPool, Reservation } from './arena.js'

/** What can be given up to make room. */
export interface Evictable {
  /** Running work that needs it in memory. */
  readonly pins: number
  /** Gives up what is on disk as well and not being read; false when there is nothing of the kind. */
  surrender(): boolean
  evict(): void
}

/**
 * Law 11: everything a segment needs (block, ids, ordinals, metadata, filter bitmaps) lies in arenas, and arenas commit
 * at most `bytesMax`. Room is made by originals that are on disk as well, then by whole segments; each time by the least
 * recently used that no work needs.
 */
export class MemoryBudget {
  readonly pool: ArenaPool
  /** Least recently used first. */
  readonly #residents = new Set<Evictable>()
  /** The last of them; null when it has gone: queries of one collection touch the same again and again. */
  #newest: Evictable | null = null
  /** Work that is taking memory piece by piece now. */
  readonly #filling = new Set<Promise<unknown>>()
  #secondTurns: Promise<unknown> = Promise.resolve()
  /** Second turns under way or waiting. */
  #turns = 0
  /** Ends each piece of spare work under way. */
  readonly #spare = new Set<() => void>()
  /** How many there have been. */
  #spares = 0

  constructor(pool: ArenaPool) {
    this.pool = pool
  }

  /** What `take` answers once enough is evicted for it not to answer null. Throws LG_OVER_BUDGET naming `bytes`. */
  obtain<T>(bytes: number, take: () => T | null): T {
    for (;;) {
      const taken = take()
      if (taken !== null) return taken
      this.#evictOldest(bytes)
    }
  }

  /** Takes what is free, or originals that are on disk as well, for work that answers can do without. Throws LG_OVER_BUDGET. */
  takeFree(bytes: number): Allocation {
    return this.takeFreeTogether([bytes])[0]
  }

  /** The same for pieces of one arena; `avoid`: of which one, when there is another. */
  takeFreeTogether<Sizes extends readonly number[]>(
    sizes: readonly [...Sizes],
    avoid: ReadonlySet<number> = new Set(),
  ): { [Index in keyof Sizes]: Allocation } {
    let pieces = this.pool.allocateTogether(sizes, avoid) ?? this.pool.allocateTogether(sizes)
    while (pieces === null && this.#surrenderOldest()) pieces = this.pool.allocateTogether(sizes)
    if (pieces !== null) return pieces
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    throw this.#notFree(`${bytes} more bytes in one piece`)
  }

  /** The same for bytes outside arenas, which need not be in one piece. */
  reserveFree(bytes: number): Reservation {
    const reservation = this.pool.reserve(bytes)
    if (reservation !== null) return reservation
    throw this.#notFree(`${bytes} more bytes outside arenas`)
  }

  #notFree(what: string): GatewayError {
    const { bytesMax } = this.pool
    return new GatewayError('LG_OVER_BUDGET', `cache.memory: ${what} are not free of the budget of ${bytesMax} bytes`, {
      field: 'cache.memory',
    })
  }

  /**
   * Runs work that answers can do without. Who lacks memory meanwhile aborts it, and has another turn when it has given
   * back what it took and pinned; during such a turn none begins. Throws LG_OVER_BUDGET.
   */
  async spare<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const lacking = new GatewayError('LG_OVER_BUDGET', 'cache.memory: builds need what is free', {
      field: 'cache.memory',
    })
    if (this.#turns > 0) throw lacking
    const giveWay = new AbortController()
    const abort = (): void => giveWay.abort(lacking)
    this.#spares++
    this.#spare.add(abort)
    try {
      return await this.#filled(work(giveWay.signal))
    } finally {
      this.#spare.delete(abort)
    }
  }

  /**
   * Runs work that takes memory piece by piece, and gives it all back when it fails. Several at once may each hold what
   * the others need; what failed for that reason runs once more after those that hold it.
   */
  async fill<T>(work: () => Promise<T>): Promise<T> {
    const sparesBefore = this.#spares - this.#spare.size
    try {
      return await this.#filled(work())
    } catch (error) {
      if (!isOverBudget(error) || (this.#filling.size === 0 && this.#spares === sparesBefore)) throw error
    }
    this.#turns++
    for (const abort of this.#spare) abort()
    const again = this.#secondTurns
      .then(async () => {
        await Promise.allSettled(this.#filling)
        return this.#filled(work())
      })
      .finally(() => {
        this.#turns--
      })
    this.#secondTurns = again.catch(() => {}) // its caller has the failure
    return again
  }

  async #filled<T>(work: Promise<T>): Promise<T> {
    this.#filling.add(work)
    try {
      return await work
    } finally {
      this.#filling.delete(work)
    }
  }

  /** Enters, or marks as used just now. */
  touch(resident: Evictable): void {
    if (resident === this.#newest) return
    this.#residents.delete(resident)
    this.#residents.add(resident)
    this.#newest = resident
  }

  forget(resident: Evictable): void {
    this.#residents.delete(resident)
    if (resident === this.#newest) this.#newest = null
  }

  #surrenderOldest(): boolean {
    for (const resident of this.#residents) if (resident.surrender()) return true
    return false
  }

  #evictOldest(bytes: number): void {
    if (this.#surrenderOldest()) return
    for (const resident of this.#residents) {
      if (resident.pins > 0) continue
      this.forget(resident)
      resident.evict()
      return
    }
    throw new GatewayError(
      'LG_OVER_BUDGET',
      `cache.memory: ${bytes} more bytes are needed in one piece; all that is in use of the budget of ${this.pool.bytesMax} bytes ` +
        'belongs to running queries or to the collection being loaded',
      { field: 'cache.memory' },
    )
  }
}

export const isOverBudget = (error: unknown): boolean =>
  error instanceof GatewayError && error.code === 'LG_OVER_BUDGET'
