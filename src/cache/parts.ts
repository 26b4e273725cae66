import type { Manifest, Part } from '../adapters/adapter.js'
import type { Random } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import type { Metric } from '../core/metric.js'
import { originalsBytes, quantizedRowsMin } from './block.js'
import type { MemoryBudget } from './budget.js'
import { CodebookShelf } from './codebook-shelf.js'
import type { CollectionCounts } from './collection-counts.js'
import type { CollectionFiles } from './collection-files.js'
import type { KernelExecutor } from './executor.js'
import { forgetPlaces } from './places.js'
import type { PulledPart, PulledSegment } from './priming.js'
import {
  contentOnDisk,
  freeResident,
  layOut,
  leaveOnDisk,
  openResident,
  type ResidentSegment,
  sectionBytesOf,
  settleOnDisk,
  spaceBytes,
} from './resident-segment.js'
import { type Pins, Segment } from './segment.js'
import type { SegmentDescription } from './segment-description.js'
import type { IdKind } from './segment-ids.js'
import type { MaskedSegment } from './shelf.js'
import type { CachedCollection } from './vector-cache.js'
import { type CachedPart, maskSegments, type Version } from './versions.js'

interface PartsOptions {
  readonly metric: Metric
  readonly files: CollectionFiles
  readonly budget: MemoryBudget
  readonly executor: KernelExecutor
  readonly random: Random
  /** Added to. */
  readonly counts: Pick<CollectionCounts, 'partsPulled' | 'segmentsRestored' | 'segmentsDiscarded' | 'evictions'>
  readonly onEvicted: () => void
}

/** Where originals are to be: `disk` leaves those of blocks with codes in their files. */
export type OriginalsPlace = 'memory' | 'disk'

/** Segment files read at a time: reading is as much copying and checksumming as waiting. */
const readLanes = 4

/** The parts of one collection that were ever pulled and are still wanted, and how to bring them into memory. */
export class Parts {
  readonly codebooks: CodebookShelf
  readonly #options: PartsOptions
  readonly #parts = new Map<string, CachedPart>()
  readonly #residents = new Set<Segment>()
  readonly #retirement = new AbortController()
  #jobs = 0

  constructor(options: PartsOptions) {
    this.#options = options
    this.codebooks = new CodebookShelf({ ...options, pool: options.budget.pool })
  }

  get metric(): Metric {
    return this.#options.metric
  }

  get residents(): ReadonlySet<Segment> {
    return this.#residents
  }

  /** Aborts when they are retired: what is pulled for them is of no use then. */
  get lifetime(): AbortSignal {
    return this.#retirement.signal
  }

  find(part: Part, manifest: Manifest): CachedPart | null {
    return this.#parts.get(partName(part.key, manifest.readIdentity)) ?? null
  }

  /** The part with every segment in memory and pinned: as it is, from disk, or pulled. */
  async obtain(
    source: CachedCollection,
    manifest: Manifest,
    part: Part,
    {
      pins,
      originals,
      onRows,
      signal,
    }: {
      readonly pins: Pins
      readonly originals: OriginalsPlace
      readonly onRows: (count: number) => void
      readonly signal: AbortSignal
    },
  ): Promise<CachedPart> {
    const held = this.find(part, manifest)
    if (held !== null && (await this.restore(held, pins))) return held
    const { metric, budget, executor } = this.#options
    const { adapter, ref } = source
    const context = {
      adapter,
      collection: ref.collection,
      metric,
      manifest,
      budget,
      codebooks: this.codebooks,
      executor,
      spill: originals === 'disk' ? (made: PulledSegment) => this.spill(made, signal) : null,
      onRows,
    }
    const { pullPart } = await import('./priming.js')
    const pulled = await pullPart(context, part, signal)
    this.#options.counts.partsPulled++
    return this.#settle(part, manifest, held, pulled, pins)
  }

  /** Brings a part's segments into memory without the source, pinned; false when one is not on disk (any more). */
  async restore(part: CachedPart, pins: Pins): Promise<boolean> {
    const missing: Segment[] = []
    for (const segment of part.segments) {
      if (segment.broken) return false
      if (segment.resident === null) missing.push(segment)
      else this.#keep(segment, pins)
    }
    const next = missing.values()
    let complete = true
    const lane = async (): Promise<void> => {
      for (const segment of next) {
        const read = await this.#read(segment)
        if (read === 'absent' || read === 'discarded') {
          if (read === 'discarded') this.#options.counts.segmentsDiscarded++
          complete = false
          return
        }
        segment.settle(read)
        this.#keep(segment, pins)
        this.#options.counts.segmentsRestored++
      }
    }
    const lanes = await Promise.allSettled(Array.from({ length: Math.min(readLanes, missing.length) }, lane))
    for (const outcome of lanes) if (outcome.status === 'rejected') throw outcome.reason
    return complete
  }

