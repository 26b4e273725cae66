import type { VersionWanted } from '../core/contract.js'
import { GatewayError } from '../core/errors.js'
import { generation as asGeneration, formatCollection, type Generation } from '../core/generation.js'
import { limits } from '../core/limits.js'
import { attend } from './attend.js'
import { noCounts } from './collection-counts.js'
import { describeCollection } from './collection-statistics.js'
import type { HeldVersions } from './held-versions.js'
import { generationExpired, listHistory } from './history.js'
import { type CollectionOptions, Holdings } from './holdings.js'
import { JobQueue } from './job-queue.js'
import { LastFailure } from './last-failure.js'
import { pinVersion } from './pinned-version.js'
import { fromRecord } from './recall.js'
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
import { VersionBuilds } from './version-builds.js'
import { isResident, type Version } from './versions.js'

/** A version that loses a segment to another collection each time before it is its caller's turn is given up on after so many. */
const bringBackAttemptsMax = 4

/** One collection: which of its versions a caller gets, and when one is built for it. What was read is let go of here alone. */
export class Collection {
  readonly #options: CollectionOptions
  readonly #watch: SourceWatch
  readonly #jobs = new JobQueue<Version>()
  #source: CachedCollection
  #loaded: Promise<void> | null = null
  #holdings: Holdings
  /** Settles when nothing is left in memory of holdings that were let go. */
  #abandoned: Promise<unknown> = Promise.resolve()
  readonly #failure: LastFailure
  readonly #builds: VersionBuilds
  readonly #counts = noCounts()

  constructor(source: CachedCollection, options: CollectionOptions) {
    this.#source = source
    this.#options = options
    this.#failure = new LastFailure(options)
    this.#watch = new SourceWatch(() => this.#ask(), options.clock)
    this.#holdings = this.#begin()
    this.#builds = new VersionBuilds({
      ...options,
      jobs: this.#jobs,
      watch: this.#watch,
      failure: this.#failure,
      counts: this.#counts,
      reading: () => ({ source: this.#source, holdings: this.#holdings }),
    })
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
      if (attempt > bringBackAttemptsMax)
        throw new GatewayError('LG_OVERLOADED', `${this.#name}: other collections need the memory at the same time`, {
          retryAfterMs: 100,
        })
      const missing = version
      version = this.#versions.list.includes(missing)
        ? await waitFor(this.#builds.again(missing), signal)
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
    return this.#builds.progress?.retryMs() ?? null
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
    if (this.#builds.progress !== null) return this.#versions.current === null ? 'priming' : 'refreshing'
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
          if (this.#watch.seenWithin(consistency.ttlMs, generation))
            return waitFor(this.#builds.latest(generation), signal)
        }
        return waitFor(this.#checkedVersion(), signal)
      }
      case 'generation':
        return waitFor(
          this.#builds.older(asGeneration(wanted.generation), `generation ${JSON.stringify(wanted.generation)}`),
          signal,
        )
      case 'time': {
        const named = `time ${new Date(wanted.atMs).toISOString()}`
        const newest = this.#watch.sightings.newest
        const maybeStillThere = newest === null || wanted.atMs > newest.lastSeenMs
        if (maybeStillThere && wanted.atMs <= this.#options.clock.now()) await waitFor(this.#watch.check(), signal)
        const generation = this.#watch.sightings.at(wanted.atMs)
        if (generation === null) throw this.#expired(named)
        return waitFor(this.#builds.older(generation, named), signal)
      }
    }
  }

  /** The version of a check that starts after this call. */
  async #checkedVersion(): Promise<Version> {
    const version = await this.#builds.latest(await this.#watch.check())
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

  #expired(wanted: string): GatewayError {
    return generationExpired({ collection: this.#name, wanted }, this.#watch, this.#holdings)
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
