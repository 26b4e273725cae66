import { GatewayError } from '../core/errors.js'
import type { ArenaPool } from './arena.js'

/** What can be given up to make room. */
export interface Evictable {
  /** Running work that needs it in memory. */
  readonly pins: number
  evict(): void
}

/**
 * Law 11: everything a segment needs (block, ids, ordinals, metadata, filter bitmaps) lies in arenas, and arenas commit
 * at most `bytesMax`. What is least recently used and not pinned makes room.
 */
export class MemoryBudget {
  readonly pool: ArenaPool
  /** Least recently used first. */
  readonly #residents = new Set<Evictable>()
  /** Work that is taking memory piece by piece now. */
  readonly #filling = new Set<Promise<unknown>>()
  #secondTurns: Promise<unknown> = Promise.resolve()

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

  /**
   * Runs work that takes memory piece by piece, and gives it all back when it fails. Several at once may each hold what
   * the others need; what failed for that reason runs once more after those that hold it.
   */
  async fill<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#filled(work())
    } catch (error) {
      if (!isOverBudget(error) || this.#filling.size === 0) throw error
    }
    const again = this.#secondTurns.then(async () => {
      await Promise.allSettled(this.#filling)
      return this.#filled(work())
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
    this.#residents.delete(resident)
    this.#residents.add(resident)
  }

  forget(resident: Evictable): void {
    this.#residents.delete(resident)
  }

  #evictOldest(bytes: number): void {
    for (const resident of this.#residents) {
      if (resident.pins > 0) continue
      this.#residents.delete(resident)
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
