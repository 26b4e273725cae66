import type { VersionWanted } from '../core/contract.js'
import { GatewayError } from '../core/errors.js'
import { generation as asGeneration, formatCollection, type Generation } from '../core/generation.js'
import { limits } from '../core/limits.js'
import { attend } from './attend.js'
import { buildVersion } from './build-version.js'
import { noCounts } from './collection-counts.js'
import { describeCollection } from './collection-statistics.js'
import type { HeldVersions } from './held-versions.js'
import { generationExpired, listHistory } from './history.js'
import { type CollectionOptions, Holdings } from './holdings.js'
import { JobQueue } from './job-queue.js'
import { LastFailure } from './last-failure.js'
import { pinVersion } from './pinned-version.js'
import { PrimingProgress } from './priming-progress.js'
import { fromRecord } from './recall.js'
import { Pins } from './segment.js'
import { Sightings } from './sightings.js'
import { waitFor } from './single-flight.js'
import { SourceWatch } from './source-watch.js'
import type {
  CachedCollection,
  CollectionState,
  CollectionStatistics,
  GraphStatistics,
  HeldGeneration,
  PinnedVersion,
} from './vector-cache.js'
import { isResident, type Version } from './versions.js'

/** A source that changes under every pull is given up on after so many. */
const pullAttemptsMax = 4

/** One collection: which of its versions a caller gets, and when one is built for it. */
export class Collection {
  readonly #options: CollectionOptions
  readonly #watch: SourceWatch
  /** Builds and reads run one after another, so that none does another's work twice. */
  readonly #jobs = new JobQueue<Version>()
  #source: CachedCollection
  #loaded: Promise<void> | null = null
  #holdings: Holdings
  /** Settles when nothing is left in memory of holdings that were let go. */
  #abandoned: Promise<unknown> = Promise.resolve()
  #progress: PrimingProgress | null = null
  readonly #failure: LastFailure
  /** The last generation that cannot be read, so that not every query pulls it to find out. */
  #refused: { readonly generation: Generation; readonly holdings: Holdings; readonly error: unknown } | null = null
  readonly #counts = noCounts()

  constructor(source: CachedCollection, options: CollectionOptions) {
    this.#source = source
    this.#options = options
    this.#failure = new LastFailure(options)
    this.#watch = new SourceWatch(() => this.#ask(), options.clock)
    this.#holdings = this.#begin()
  }

