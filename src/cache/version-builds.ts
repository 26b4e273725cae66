import type { Clock } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { type CollectionRef, formatCollection, type Generation } from '../core/generation.js'
import type { MemoryBudget } from './budget.js'
import { buildVersion } from './build-version.js'
import type { CollectionCounts } from './collection-counts.js'
import type { CollectionFiles } from './collection-files.js'
import { generationExpired } from './history.js'
import type { Holdings } from './holdings.js'
import type { JobQueue } from './job-queue.js'
import type { LastFailure } from './last-failure.js'
import { PrimingProgress } from './priming-progress.js'
import { Pins } from './segment.js'
import type { SourceWatch } from './source-watch.js'
import type { CachedCollection, CacheEvent } from './vector-cache.js'
import { isResident, type Version } from './versions.js'

/** A source that changes under every pull is given up on after so many. */
const pullAttemptsMax = 4

/** What a collection is read from, and into. Both may be others when a job's turn comes. */
export interface Reading {
  readonly source: CachedCollection
  readonly holdings: Holdings
}

interface BuildsOptions {
  readonly ref: CollectionRef
  readonly files: CollectionFiles
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly emit: (event: CacheEvent) => void
  readonly lifetime: AbortSignal
  readonly jobs: JobQueue<Version>
  readonly watch: SourceWatch
  readonly failure: LastFailure
  readonly counts: CollectionCounts
  reading(): Reading
}

/**
 * Brings one collection's versions into memory: jobs that run one after another, so that none does another's work twice,
 * and go on when their callers leave.
 */
export class VersionBuilds {
  readonly #options: BuildsOptions
  #progress: PrimingProgress | null = null
  /** The last generation that cannot be read, so that not every query pulls it to find out. */
  #refused: { readonly generation: Generation; readonly holdings: Holdings; readonly error: unknown } | null = null

  constructor(options: BuildsOptions) {
    this.#options = options
  }

  /** How far the build under way has come; null when there is none. */
  get progress(): PrimingProgress | null {
    return this.#progress
  }

  /** The version of a generation that the source was just seen at; it becomes the current one (law 7). */
  async latest(generation: Generation): Promise<Version> {
    const held = this.#holdings.versions.find(generation)
    // A version recalled from disk may have been read under another configuration; only the source's manifest tells.
    if (held?.confirmed === true) return this.#adopt(held, 0)
    return this.#reported(this.#job(`build ${generation}`, () => this.#build(generation)))
  }

  /**
   * A version that need not be the source's current one.
   * @param wanted how the error calls it when it cannot be had any more
   */
  async older(generation: Generation, wanted: string): Promise<Version> {
    const held = this.#holdings.versions.find(generation)
    if (held !== null) return held
    try {
      return await this.#job(`build ${generation} as of`, () =>
        this.#buildOnce(generation, (version) => this.#enter(version, false)),
      )
    } catch (error) {
      throw isExpired(error) ? this.#expired(wanted, error) : error
    }
  }

  /** A held version with every segment back in memory, from disk or else from the source. */
  again(missing: Version): Promise<Version> {
    return this.#reported(this.#job(`read ${missing.generation}`, () => this.#bringBack(missing)))
  }

  get #holdings(): Holdings {
    return this.#options.reading().holdings
  }

  #job(name: string, run: () => Promise<Version>): Promise<Version> {
    return this.#options.jobs.share(name, () => this.#holdings.parts.use(run))
  }

  /** A job, with a failure noted as the collection's state. */
  #reported(job: Promise<Version>): Promise<Version> {
    return job.catch((error: unknown) => Promise.reject(this.#options.failure.note(error)))
  }

  /** Builds a generation and adopts it; when the source moves on meanwhile, the one it moved to. */
  async #build(wanted: Generation): Promise<Version> {
    const { counts, failure, watch } = this.#options
    let generation = wanted
    for (let attempt = 1; ; attempt++) {
      const holdings = this.#holdings
      const held = holdings.versions.find(generation)
      if (held?.confirmed === true && isResident(held)) return this.#adopt(held, 0)
      if (this.#refused?.generation === generation && this.#refused.holdings === holdings) throw this.#refused.error
      const pulledBefore = counts.partsPulled
      try {
        // Not those that the job began with, where they were let go meanwhile.
        const built = await holdings.parts.use(() =>
          this.#buildOnce(generation, (version) => this.#adopt(version, counts.partsPulled - pulledBefore)),
        )
        failure.clear()
        return built
      } catch (error) {
        if (isSettled(error)) this.#refused = { generation, holdings, error }
        if (!isExpired(error) || attempt === pullAttemptsMax) throw error
      }
      generation = await watch.check()
    }
  }

  /** @param enter as of `buildVersion` */
  async #buildOnce(generation: Generation, enter: (version: Version) => Version): Promise<Version> {
    const { budget, clock, counts, files, lifetime, reading } = this.#options
    const { source, holdings } = reading()
    const progress = new PrimingProgress(clock)
    this.#progress = progress
    const pulledBefore = counts.partsPulled
    try {
      const version = await buildVersion(
        {
          source,
          generation,
          holdings,
          budget,
          persistent: files.persistent,
          progress,
          lifetime: AbortSignal.any([lifetime, holdings.parts.lifetime]),
        },
        enter,
      )
      if (counts.partsPulled > pulledBefore) holdings.store()
      return version
    } finally {
      this.#progress = null
    }
  }

  async #bringBack(missing: Version): Promise<Version> {
    const { parts, versions } = this.#holdings
    // Meanwhile the background may have given it other segments.
    const version = versions.find(missing.generation) ?? missing
    const pins = new Pins()
    try {
      if (await parts.restoreAll(version, pins)) return version
    } finally {
      pins.release()
    }
    if (version.generation === this.#options.watch.observed?.generation) return this.#build(version.generation)
    try {
      return await this.#buildOnce(version.generation, (built) => this.#enter(built, false))
    } catch (error) {
      throw isExpired(error) ? this.#expired(`generation ${JSON.stringify(version.generation)}`, error) : error
    }
  }

  /** Makes a version the current one. */
  #adopt(version: Version, partsPulled: number): Version {
    const { counts, emit, ref, watch } = this.#options
    const { versions } = this.#holdings
    const before = versions.current
    const observed = watch.observed?.generation
    // The source may have moved on, or back, while this was built: then it is one more older version.
    this.#enter(version, before === null || observed === undefined || observed === version.generation)
    if (before === versions.current) return version
    if (before === null) counts.primes++
    else counts.refreshes++
    emit({ kind: before === null ? 'primed' : 'refreshed', ref, generation: version.generation, partsPulled })
    return version
  }

  /** Takes a version among those that are held. */
  #enter(version: Version, isCurrent: boolean): Version {
    const holdings = this.#holdings
    this.#options.watch.sightings.describe(version)
    if (holdings.versions.enter(version, isCurrent)) {
      holdings.store()
      holdings.improve()
    }
    return version
  }

  #expired(wanted: string, cause: unknown): GatewayError {
    const { ref, watch } = this.#options
    return generationExpired({ collection: formatCollection(ref), wanted }, watch, this.#holdings, cause)
  }
}

const isExpired = (error: unknown): boolean => error instanceof GatewayError && error.code === 'LG_GENERATION_EXPIRED'
/** What the bytes of a generation rule out: pulling them again would end the same way. */
const isSettled = (error: unknown): boolean =>
  error instanceof GatewayError && (error.code === 'LG_BAD_ROW' || error.code === 'LG_UNSUPPORTED')
