import type { Random } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import type { Metric } from '../core/metric.js'
import type { ArenaPool } from './arena.js'
import type { MemoryBudget } from './budget.js'
import { type Codebook, trainCodebook } from './codebook.js'
import { CodebookCopies } from './codebook-copies.js'
import { formatCodebook, parseCodebook } from './codebook-text.js'
import type { CollectionFiles } from './collection-files.js'
import type { CollectionRecord } from './collection-record.js'
import type { ArenaHandle } from './executor.js'
import type { Learnt } from './learnt.js'

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

interface ShelfOptions {
  readonly pool: ArenaPool
  readonly metric: Metric
  readonly random: Random
  readonly files: Pick<CollectionFiles, 'loadCodebook' | 'saveCodebook'>
}

/** One collection's codebooks. For each dimension it has had, one is *active*: what is pulled from now on is coded with it. */
export class CodebookShelf {
  readonly #options: ShelfOptions
  readonly #placed = new Map<string, PlacedCodebook>()
  readonly #active = new Map<number, PlacedCodebook>()
  /** Versions that are on disk. */
  readonly #saved = new Set<string>()

  constructor(options: ShelfOptions) {
    this.#options = options
  }

  get(version: string): PlacedCodebook | null {
    return this.#placed.get(version) ?? null
  }

  forDimension(dimension: number): PlacedCodebook | null {
    return this.#active.get(dimension) ?? null
  }

  /** `sample`: float32[rows * dimension]; borrowed. */
  train(dimension: number, sample: Float32Array): PlacedCodebook {
    const { metric, random } = this.#options
    const codebook = trainCodebook({ dimension, metric, seed: drawSeed(random), sample })
    return this.activate(codebook, { training: null, tuning: null })
  }

  add(codebook: Codebook, learnt: Learnt): PlacedCodebook {
    const known = this.#placed.get(codebook.version)
    if (known !== undefined) return known
    const placed = new PlacedCodebook(this.#options.pool, codebook, learnt)
    this.#placed.set(codebook.version, placed)
    return placed
  }

  activate(codebook: Codebook, learnt: Learnt): PlacedCodebook {
    const placed = this.add(codebook, learnt)
    this.#active.set(codebook.dimension, placed)
    return placed
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

  /** Reads the codebooks of an earlier process; answers the versions of those that are there. */
  async load(records: CollectionRecord['codebooks']): Promise<ReadonlySet<string>> {
    const loaded = new Set<string>()
    for (const { version, active, ...learnt } of records) {
      const codebook = await this.#options.files.loadCodebook(version, (text) => {
        const parsed = parseCodebook(text)
        if (parsed.version !== version) throw new GatewayError('LG_CORRUPT', `codebook is ${parsed.version}`)
        return parsed
      })
      if (codebook === null) continue
      const { training } = learnt
      const tuning = isMeasured(codebook, learnt.tuning) ? learnt.tuning : null
      if (active) this.activate(codebook, { training, tuning })
      else this.add(codebook, { training, tuning })
      this.#saved.add(version)
      loaded.add(version)
    }
    return loaded
  }

  /** Writes those to disk that are not there yet. */
  async save(signal: AbortSignal): Promise<void> {
    for (const { codebook } of this.all()) {
      const { version } = codebook
      if (this.#saved.has(version)) continue
      if (await this.#options.files.saveCodebook(version, formatCodebook(codebook), signal)) this.#saved.add(version)
    }
  }

  /** What `load` will need in a later process. */
  records(): CollectionRecord['codebooks'] {
    return Array.from(this.all(), (placed) => ({
      version: placed.version,
      active: this.#active.get(placed.codebook.dimension) === placed,
      training: placed.training,
      tuning: placed.tuning,
    }))
  }

  /** Frees every copy; no job may use one any more. */
  release(): void {
    for (const placed of this.#placed.values()) placed.release()
  }
}

/** Records of until 2026-11-30 lack how long targets take, and of until the day before which clusters can be left for dot. */
const isMeasured = ({ centroids }: Codebook, tuning: Learnt['tuning']): boolean =>
  tuning?.targets !== undefined && (centroids === null || tuning.recalls.length > 0)

/** 128 bits, 32 at a time. */
function drawSeed(random: Random): bigint {
  let seed = 0n
  for (let i = 0; i < 4; i++) seed = (seed << 32n) | BigInt(Math.floor(random() * 2 ** 32))
  return seed
}