  async pin(source: CachedCollection, wanted: VersionWanted, signal: AbortSignal): Promise<PinnedVersion> {
    signal.throwIfAborted()
    const atOnce = this.pinAtOnce(source, wanted)
    if (atOnce !== null) return atOnce
    await this.#attach(source, signal)
    const { current } = this.#versions
    const ready = current !== null && isResident(current) ? current : null
    let version = await this.#choose(wanted, signal)
    const hit = version === ready
    // Between its coming into memory and this caller's turn a version may lose a segment to another collection, or go.
    for (let attempt = 1; !isResident(version); attempt++) {
      if (attempt > pullAttemptsMax)
        throw new GatewayError('LG_OVERLOADED', `${this.#name}: other collections need the memory at the same time`, {
          retryAfterMs: 100,
        })
      const missing = version
      version = this.#versions.list.includes(missing)
        ? await waitFor(this.#reported(this.#job(`read ${missing.generation}`, () => this.#bringBack(missing))), signal)
        : await this.#choose(wanted, signal)
    }
    if (hit) this.#counts.hits++
    else this.#counts.misses++
    const pinned = this.#pinned(version)
    this.#holdings.improve()
    return pinned
  }

  /** The same, when nothing has to be waited for; else null. */
  pinAtOnce(source: CachedCollection, wanted: VersionWanted): PinnedVersion | null {
    const version = this.#atOnce(source, wanted)
    if (version === null) return null
    this.#counts.hits++
    const pinned = this.#pinned(version)
    this.#holdings.improve()
    return pinned
  }

  /** The current version, when nothing has to be waited for to know that it is the one wanted: the way of most queries. */
  #atOnce(source: CachedCollection, wanted: VersionWanted): Version | null {
    const version = this.#versions.current
    if (version === null || source !== this.#source || wanted.kind !== 'current') return null
    if (!version.confirmed || !isResident(version)) return null
    const { consistency } = wanted
    if (consistency.kind === 'fresh') {
      if (source.adapter.isStill?.(source.ref.collection, version.generation) !== true) return null
      this.#watch.confirm(version.generation)
      this.#failure.clear()
      return version
    }
    if (consistency.kind === 'ttl' && !this.#watch.seenWithin(consistency.ttlMs, version.generation)) return null
    return version
  }

  /** Checks the source now and pulls what is new. */
  async refresh(source: CachedCollection, signal: AbortSignal) {
    await this.#attach(source, signal)
    const before = this.#versions.current?.generation ?? null
    const pulledBefore = this.#counts.partsPulled
    const version = await waitFor(this.#checkedVersion(), signal)
    return {
      generation: version.generation,
      changed: version.generation !== before,
      partsPulled: this.#counts.partsPulled - pulledBefore,
    }
  }

  /** The current version, held or known from disk; null before the first. */
  async current(source: CachedCollection, signal: AbortSignal): Promise<Version | null> {
    await this.#attach(source, signal)
    return this.#versions.current
  }

  async invalidate(): Promise<void> {
    await this.#load()
    this.#counts.invalidations++
    this.#forget()
    await this.#abandoned
    // After the writes under way, which would bring files back while the folder is being emptied.
    await new Promise<void>((resolve, reject) => {
      this.#options.inBackground(() => this.#options.files.remove().then(resolve, reject))
    })
    this.#options.emit({ kind: 'invalidated', ref: this.#options.ref })
  }

  /** Waits for the jobs that the end of the cache's lifetime stops, then leaves memory. */
  async close(): Promise<void> {
    await this.#jobs.over()
    this.#leave()
    await this.#abandoned
  }

  /** Resolves when the background has nothing more to improve. */
  async indexed(): Promise<void> {
    await this.#abandoned
    await this.#holdings.upkeep.done()
  }

  /** Resolves when there is nothing more to do for the graph. */
  async graphBuilt(): Promise<void> {
    await this.#abandoned
    await this.#holdings.graph?.done()
  }

  #begin(): Holdings {
    const own = { source: this.#source, watch: this.#watch, jobs: this.#jobs, counts: this.#counts }
    return new Holdings({ ...this.#options, ...own })
  }

  #leave(): void {
    const retired = this.#holdings.retire(
      new GatewayError('LG_GENERATION_EXPIRED', `${this.#name}: invalidated while it was being pulled`),
    )
    this.#abandoned = Promise.all([this.#abandoned, retired])
  }

  /** Lets go of everything that was read; jobs under way end, and begin anew if they build. */
  #forget(): void {
    this.#watch.forget()
    this.#leave()
    this.#holdings = this.#begin()
  }

  primingRetryMs(): number | null {
    return this.#progress?.retryMs() ?? null
  }

  history(): readonly HeldGeneration[] {
    return listHistory(this.#watch, this.#holdings)
  }

  /** Null where no graph was asked for. */
  graph(): GraphStatistics | null {
    return this.#holdings.graph?.statistics() ?? null
  }

  statistics(): CollectionStatistics {
    return describeCollection({
      state: this.#state(),
      holdings: this.#holdings,
      checkedAtMs: this.#watch.observed?.atMs ?? null,
      diskBytes: this.#options.files.bytes,
      counts: this.#counts,
      lastError: this.#failure.seen,
    })
  }

  get #versions(): HeldVersions {
    return this.#holdings.versions
  }

  get #name(): string {
    return formatCollection(this.#options.ref)
  }

  #state(): CollectionState {
    if (this.#progress !== null) return this.#versions.current === null ? 'priming' : 'refreshing'
    if (this.#failure.seen !== null) return 'failed'
    return this.#versions.current === null ? 'cold' : 'ready'
  }

  /** Takes the source as the caller has it; what was read under another configuration of it is let go. */
  async #attach(source: CachedCollection, signal: AbortSignal): Promise<void> {
    await waitFor(this.#load(), signal)
    const { info, adapter, index } = this.#source
    this.#source = source
    const same = source.info.metric === info.metric && source.adapter.configuration === adapter.configuration
    if (same && source.index === index) return
    this.#forget()
  }

  /** Recalls, once, what an earlier process left in the directory. */
  #load(): Promise<void> {
    this.#loaded ??= (async () => {
      const { files } = this.#options
      const { graph, parts, versions } = this.#holdings
      if (graph === null) await files.graph?.discard(null)
      const record = await files.loadRecord()
      if (record === null || record.metric !== this.#source.info.metric) return
      const recalled = await fromRecord(record, parts, this.#name, this.#source.adapter.configuration ?? null)
      this.#watch.recall(new Sightings(recalled.sightings))
      versions.recall(recalled.versions)
    })()
    return this.#loaded
  }

  async #choose(wanted: VersionWanted, signal: AbortSignal): Promise<Version> {
    switch (wanted.kind) {
      case 'current': {
        const { consistency } = wanted
        const { current } = this.#versions
        if (consistency.kind === 'frozen' && current !== null) return current
        if (consistency.kind === 'ttl' && this.#watch.observed !== null) {
          const { generation } = this.#watch.observed
          if (this.#watch.seenWithin(consistency.ttlMs, generation)) return waitFor(this.#version(generation), signal)
        }
        return waitFor(this.#checkedVersion(), signal)
      }
      case 'generation':
        return waitFor(
          this.#older(asGeneration(wanted.generation), `generation ${JSON.stringify(wanted.generation)}`),
          signal,
        )
      case 'time': {
        const named = `time ${new Date(wanted.atMs).toISOString()}`
        const newest = this.#watch.sightings.newest
        const maybeStillThere = newest === null || wanted.atMs > newest.lastSeenMs
        if (maybeStillThere && wanted.atMs <= this.#options.clock.now()) await waitFor(this.#watch.check(), signal)
        const generation = this.#watch.sightings.at(wanted.atMs)
        if (generation === null) throw this.#expired(named)
        return waitFor(this.#older(generation, named), signal)
      }
    }
  }

  /** The version of a check that starts after this call. */
  async #checkedVersion(): Promise<Version> {
    const version = await this.#version(await this.#watch.check())
    this.#failure.clear()
    return version
  }

  async #ask(): Promise<Generation> {
    const { lifetime, ref } = this.#options
    try {
      const { adapter } = this.#source
      const attention = { name: this.#name, silenceMsMax: limits.sourceCheckMsMax, lifetime }
      return await attend(attention, (signal) => adapter.generation(ref.collection, { signal }))
    } catch (error) {
      throw this.#failure.note(error)
    }
  }

  /** The version of a generation that the source was just seen at; it becomes the current one (law 7). */
  async #version(generation: Generation): Promise<Version> {
    const held = this.#versions.find(generation)
    // A version recalled from disk may have been read under another configuration; only the source's manifest tells.
    if (held?.confirmed === true) return this.#adopt(held, 0)
    return this.#reported(this.#job(`build ${generation}`, () => this.#build(generation)))
  }

  #expired(wanted: string, cause?: unknown): GatewayError {
    return generationExpired({ collection: this.#name, wanted }, this.history(), cause)
  }

  /** A version that need not be the source's current one. */
  async #older(generation: Generation, named: string): Promise<Version> {
    const held = this.#versions.find(generation)
    if (held !== null) return held
    try {
      return await this.#job(`build ${generation} as of`, () =>
        this.#buildOnce(generation, (version) => this.#enter(version, false)),
      )
    } catch (error) {
      throw isExpired(error) ? this.#expired(named, error) : error
    }
  }

  /** Runs after the jobs before it; a job of the same name under way is shared. */
  #job(name: string, run: () => Promise<Version>): Promise<Version> {
    return this.#jobs.share(name, () => this.#holdings.parts.use(run))
  }

  /** A job, with a failure noted as the collection's state. */
  #reported(job: Promise<Version>): Promise<Version> {
    return job.catch((error: unknown) => Promise.reject(this.#failure.note(error)))
  }

  /** Builds a generation and adopts it; when the source moves on meanwhile, the one it moved to. */
  async #build(wanted: Generation): Promise<Version> {
    let generation = wanted
    for (let attempt = 1; ; attempt++) {
      const held = this.#versions.find(generation)
      if (held?.confirmed === true && isResident(held)) return this.#adopt(held, 0)
      if (this.#refused?.generation === generation && this.#refused.holdings === this.#holdings)
        throw this.#refused.error
      const pulledBefore = this.#counts.partsPulled
      try {
        // The holdings may be others than when the job began.
        const built = await this.#holdings.parts.use(() =>
          this.#buildOnce(generation, (version) => this.#adopt(version, this.#counts.partsPulled - pulledBefore)),
        )
        this.#failure.clear()
        return built
      } catch (error) {
        if (isSettled(error)) this.#refused = { generation, holdings: this.#holdings, error }
        if (!isExpired(error) || attempt === pullAttemptsMax) throw error
      }
      generation = await this.#watch.check()
    }
  }

  /** @param enter as of `buildVersion` */
  async #buildOnce(generation: Generation, enter: (version: Version) => Version): Promise<Version> {
    const { budget, clock, files } = this.#options
    const holdings = this.#holdings
    const progress = new PrimingProgress(clock)
    this.#progress = progress
    const pulledBefore = this.#counts.partsPulled
    try {
      const version = await buildVersion(
        {
          source: this.#source,
          generation,
          holdings,
          budget,
          persistent: files.persistent,
          progress,
          lifetime: AbortSignal.any([this.#options.lifetime, holdings.parts.lifetime]),
        },
        enter,
      )
      if (this.#counts.partsPulled > pulledBefore) holdings.store()
      return version
    } finally {
      this.#progress = null
    }
  }

  /** Brings every segment of a version back into memory, from disk or else from the source. */
  async #bringBack(missing: Version): Promise<Version> {
    // Meanwhile the background may have given it other segments.
    const version = this.#versions.find(missing.generation) ?? missing
    const pins = new Pins()
    try {
      if (await this.#holdings.parts.restoreAll(version, pins)) return version
    } finally {
      pins.release()
    }
    if (version.generation === this.#watch.observed?.generation) return this.#build(version.generation)
    try {
      return await this.#buildOnce(version.generation, (again) => this.#enter(again, false))
    } catch (error) {
      throw isExpired(error) ? this.#expired(`generation ${JSON.stringify(version.generation)}`, error) : error
    }
  }

  /** Makes a version the current one. */
  #adopt(version: Version, partsPulled: number): Version {
    const { ref, emit } = this.#options
    const before = this.#versions.current
    const observed = this.#watch.observed?.generation
    // The source may have moved on, or back, while this was built: then it is one more older version.
    const isCurrent = before === null || observed === undefined || observed === version.generation
    this.#enter(version, isCurrent)
    if (before === this.#versions.current) return version
    if (before === null) this.#counts.primes++
    else this.#counts.refreshes++
    emit({ kind: before === null ? 'primed' : 'refreshed', ref, generation: version.generation, partsPulled })
    return version
  }

  /** Takes a version among those that are held. */
  #enter(version: Version, isCurrent: boolean): Version {
    this.#watch.sightings.describe(version)
    if (this.#versions.enter(version, isCurrent)) {
      this.#holdings.store()
      this.#holdings.improve()
    }
    return version
  }

  #pinned(version: Version): PinnedVersion {
    const { ref, executor, budget } = this.#options
    const { graph } = this.#holdings
    const { observed, sightings } = this.#watch
    const checkedAtMs =
      version.generation === observed?.generation ? observed.atMs : (sightings.lastSeenMs(version.generation) ?? 0)
    return pinVersion(version, { ref, info: this.#source.info, checkedAtMs, executor, budget, graph })
  }
}

const isExpired = (error: unknown): boolean => error instanceof GatewayError && error.code === 'LG_GENERATION_EXPIRED'
/** What the bytes of a generation rule out: pulling them again would end the same way. */
const isSettled = (error: unknown): boolean =>
  error instanceof GatewayError && (error.code === 'LG_BAD_ROW' || error.code === 'LG_UNSUPPORTED')
