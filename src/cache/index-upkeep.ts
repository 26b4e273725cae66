import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../core/clock.js'
import { type GatewayError, toGatewayError } from '../core/errors.js'
import { originalsBytes } from './block.js'
import type { MemoryBudget } from './budget.js'
import { trainOnSegments } from './cluster-training.js'
import type { KernelExecutor } from './executor.js'
import type { HeldVersions } from './held-versions.js'
import { type IndexStep, nextStep } from './index-plan.js'
import type { Training } from './learnt.js'
import type { Parts } from './parts.js'
import type { PulledSegment } from './priming.js'
import { freeResident, keepInMemory } from './resident-segment.js'
import { arenaShares, Pins, type Segment } from './segment.js'
import { tuneVersion } from './tune-version.js'
import { describeTuning } from './tuning.js'
import type { IndexStatistics } from './vector-cache.js'
import { isResident, type Version } from './versions.js'

/** A failed attempt is followed by the next after this long, then twice as long, and so on. */
const retryMsMin = 10_000
const retryMsMax = 3_600_000
/** Of the memory budget: so much stays free of originals that could be on disk only, for builds and the background. */
const freeShare = 1 / 8

interface UpkeepOptions {
  readonly parts: Parts
  readonly versions: HeldVersions
  readonly budget: MemoryBudget
  readonly executor: KernelExecutor
  readonly clock: Clock
  readonly lifetime: AbortSignal
  readonly clusteredRowsMin: number
  /** Runs after the builds and reads that were asked for before. */
  queue<T>(run: () => Promise<T>): Promise<T>
  /** There is something to be written to disk. */
  changed(): void
  onTrained(centroids: number, rows: number): void
  onFailed(error: GatewayError): void
}

/**
 * Improves one collection's index in the background, step by step, while it answers: trains centroids, gives segments
 * codes of the newest codebook, joins small ones. Each step's memory is one segment or one sample. What fails leaves
 * everything as it was.
 */
