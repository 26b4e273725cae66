import type { Random } from '../core/clock.js'
import type { Metric } from '../core/metric.js'
import type { ArenaPool } from './arena.js'
import type { MemoryBudget } from './budget.js'
import { type Codebook, trainCodebook } from './codebook.js'
import { CodebookCopies } from './codebook-copies.js'
import type { ArenaHandle } from './executor.js'
import type { Tuning } from './tuning.js'

/** How a codebook's centroids came about, or that it is better without. */
export interface Training {
  readonly atMs: number
  /** Rows of the collection then. */
  readonly rows: number
  /** Mean distance of a row from its centroid, over the rows of then; null until all of them are coded with it. */
  readonly meanRadius: number | null
}

/** What is known of a codebook besides what it is. */
export interface Learnt {
  /** Null when centroids were never trained. */
  readonly training: Training | null
  /** How scans with it are best done; null until that was measured. */
  readonly tuning: Tuning | null
}

/** A codebook and its copies in arenas. */
export class PlacedCodebook {
  readonly codebook: Codebook
  training: Learnt['training']
  tuning: Learnt['tuning']
  /** Segments of pinned versions that are searched with it. */
  pins = 0
  readonly #copies: CodebookCopies

  constructor(pool: ArenaPool, codebook: Codebook, { training, tuning }: Learnt) {
    this.codebook = codebook
    this.training = training
    this.tuning = tuning
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

/** One collection's codebooks. For each dimension it has had, one is *active*: what is pulled from now on is coded with it. */
export class CodebookShelf {
  readonly #pool: ArenaPool
  readonly #metric: Metric
  readonly #random: Random
  readonly #placed = new Map<string, PlacedCodebook>()
  readonly #active = new Map<number, PlacedCodebook>()

  constructor(pool: ArenaPool, metric: Metric, random: Random) {
    this.#pool = pool
    this.#metric = metric
    this.#random = random
  }

  get(version: string): PlacedCodebook | null {
    return this.#placed.get(version) ?? null
  }

  forDimension(dimension: number): PlacedCodebook | null {
    return this.#active.get(dimension) ?? null
  }

  /** `sample`: float32[rows * dimension]; borrowed. */
  train(dimension: number, sample: Float32Array): PlacedCodebook {
    return this.activate(trainCodebook({ dimension, metric: this.#metric, seed: drawSeed(this.#random), sample }), {
      training: null,
      tuning: null,
    })
  }

  add(codebook: Codebook, learnt: Learnt): PlacedCodebook {
    const known = this.#placed.get(codebook.version)
    if (known !== undefined) return known
    const placed = new PlacedCodebook(this.#pool, codebook, learnt)
    this.#placed.set(codebook.version, placed)
    return placed
  }

  activate(codebook: Codebook, learnt: Learnt): PlacedCodebook {
    const placed = this.add(codebook, learnt)
    this.#active.set(codebook.dimension, placed)
    return placed
  }

  isActive(placed: PlacedCodebook): boolean {
    return this.#active.get(placed.codebook.dimension) === placed
  }

  all(): Iterable<PlacedCodebook> {
    return this.#placed.values()
  }

  /** Forgets codebooks that are neither active, nor named, nor searched with. */
  retain(versions: ReadonlySet<string>): void {
    const active = new Set(this.#active.values())
    for (const [version, placed] of this.#placed) {
      if (active.has(placed) || versions.has(version) || placed.pins > 0) continue
      placed.release()
      this.#placed.delete(version)
    }
  }

  /** Frees every copy; no job may use one any more. */
  release(): void {
    for (const placed of this.#placed.values()) placed.release()
  }
}

/** 128 bits, 32 at a time. */
function drawSeed(random: Random): bigint {
  let seed = 0n
  for (let i = 0; i < 4; i++) seed = (seed << 32n) | BigInt(Math.floor(random() * 2 ** 32))
  return seed
}
