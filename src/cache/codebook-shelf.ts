import type { Random } from '../core/clock.js'
import type { Metric } from '../core/metric.js'
import type { ArenaPool } from './arena.js'
import type { MemoryBudget } from './budget.js'
import { type Codebook, CodebookCopies, trainCodebook } from './codebook.js'
import type { ArenaHandle } from './executor.js'

/** A codebook and its copies in arenas. */
export class PlacedCodebook {
  readonly codebook: Codebook
  readonly #copies: CodebookCopies

  constructor(pool: ArenaPool, codebook: Codebook) {
    this.codebook = codebook
    this.#copies = new CodebookCopies(pool, codebook)
  }

  get version(): string {
    return this.codebook.version
  }

  /** Byte offset of the copy in `arena`, making room for it when it is not there. Throws LG_OVER_BUDGET. */
  place(arena: ArenaHandle, budget: MemoryBudget): number {
    return budget.obtain(this.#copies.bytes, () => this.#copies.place(arena))
  }

  release(): void {
    this.#copies.release()
  }
}

/** One collection's codebooks: one for each dimension it has had, trained once and shared by all its segments. */
export class CodebookShelf {
  readonly #pool: ArenaPool
  readonly #metric: Metric
  readonly #random: Random
  readonly #placed = new Map<string, PlacedCodebook>()

  constructor(pool: ArenaPool, metric: Metric, random: Random) {
    this.#pool = pool
    this.#metric = metric
    this.#random = random
  }

  get(version: string): PlacedCodebook | null {
    return this.#placed.get(version) ?? null
  }

  forDimension(dimension: number): PlacedCodebook | null {
    for (const placed of this.#placed.values()) if (placed.codebook.dimension === dimension) return placed
    return null
  }

  /** `sample`: float32[rows * dimension]; borrowed. */
  train(dimension: number, sample: Float32Array): PlacedCodebook {
    const seed = Math.floor(this.#random() * 2 ** 32)
    return this.add(trainCodebook({ dimension, metric: this.#metric, seed, sample }))
  }

  add(codebook: Codebook): PlacedCodebook {
    const placed = new PlacedCodebook(this.#pool, codebook)
    this.#placed.set(codebook.version, placed)
    return placed
  }

  all(): Iterable<PlacedCodebook> {
    return this.#placed.values()
  }

  /** Frees every copy; no job may use one any more. */
  release(): void {
    for (const placed of this.#placed.values()) placed.release()
  }
}