export class IndexUpkeep {
  readonly #options: UpkeepOptions
  readonly #signal: AbortSignal
  #running: Promise<void> | null = null
  /** The version that nothing is left to do for. */
  #finished: Version | null = null
  #trainingSinceMs: number | null = null
  #failure: {
    readonly error: GatewayError
    readonly atMs: number
    readonly count: number
    readonly retryAtMs: number
  } | null = null

  constructor(options: UpkeepOptions) {
    this.#options = options
    this.#signal = AbortSignal.any([options.parts.lifetime, options.lifetime])
  }

  /** To be called when the current version changed or was used: cheap when there is nothing to do. */
  consider(): void {
    const { versions, clock, parts } = this.#options
    const version = versions.current
    if (version === null || version === this.#finished || this.#running !== null || this.#signal.aborted) return
    if (this.#failure !== null && clock.monotonicMs() < this.#failure.retryAtMs) return
    // The codebook of a training under way stays in place when the collection leaves memory.
    this.#running = parts
      .use(() => this.#run())
      .finally(() => {
        this.#running = null
      })
  }

  /** Resolves when no step is under way: all are done, or abandoned because the parts were retired. */
  async done(): Promise<void> {
    while (this.#running !== null) await this.#running
  }

  statistics(): IndexStatistics {
    const { parts, versions } = this.#options
    const segments = { clustered: 0, flat: 0, plain: 0 }
    for (const { resident } of parts.residents) {
      if (!resident!.block.quantized) segments.plain++
      else if (resident!.block.clusters > 0) segments.clustered++
      else segments.flat++
    }
    const lastError =
      this.#failure === null
        ? null
        : { code: this.#failure.error.code, message: this.#failure.error.message, atMs: this.#failure.atMs }
    const dimension = versions.current?.dimension ?? null
    const codebook = dimension === null ? null : parts.codebooks.forDimension(dimension)
    const training = codebook?.training ?? null
    const common = { segments, tuning: codebook?.tuning ? describeTuning(codebook.tuning) : null, lastError }
    const centroids = codebook?.codebook.centroids ?? null
    if (training !== null && centroids !== null)
      return {
        kind: 'clustered',
        centroids: centroids.count,
        trainedAtMs: training.atMs,
        trainedRows: training.rows,
        meanRadius: training.meanRadius,
        retraining: this.#trainingSinceMs !== null,
        ...common,
      }
    if (this.#trainingSinceMs !== null) return { kind: 'training', startedAtMs: this.#trainingSinceMs, ...common }
    const tried = training === null ? null : { atMs: training.atMs, rows: training.rows }
    return { kind: 'flat', tried, ...common }
  }

  async #run(): Promise<void> {
    const { versions, parts, budget, clock, clusteredRowsMin, onFailed } = this.#options
    try {
      for (;;) {
        await setImmediate() // queries go first
        this.#signal.throwIfAborted()
        const version = versions.current
        const step =
          version === null
            ? null
            : nextStep(version, parts.codebooks, {
                rowsMin: clusteredRowsMin,
                bytesFree: budget.pool.bytesFreeInOnePiece,
              })
        if (step === null) {
          if (version !== null && (await this.#bringOriginals(version))) continue
          if (version !== null && (await this.#leaveSparse(version))) continue
          await budget.pool.giveBackEmpty()
          if (version !== null && isResident(version)) {
            this.#finished = version
            this.#failure = null
          }
          return
        }
        await this.#take(step, version!)
      }
    } catch (cause) {
      if (this.#signal.aborted) return
      const error = toGatewayError(cause)
      const count = (this.#failure?.count ?? 0) + 1
      const retryAtMs = clock.monotonicMs() + Math.min(retryMsMax, retryMsMin * 2 ** (count - 1))
      this.#failure = { error, atMs: clock.now(), count, retryAtMs }
      onFailed(error)
    }
  }

  /** Brings the originals of one segment into memory while much of it is free; false when there is none to bring. */
  async #bringOriginals(version: Version): Promise<boolean> {
    const { pool } = this.#options.budget
    for (const { segment } of version.segments) {
      const { resident } = segment
      if (resident === null || segment.broken || resident.block.originals !== null) continue
      const bytes = originalsBytes(resident.block)
      if (pool.bytesFree - bytes < pool.bytesMax * freeShare) return false
      const allocation = pool.allocate(bytes, resident.allocation.arena)
      if (allocation === null) continue
      segment.pin()
      try {
        await segment.fromDisk((stored) => stored.readRows(0, allocation.u8(), this.#signal))
        if (segment.broken || resident.block.originals !== null) allocation.free()
        else keepInMemory(resident, allocation)
        return true
      } catch (error) {
        allocation.free()
        throw error
      } finally {
        segment.unpin()
      }
    }
    return false
  }

  /** Moves one segment out of an arena that has few, all of them this version's; false when there is none, or no room. */
  async #leaveSparse(version: Version): Promise<boolean> {
    const { budget, parts, queue } = this.#options
    const segments = version.segments.map(({ segment }) => segment)
    const avoid = new Set<number>()
    for (const [arena, pieces] of arenaShares(segments)) {
      const content = budget.pool.contentOf(arena)
      if (content.sparse && content.pieces === pieces) avoid.add(arena.id)
    }
    const segment = segments.find(({ resident }) => resident !== null && avoid.has(resident.allocation.arena.id))
    if (segment === undefined) return false
    const { moveSegment } = await import('./recode.js')
    return queue(async () => {
      await segment.writing // writing fills in the checksums, which move along
      this.#signal.throwIfAborted()
      if (segment.resident === null || segment.references === 0 || segment.broken) return true
      const isStored = segment.resident.stored !== null // a file that is written from now on is not for what was copied
      const pins = new Pins()
      try {
        pins.addReading(segment)
        const made = await moveSegment(segment, { budget, avoid }, this.#signal)
        if (made === null) return false
        if (isStored && !parts.keepFile(made)) {
          freeResident(made.resident)
          return false
        }
        this.#replace(new Map([[segment, parts.admit(made, pins)]]))
        return true
      } finally {
        pins.release()
      }
    })
  }

  async #take(step: IndexStep, version: Version): Promise<void> {
    const { changed } = this.#options
    switch (step.kind) {
      case 'train':
        return this.#train(step, version)
      case 'measure':
        step.codebook.training = { ...step.codebook.training!, meanRadius: step.meanRadius }
        changed()
        return
      case 'tune':
        step.codebook.tuning = await tuneVersion(version, step.codebook, this.#options, this.#signal)
        changed()
        return
      case 'recode': {
        const { recodeSegment } = await import('./recode.js')
        return this.#succeed([step.segment], (signal) =>
          recodeSegment(step.segment, step.codebook, this.#recoding(step), signal),
        )
      }
      case 'merge': {
        const { mergeSegments } = await import('./recode.js')
        const segments = step.members.map(({ segment }) => segment)
        return this.#succeed(segments, (signal) =>
          mergeSegments(step.members, version.columns, step.codebook, this.#recoding(step), signal),
        )
      }
    }
  }

  /** Arenas in which this step and those after it replace anything are left: what other collections have there goes too, in time, and an empty arena is given back. */
  #recoding(step: Extract<IndexStep, { kind: 'recode' | 'merge' }>) {
    const { parts, budget, executor } = this.#options
    const members = new Set(step.kind === 'merge' ? step.members.map(({ segment }) => segment) : [step.segment])
    const replaced = [...parts.residents].filter(
      (segment) => members.has(segment) || (segment.codebook !== null && segment.codebook !== step.codebook.version),
    )
    return { budget, executor, avoid: new Set([...arenaShares(replaced).keys()].map(({ id }) => id)) }
  }

  async #train({ codebook }: Extract<IndexStep, { kind: 'train' }>, version: Version): Promise<void> {
    const { parts, clock, queue, changed, onTrained } = this.#options
    this.#trainingSinceMs = clock.now()
    try {
      const segments = version.segments.map(({ segment }) => segment)
      const trained = await this.#options.budget.spare((giveWay) =>
        trainOnSegments(segments, codebook, this.#options, AbortSignal.any([giveWay, this.#signal])),
      )
      const rows = segments.reduce((sum, segment) => sum + segment.rows, 0)
      const training: Training = { atMs: clock.now(), rows, meanRadius: null }
      if (trained === null) {
        codebook.training = training
        changed()
        return
      }
      // Between two builds, so that no part has codes of both.
      await queue(async () => {
        this.#signal.throwIfAborted()
        parts.codebooks.activate(trained, { training, tuning: null })
        changed()
      })
      onTrained(trained.centroids!.count, rows)
    } finally {
      this.#trainingSinceMs = null
    }
  }

  /** Makes a segment of others and puts it in their place. */
  #succeed(segments: readonly Segment[], make: (signal: AbortSignal) => Promise<PulledSegment>): Promise<void> {
    const { parts, queue, versions } = this.#options
    return queue(async () => {
      this.#signal.throwIfAborted()
      const pins = new Pins()
      try {
        const version = versions.current
        // One that went meanwhile is no step any more.
        if (version === null || segments.some((segment) => segment.resident === null || segment.references === 0))
          return
        for (const segment of segments) pins.addReading(segment)
        const made = await this.#options.budget.spare((giveWay) => make(AbortSignal.any([giveWay, this.#signal])))
        if (segments.some(({ resident }) => resident!.block.originals === null)) await parts.spill(made, this.#signal)
        if (this.#signal.aborted) freeResident(made.resident)
        this.#signal.throwIfAborted()
        const successor = parts.admit(made, pins)
        this.#replace(new Map(segments.map((segment) => [segment, successor])))
      } finally {
        pins.release()
      }
    })
  }

  #replace(successors: ReadonlyMap<Segment, Segment>): void {
    this.#options.versions.replace(successors)
    this.#options.changed()
  }
}