  /** Brings a version's segments back from disk, pinned; background work gives way. False when one is not there: what was restored stays pinned. */
  restoreAll(version: Version, pins: Pins): Promise<boolean> {
    return this.#options.budget.fill(async () => {
      try {
        for (const { part } of version.parts) if (!(await this.restore(part, pins))) return false
        return true
      } catch (error) {
        pins.release()
        throw error
      }
    })
  }

  /** Whether a version can be searched without the source. */
  has({ segments }: Version): boolean {
    return segments.every(({ segment }) => segment.resident !== null || this.#options.files.hasSegment(segment.key))
  }

  /** Writes a segment to disk unless it is there, or not in memory. */
  async store(segment: Segment, signal: AbortSignal): Promise<void> {
    const { resident, key } = segment
    if (resident === null || resident.block.originals === null) return // those on disk are there
    if (resident.stored !== null && this.#options.files.hasSegment(key)) return
    segment.startReading()
    try {
      segment.writing = this.#write(segment, resident, signal)
      await segment.writing
    } finally {
      segment.writing = null
      segment.stopReading()
    }
  }

  /** Writes a segment that is in no version yet to disk, and leaves its originals there. What cannot be written stays in memory. */
  async spill(made: PulledSegment, signal: AbortSignal): Promise<void> {
    const { resident } = made
    await this.#write(made, resident, signal)
    leaveOnDisk(resident)
  }

  async #write(of: SegmentDescription, resident: ResidentSegment, signal: AbortSignal): Promise<void> {
    const { files } = this.#options
    const { key, rows } = of
    const header = { key, rows, idKind: resident.ids.kind }
    const written = await files.writeSegment(header, contentOnDisk(resident), signal)
    // Another file may have needed its room already.
    const file = written ? files.openOriginals(key) : null
    if (file !== null) settleOnDisk(resident, file)
  }

  /** Gives a segment that is not where it was the file that it has; false when that is gone and has what memory lacks. */
  keepFile({ key, resident }: PulledSegment): boolean {
    const file = this.#options.files.openOriginals(key)
    if (file !== null) settleOnDisk(resident, file)
    return resident.block.originals !== null || resident.stored?.hold() === true
  }

  recallSegment(of: SegmentDescription): Segment {
    return this.#segment(of)
  }

  /** A part known from the record of an earlier process. */
  recall(part: CachedPart): CachedPart {
    this.#parts.set(partName(part.key, part.readIdentity), part)
    return part
  }

  /** The segments of parts under their masks, each with the codebook it is searched with. */
  mask(slots: Version['parts'], dimension: number | null): MaskedSegment[] {
    return maskSegments(slots, ({ codebook }) =>
      codebook === null ? this.codebooks.forDimension(dimension!)! : this.codebooks.get(codebook)!,
    )
  }

  /** Takes what was made in a segment's or several segments' place, pinned. */
  admit(made: PulledSegment, pins: Pins): Segment {
    const segment = this.#segment(made)
    segment.settle(made.resident)
    this.#keep(segment, pins)
    return segment
  }

  /** Parts that have any of these segments, each with the part that has their successors instead. */
  replace(successors: ReadonlyMap<Segment, Segment>): ReadonlyMap<CachedPart, CachedPart> {
    const replaced = new Map<CachedPart, CachedPart>()
    for (const [name, part] of this.#parts) {
      if (!part.segments.some((segment) => successors.has(segment))) continue
      // A successor leaves out the parts that the current version does not have; older ones keep the segment for those.
      const segments = new Set(
        part.segments.map((segment) => {
          const successor = successors.get(segment)
          return successor?.runs.some((run) => run.part === part.key) === true ? successor : segment
        }),
      )
      const renewed = { ...part, segments: [...segments] }
      replaced.set(part, renewed)
      this.#parts.set(name, renewed)
    }
    return replaced
  }

  /** Forgets parts that no version has. */
  retain(wanted: ReadonlySet<CachedPart>): void {
    for (const [name, part] of this.#parts) if (!wanted.has(part)) this.#parts.delete(name)
  }

  /** Runs a job that builds or reads segments; their codebook stays in place meanwhile. */
  async use<T>(job: () => Promise<T>): Promise<T> {
    this.#jobs++
    try {
      return await job()
    } finally {
      this.#jobs--
      this.#releaseIfUnused()
    }
  }

  /** Nothing new is added from now on; with the last segment the codebooks leave memory. */
  retire(reason: GatewayError): void {
    this.#retirement.abort(reason)
    this.#releaseIfUnused()
  }

  #releaseIfUnused(): void {
    if (this.lifetime.aborted && this.#jobs === 0 && this.#residents.size === 0) this.codebooks.release()
  }

  #keep(segment: Segment, pins: Pins): void {
    pins.add(segment)
    this.#options.budget.touch(segment)
  }

  #segment(of: SegmentDescription): Segment {
    return new Segment(of, {
      settled: (segment) => this.#residents.add(segment),
      left: (segment, evicted) => {
        this.#options.budget.forget(segment)
        this.#residents.delete(segment)
        forgetPlaces()
        if (evicted) {
          this.#options.counts.evictions++
          this.#options.onEvicted()
        }
        this.#releaseIfUnused()
      },
      broke: (segment, error) => {
        this.#options.counts.segmentsDiscarded++
        void this.#options.files.discardSegment(segment.key, error)
      },
    })
  }

  /** Fills the part's segments with what was pulled, or makes them. */
  #settle(part: Part, manifest: Manifest, held: CachedPart | null, pulled: PulledPart, pins: Pins): CachedPart {
    const known =
      held !== null &&
      held.segments.length === pulled.segments.length &&
      held.segments.every(
        (segment, i) =>
          !segment.broken && segment.key === pulled.segments[i]!.key && segment.rows === pulled.segments[i]!.rows,
      )
    const cached: CachedPart = known
      ? held
      : {
          key: part.key,
          readIdentity: manifest.readIdentity,
          skipped: pulled.skipped,
          segments: pulled.segments.map((segment) => this.#segment(segment)),
        }
    for (const [i, segment] of cached.segments.entries()) {
      const { resident } = pulled.segments[i]!
      if (segment.resident === null) segment.settle(resident)
      else freeResident(resident)
      this.#keep(segment, pins)
    }
    this.#parts.set(partName(part.key, manifest.readIdentity), cached)
    return cached
  }

  /** Reads what has to be in memory: all but the originals behind codes. */
  #read(segment: Segment): Promise<ResidentSegment | 'absent' | 'discarded'> {
    const { files, budget } = this.#options
    return files.readSegment(segment.key, async (file) => {
      const { rows, idKind } = file.header
      if (rows !== segment.rows)
        throw new GatewayError('LG_CORRUPT', `segment file has ${rows} rows, expected ${segment.rows}`)
      const sections = sectionBytesOf(file.sectionBytes)
      const sizes = [spaceBytes(sections, rows)]
      if (rows < quantizedRowsMin) sizes.push(file.originals.bytes)
      const bytes = sizes.reduce((sum, size) => sum + size)
      const [allocation, originals] = budget.obtain(bytes, () => budget.pool.allocateTogether(sizes))
      try {
        const space = layOut(allocation!, sections, rows)
        // Loaded while the sections are read.
        const arrow = sections.has('metadata') ? import('./metadata-arrow.js') : null
        for (const [name, view] of space.sections) await file.read(name, view)
        const metadata = arrow === null ? null : (await arrow).viewMetadata(space)
        const resident = openResident(space, idKind as IdKind, metadata, null)
        if (file.originals.bytes !== originalsBytes(resident.block))
          throw new GatewayError('LG_CORRUPT', `segment file has ${file.originals.bytes} bytes of vectors`)
        const stored = files.openOriginals(segment.key)
        if (stored === null) throw new GatewayError('LG_CORRUPT', 'segment file was deleted while it was read')
        settleOnDisk(resident, stored)
        if (originals === undefined) resident.stored!.hold()
        else {
          await resident.stored!.readRows(0, originals.u8(), this.lifetime)
          resident.block.attach(originals)
        }
        return resident
      } catch (error) {
        allocation!.free()
        originals?.free()
        throw error
      }
    })
  }
}

const partName = (key: string, readIdentity: string): string => JSON.stringify([key, readIdentity])
