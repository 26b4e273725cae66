import type { Manifest, Part } from '../adapters/adapter.js'
import type { Clock, Random } from '../core/clock.js'
import type { VersionWanted } from '../core/contract.js'
import { GatewayError, toGatewayError } from '../core/errors.js'
import {
  generation as asGeneration,
  type CollectionRef,
  formatCollection,
  type Generation,
} from '../core/generation.js'
import { limits } from '../core/limits.js'
import { sideBySide } from '../core/side-by-side.js'
import { attend } from './attend.js'
import { isOverBudget, type MemoryBudget } from './budget.js'
import { bundleWitness } from './bundle.js'
import type { CollectionFiles } from './collection-files.js'
import type { KernelExecutor } from './executor.js'
import { GraphKeeper } from './hnsw/graph-keeper.js'
import { IndexUpkeep } from './index-upkeep.js'
import { JobQueue } from './job-queue.js'
import { type MemoryRoom, needsMoreMemory, placeOriginals } from './originals-place.js'
import { type OriginalsPlace, Parts } from './parts.js'
import { pinVersion } from './pinned-version.js'
import { PrimingProgress } from './priming-progress.js'
import { fromRecord, toRecord } from './recall.js'
import { deletedRows } from './search.js'
import { Pins, type Segment } from './segment.js'
import { Sightings } from './sightings.js'
import { waitFor } from './single-flight.js'
import { SourceWatch } from './source-watch.js'
import type {
  CachedCollection,
  CacheEvent,
  CollectionState,
  CollectionStatistics,
  GraphStatistics,
  HeldGeneration,
  PinnedVersion,
} from './vector-cache.js'
import { drop, hold, isResident, sameContent, type Version } from './versions.js'

/** Versions kept for `as_of` besides the current one. */
const versionsMax = 8
/**
 * Parts pulled at a time, and their bytes at the source together: thousands of small files mostly wait, each for its own
 * query of the reader. Larger parts are pulled alone, in as much memory as ever.
 */
const pullRoom = { count: 8, weight: 8 * 2 ** 20 }
/** A source that changes under every pull is given up on after so many. */
const pullAttemptsMax = 4

export interface CollectionOptions {
  readonly ref: CollectionRef
  readonly files: CollectionFiles
  readonly budget: MemoryBudget
  readonly executor: KernelExecutor
  readonly clock: Clock
  readonly random: Random
  /** Collections of fewer rows get no clusters. */
  readonly clusteredRowsMin: number
  readonly emit: (event: CacheEvent) => void
  /** Runs a write to disk after those before it. */
  readonly inBackground: (task: () => Promise<void>) => void
  /** Aborts when the cache closes. */
  readonly lifetime: AbortSignal
}

/** One collection's versions, and the only place that changes them. */
export class Collection {
  readonly #options: CollectionOptions
  readonly #watch: SourceWatch
  /** Builds and reads run one after another, so that none does another's work twice. */
  readonly #jobs = new JobQueue<Version>()
  #source: CachedCollection
  #loaded: Promise<void> | null = null
  #parts: Parts
  #upkeep: IndexUpkeep
  #graph: GraphKeeper | null
  /** Settles when nothing is left in memory of work on an index that was let go. */
  #abandoned: Promise<unknown> = Promise.resolve()
  #current: Version | null = null
  /** The current one and older ones, newest first. */
  #versions: Version[] = []
  #progress: PrimingProgress | null = null
  /** Null once the source answered again. */
  #failure: { readonly error: GatewayError; readonly atMs: number } | null = null
  /** The last generation that cannot be read, so that not every query pulls it to find out. */
  #refused: { readonly generation: Generation; readonly parts: Parts; readonly error: unknown } | null = null
  readonly #counts = {
    hits: 0,
    misses: 0,
    primes: 0,
    refreshes: 0,
    invalidations: 0,
    evictions: 0,
    partsPulled: 0,
    segmentsRestored: 0,
    segmentsDiscarded: 0,
  }

  constructor(source: CachedCollection, options: CollectionOptions) {
    this.#source = source
    this.#options = options
    this.#parts = this.#createParts()
    this.#upkeep = this.#createUpkeep(this.#parts)
    this.#graph = this.#createGraph(this.#upkeep)
    this.#watch = new SourceWatch(() => this.#ask(), options.clock)
  }

  async pin(source: CachedCollection, wanted: VersionWanted, signal: AbortSignal): Promise<PinnedVersion> {
    signal.throwIfAborted()
    const atOnce = this.pinAtOnce(source, wanted)
    if (atOnce !== null) return atOnce
    await this.#attach(source, signal)
    const ready = this.#current !== null && isResident(this.#current) ? this.#current : null
    let version = await this.#choose(wanted, signal)
    const hit = version === ready
    // Between its coming into memory and this caller's turn a version may lose a segment to another collection, or go.
    for (let attempt = 1; !isResident(version); attempt++) {
      if (attempt > pullAttemptsMax)
        throw new GatewayError('LG_OVERLOADED', `${this.#name}: other collections need the memory at the same time`, {
          retryAfterMs: 100,
        })
      const missing = version
      version = this.#versions.includes(missing)
        ? await waitFor(this.#reported(this.#job(`read ${missing.generation}`, () => this.#bringBack(missing))), signal)
        : await this.#choose(wanted, signal)
    }
    if (hit) this.#counts.hits++
    else this.#counts.misses++
    const pinned = this.#pinned(version)
    this.#improve()
    return pinned
  }

  /** The same, when nothing has to be waited for; else null. */
  pinAtOnce(source: CachedCollection, wanted: VersionWanted): PinnedVersion | null {
    const version = this.#atOnce(source, wanted)
    if (version === null) return null
    this.#counts.hits++
    const pinned = this.#pinned(version)
    this.#improve()
    return pinned
  }

  /** The current version, when nothing has to be waited for to know that it is the one wanted: the way of most queries. */
  #atOnce(source: CachedCollection, wanted: VersionWanted): Version | null {
    const version = this.#current
    if (version === null || source !== this.#source || wanted.kind !== 'current') return null
    if (!version.confirmed || !isResident(version)) return null
    const { consistency } = wanted
    if (consistency.kind === 'fresh') {
      if (source.adapter.isStill?.(source.ref.collection, version.generation) !== true) return null
      this.#watch.confirm(version.generation)
      this.#failure = null
      return version
    }
    if (consistency.kind === 'ttl' && !this.#seenWithin(consistency.ttlMs, version.generation)) return null
    return version
  }

  /** Whether a check that began at most so long ago saw the source at this generation. */
  #seenWithin(ttlMs: number, generation: Generation): boolean {
    const { observed } = this.#watch
    if (observed === null || observed.generation !== generation) return false
    const ageMs = this.#options.clock.now() - observed.atMs
    // A clock that was set back says nothing of the age.
    return ageMs >= 0 && ageMs <= ttlMs
  }

  /** Checks the source now and pulls what is new. */
  async refresh(source: CachedCollection, signal: AbortSignal) {
    await this.#attach(source, signal)
    const before = this.#current?.generation ?? null
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
    return this.#current
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
    await this.#upkeep.done()
  }

  /** Resolves when there is nothing more to do for the graph. */
  async graphBuilt(): Promise<void> {
    await this.#abandoned
    await this.#graph?.done()
  }

  #leave(): void {
    const versions = this.#versions
    this.#versions = []
    this.#current = null
    for (const version of versions) drop(version)
    this.#parts.retire(
      new GatewayError('LG_GENERATION_EXPIRED', `${this.#name}: invalidated while it was being pulled`),
    )
    this.#abandoned = Promise.all([this.#abandoned, this.#upkeep.done(), this.#graph?.close()])
  }

  /** Lets go of everything that was read; jobs under way end, and begin anew if they build. */
  #forget(): void {
    this.#watch.forget()
    this.#leave()
    this.#parts = this.#createParts()
    this.#upkeep = this.#createUpkeep(this.#parts)
    this.#graph = this.#createGraph(this.#upkeep)
  }

  primingRetryMs(): number | null {
    return this.#progress?.retryMs() ?? null
  }

  history(): readonly HeldGeneration[] {
    return this.#watch.sightings
      .list()
      .flatMap(({ generation, firstSeenMs, lastSeenMs, summary }) =>
        summary === null
          ? []
          : [
              {
                generation,
                firstSeenMs,
                lastSeenMs: Math.max(firstSeenMs, lastSeenMs),
                ...summary,
                held: this.#answers(generation),
              },
            ],
      )
      .reverse()
  }

  /** Null where no graph was asked for. */
  graph(): GraphStatistics | null {
    return this.#graph?.statistics() ?? null
  }

  statistics(): CollectionStatistics {
    const version = this.#current
    const skipped = { nullVector: 0, nullId: 0, badVector: 0 }
    for (const { part } of version?.parts ?? []) {
      skipped.nullVector += part.skipped.nullVector
      skipped.nullId += part.skipped.nullId
      skipped.badVector += part.skipped.badVector
    }
    const residents = [...this.#parts.residents]
    const graph = this.graph()
    return {
      state: this.#state(),
      index: this.#upkeep.statistics(),
      graph,
      generation: version?.generation ?? null,
      witness: version?.witness ?? null,
      checkedAtMs: this.#watch.observed?.atMs ?? null,
      dimension: version?.dimension ?? null,
      columns: version?.columns ?? [],
      idColumn: version?.idColumn ?? null,
      vectorColumn: version?.vectorColumn ?? null,
      rows: version?.rows ?? null,
      parts: version?.parts.length ?? null,
      segmentsResident: residents.length,
      memoryBytes: residents.reduce((sum, segment) => sum + segment.residentBytes, 0) + (graph?.bytes ?? 0),
      diskBytes: this.#options.files.bytes,
      skipped,
      ...this.#counts,
      lastError:
        this.#failure === null
          ? null
          : { code: this.#failure.error.code, message: this.#failure.error.message, atMs: this.#failure.atMs },
    }
  }

  get #room(): MemoryRoom {
    const { budget, files } = this.#options
    return { name: this.#name, bytesMax: budget.pool.bytesMax, persistent: files.persistent }
  }

  get #name(): string {
    return formatCollection(this.#options.ref)
  }

  #state(): CollectionState {
    if (this.#progress !== null) return this.#current === null ? 'priming' : 'refreshing'
    if (this.#failure !== null) return 'failed'
    return this.#current === null ? 'cold' : 'ready'
  }

  #createParts(): Parts {
    const { files, budget, executor, random, ref, emit } = this.#options
    return new Parts({
      metric: this.#source.info.metric,
      files,
      budget,
      executor,
      random,
      onPulled: () => this.#counts.partsPulled++,
      onRestored: () => this.#counts.segmentsRestored++,
      onDiscarded: () => this.#counts.segmentsDiscarded++,
      onEvicted: () => {
        this.#counts.evictions++
        emit({ kind: 'evicted', ref })
      },
    })
  }

  #createUpkeep(parts: Parts): IndexUpkeep {
    const { budget, executor, clock, lifetime, ref, emit, clusteredRowsMin } = this.#options
    return new IndexUpkeep({
      parts,
      budget,
      executor,
      clock,
      lifetime,
      clusteredRowsMin: this.#source.index === 'flat' ? Number.POSITIVE_INFINITY : clusteredRowsMin,
      current: () => this.#current,
      queue: (run) => this.#jobs.add(() => this.#parts.use(run)),
      replace: (successors) => this.#replace(successors),
      changed: () => this.#options.inBackground(() => this.#store()),
      onTrained: (centroids, rows) => emit({ kind: 'trained', ref, centroids, rows }),
      onFailed: ({ code, message }) => emit({ kind: 'index-failed', ref, code, message }),
    })
  }

  #createGraph(upkeep: IndexUpkeep): GraphKeeper | null {
    const { files, budget, executor, clock, lifetime, ref, emit, clusteredRowsMin } = this.#options
    if (this.#source.index !== 'hnsw') return null
    return new GraphKeeper({
      metric: this.#source.info.metric,
      budget,
      clock,
      lifetime,
      rowsMin: clusteredRowsMin,
      file: files.graph,
      current: () => this.#current,
      searchTarget: ({ segments, columns }) => ({ segments, columns, executor, budget, choice: null }),
      idle: () => upkeep.done(),
      onBuilt: (rows) => emit({ kind: 'graph-built', ref, rows }),
      onFailed: ({ code, message }) => emit({ kind: 'index-failed', ref, code, message }),
    })
  }

  /** Lets the background look for work, now that the current version changed or was used. */
  #improve(): void {
    this.#upkeep.consider()
    this.#graph?.consider()
  }

  /** Gives every version the successors of its segments; who has pinned one keeps what it was. */
  #replace(successors: ReadonlyMap<Segment, Segment>): void {
    const parts = this.#parts
    const renewed = parts.replace(successors)
    const current = this.#current
    const replaced = this.#versions
    this.#versions = replaced.map((version) => {
      const slots = version.parts.map(({ part, mask }) => ({ part: renewed.get(part) ?? part, mask }))
      const again = { ...version, parts: slots, segments: parts.mask(slots, version.dimension) }
      if (version === current) this.#current = again
      return again
    })
    for (const version of this.#versions) hold(version)
    for (const version of replaced) drop(version)
    this.#options.inBackground(() => this.#store())
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
      if (this.#graph === null) await this.#options.files.graph?.discard(null)
      const record = await this.#options.files.loadRecord()
      if (record === null || record.metric !== this.#source.info.metric) return
      const recalled = await fromRecord(
        record,
        this.#parts,
        formatCollection(this.#options.ref),
        this.#source.adapter.configuration ?? null,
      )
      this.#watch.recall(new Sightings(recalled.sightings))
      this.#versions = [...recalled.versions]
      for (const version of this.#versions) hold(version)
      this.#current = this.#versions[0] ?? null
    })()
    return this.#loaded
  }

  async #choose(wanted: VersionWanted, signal: AbortSignal): Promise<Version> {
    switch (wanted.kind) {
      case 'current': {
        const { consistency } = wanted
        if (consistency.kind === 'frozen' && this.#current !== null) return this.#current
        if (consistency.kind === 'ttl' && this.#watch.observed !== null) {
          const { generation } = this.#watch.observed
          if (this.#seenWithin(consistency.ttlMs, generation)) return waitFor(this.#version(generation), signal)
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
    this.#failure = null
    return version
  }

  async #ask(): Promise<Generation> {
    const { lifetime, ref } = this.#options
    try {
      const { adapter } = this.#source
      const attention = { name: this.#name, silenceMsMax: limits.sourceCheckMsMax, lifetime }
      return await attend(attention, (signal) => adapter.generation(ref.collection, { signal }))
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** The version of a generation that the source was just seen at; it becomes the current one (law 7). */
  async #version(generation: Generation): Promise<Version> {
    const held = this.#held(generation)
    // A version recalled from disk may have been read under another configuration; only the source's manifest tells.
    if (held?.confirmed === true) return this.#adopt(held, 0)
    return this.#reported(this.#job(`build ${generation}`, () => this.#build(generation)))
  }

  /** A version that need not be the source's current one. */
  async #older(generation: Generation, named: string): Promise<Version> {
    const held = this.#held(generation)
    if (held !== null) return held
    try {
      return await this.#job(`build ${generation} as of`, () =>
        this.#buildOnce(generation, (version) => this.#keep(version)),
      )
    } catch (error) {
      throw isExpired(error) ? this.#expired(named, error) : error
    }
  }

  #held(generation: Generation): Version | null {
    return this.#versions.find((version) => version.generation === generation) ?? null
  }

  /** Whether `as_of` can be answered without asking the source for what it no longer has. */
  #answers(generation: Generation): boolean {
    const version = this.#held(generation)
    if (version === null) return false
    const { files } = this.#options
    return (
      generation === this.#watch.observed?.generation ||
      version.segments.every(({ segment }) => segment.resident !== null || files.hasSegment(segment.key))
    )
  }

  #expired(named: string, cause?: unknown): GatewayError {
    const held = this.history().map(
      ({ generation, firstSeenMs, lastSeenMs }) =>
        `${JSON.stringify(generation)} (seen ${new Date(firstSeenMs).toISOString()} to ${new Date(lastSeenMs).toISOString()})`,
    )
    return new GatewayError(
      'LG_GENERATION_EXPIRED',
      `${this.#name}: ${named} cannot be answered; held: ${held.length === 0 ? 'nothing' : held.join(', ')}`,
      { field: 'as_of', cause },
    )
  }

  /** Runs after the jobs before it; a job of the same name under way is shared. */
  #job(name: string, run: () => Promise<Version>): Promise<Version> {
    return this.#jobs.share(name, () => this.#parts.use(run))
  }

  /** A job, with a failure noted as the collection's state. */
  #reported(job: Promise<Version>): Promise<Version> {
    return job.catch((error: unknown) => Promise.reject(this.#failed(error)))
  }

  #failed(error: unknown): GatewayError {
    const { clock, lifetime, ref, emit } = this.#options
    if (lifetime.aborted) return new GatewayError('LG_OVERLOADED', 'the gateway is shutting down', { cause: error })
    const failure = toGatewayError(error)
    if (failure === this.#failure?.error) return failure // a check's failure that became its job's
    this.#failure = { error: failure, atMs: clock.now() }
    emit({ kind: 'failed', ref, code: failure.code, message: failure.message })
    return failure
  }

  /** Builds a generation and adopts it; when the source moves on meanwhile, the one it moved to. */
  async #build(wanted: Generation): Promise<Version> {
    let generation = wanted
    for (let attempt = 1; ; attempt++) {
      const held = this.#held(generation)
      if (held?.confirmed === true && isResident(held)) return this.#adopt(held, 0)
      if (this.#refused?.generation === generation && this.#refused.parts === this.#parts) throw this.#refused.error
      const pulledBefore = this.#counts.partsPulled
      try {
        // The parts may be others than when the job began.
        const built = await this.#parts.use(() =>
          this.#buildOnce(generation, (version) => this.#adopt(version, this.#counts.partsPulled - pulledBefore)),
        )
        this.#failure = null
        return built
      } catch (error) {
        if (isSettled(error)) this.#refused = { generation, parts: this.#parts, error }
        if (!isExpired(error) || attempt === pullAttemptsMax) throw error
      }
      generation = await this.#watch.check()
    }
  }

  /** `enter` takes the version in while its segments are still pinned. */
  async #buildOnce(generation: Generation, enter: (version: Version) => Version): Promise<Version> {
    const { ref, clock } = this.#options
    const parts = this.#parts
    const source = this.#source
    const lifetime = AbortSignal.any([this.#options.lifetime, parts.lifetime])
    const attention = { name: this.#name, silenceMsMax: limits.sourceSilenceMsMax, lifetime }
    const progress = new PrimingProgress(clock)
    this.#progress = progress
    const pulledBefore = this.#counts.partsPulled
    const pins = new Pins()
    try {
      const held = this.#held(generation)
      // A restart reads its segments while the source is asked what the generation consists of.
      const [manifested, restored] = await Promise.allSettled([
        attend(attention, (signal) => source.adapter.manifest(ref.collection, generation, { signal })),
        held === null ? null : this.#restoreAll(held, parts, pins),
      ])
      if (manifested.status === 'rejected') throw manifested.reason
      if (restored.status === 'rejected') throw restored.reason
      const manifest = manifested.value
      const place = placeOriginals(manifest, parts, this.#room)
      progress.expect(manifest.parts.filter((part) => parts.find(part, manifest) === null))
      const obtain = async (originals: OriginalsPlace) => {
        const obtainPart = async (part: Part): Promise<Version['parts'][number]> => {
          const onRows = (rows: number): void => progress.advance(part, rows)
          const cached = await parts.obtain(source, manifest, part, { pins, originals, onRows, signal: lifetime })
          progress.finish(part)
          return { part: cached, mask: part.deleted }
        }
        return sideBySide(manifest.parts, pullRoom, ({ bytes }) => bytes ?? pullRoom.weight, obtainPart).catch(
          (error: unknown) => {
            const failure = isOverBudget(error) ? needsMoreMemory(this.#room, `more than ${pins.bytes}`, error) : error
            pins.release()
            throw failure
          },
        )
      }
      const slots = await this.#options.budget
        .fill(() => obtain(place))
        .catch((error: unknown) => {
          // What rows take besides their vectors is only known now.
          if (!isOverBudget(error) || place === 'disk' || !this.#options.files.persistent) throw error
          return this.#options.budget.fill(() => obtain('disk'))
        })
      lifetime.throwIfAborted()
      const version = enter(this.#assemble(manifest, slots, parts))
      if (this.#counts.partsPulled > pulledBefore) this.#options.inBackground(() => this.#store())
      return version
    } finally {
      pins.release()
      this.#progress = null
    }
  }

  #assemble(manifest: Manifest, slots: Version['parts'], parts: Parts): Version {
    const held = this.#held(manifest.generation)
    if (held !== null && sameContent(held, manifest, slots)) {
      held.confirmed = true
      return held
    }
    const { generation, readIdentity, dimension, columns, vectorColumn, idColumn } = manifest
    const segments = parts.mask(slots, dimension)
    let rows = 0
    for (const masked of segments) {
      rows += masked.segment.rows
      for (const _ of deletedRows(masked, masked.segment.resident!.ordinals)) rows--
    }
    const dataRef = formatCollection(this.#options.ref)
    return {
      generation,
      readIdentity,
      dimension,
      columns,
      vectorColumn,
      idColumn,
      parts: slots,
      segments,
      rows,
      witness: bundleWitness({ dataRef, dimension: dimension ?? 0, generation }),
      configuration: this.#source.adapter.configuration ?? null,
      confirmed: true,
    }
  }

  /** Brings every segment of a version back into memory, from disk or else from the source. */
  async #bringBack(missing: Version): Promise<Version> {
    // Meanwhile the background may have given it other segments.
    const version = this.#held(missing.generation) ?? missing
    const pins = new Pins()
    try {
      if (await this.#restoreAll(version, this.#parts, pins)) return version
    } finally {
      pins.release()
    }
    if (version.generation === this.#watch.observed?.generation) return this.#build(version.generation)
    try {
      return await this.#buildOnce(version.generation, (again) => this.#keep(again))
    } catch (error) {
      throw isExpired(error) ? this.#expired(`generation ${JSON.stringify(version.generation)}`, error) : error
    }
  }

  /** Brings a version's segments back from disk; background work gives way. False when one is not there. */
  #restoreAll(version: Version, parts: Parts, pins: Pins): Promise<boolean> {
    return this.#options.budget.fill(() =>
      parts.restoreAll(version, pins).catch((error: unknown) => {
        pins.release()
        throw error
      }),
    )
  }

  /** Makes a version the current one. */
  #adopt(version: Version, partsPulled: number): Version {
    const { ref, emit } = this.#options
    const before = this.#current
    const observed = this.#watch.observed?.generation
    // The source may have moved on, or back, while this was built: then it is one more older version.
    if (before === null || observed === undefined || observed === version.generation) this.#current = version
    this.#keep(version)
    if (before === this.#current) return version
    if (before === null) this.#counts.primes++
    else this.#counts.refreshes++
    emit({ kind: before === null ? 'primed' : 'refreshed', ref, generation: version.generation, partsPulled })
    return version
  }

  /** Enters a version, in front when it is the current one, and lets go of the oldest. */
  #keep(version: Version): Version {
    this.#watch.sightings.describe(version)
    const others = this.#versions.filter((other) => other.generation !== version.generation)
    const [first, ...rest] = others
    const kept = version === this.#current || first === undefined ? [version, ...others] : [first, version, ...rest]
    if (kept.length === this.#versions.length && kept.every((one, i) => one === this.#versions[i])) return version
    const replaced = this.#versions
    this.#versions = kept.slice(0, versionsMax + 1)
    for (const one of this.#versions) hold(one)
    for (const one of replaced) drop(one)
    const wanted = new Set(this.#versions.flatMap(({ parts }) => parts.map(({ part }) => part)))
    this.#parts.retain(wanted)
    this.#options.inBackground(() => this.#store())
    this.#improve()
    return version
  }

  /** Writes to disk what is not there yet, then the record that names it, and removes what no version has. */
  async #store(): Promise<void> {
    const { files, lifetime } = this.#options
    const parts = this.#parts
    const versions = this.#versions
    if (versions.length === 0) return // it has left memory: what is on disk is for the next process
    const segments = new Set(versions.flatMap((version) => version.segments.map(({ segment }) => segment)))
    await parts.saveCodebooks(lifetime)
    for (const segment of segments) {
      if (versions !== this.#versions || lifetime.aborted) return // a later store knows better what is wanted
      await parts.store(segment, lifetime)
    }
    if (versions !== this.#versions) return
    const { metric } = this.#source.info
    const { sightings } = this.#watch
    await files.saveRecord(toRecord({ metric, versions, codebooks: parts.codebookRecords(), sightings }), lifetime)
    if (lifetime.aborted || versions !== this.#versions) return // the record on disk may name what is retired here
    parts.codebooks.retain(
      new Set(versions.flatMap(({ segments }) => segments.map(({ codebook }) => codebook.version))),
    )
    await files.retain({
      segments: new Set([...segments].map((segment) => segment.key)),
      codebooks: new Set([...parts.codebooks.all()].map((codebook) => codebook.version)),
    })
  }

  #pinned(version: Version): PinnedVersion {
    const { ref, executor, budget } = this.#options
    const graph = this.#graph
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
