import assert from 'node:assert'
import { GatewayError } from '../core/errors.js'
import type { Evictable } from './budget.js'
import type { ArenaHandle } from './executor.js'
import { freeResident, leaveOnDisk, type ResidentSegment } from './resident-segment.js'
import type { SegmentDescription, SegmentRun } from './segment-description.js'
import type { StoredOriginals } from './stored-originals.js'

/** Rows of parts in the cache: immutable; their bytes come and go. */
export class Segment implements Evictable {
  readonly key: string
  readonly content: string
  readonly codebook: string | null
  readonly rows: number
  readonly bytes: number
  readonly runs: readonly SegmentRun[]
  /** Versions that have it; without any it leaves memory with its last pin. */
  references = 0
  /** Set while its bytes are being written to disk: they must not change. */
  writing: Promise<unknown> | null = null
  #pins = 0
  #readers = 0
  #broken = false
  #resident: ResidentSegment | null = null
  readonly #owner: SegmentOwner

  constructor(of: SegmentDescription, owner: SegmentOwner) {
    this.key = of.key
    this.content = of.content
    this.codebook = of.codebook
    this.rows = of.rows
    this.bytes = of.bytes
    this.runs = of.runs
    this.#owner = owner
  }

  /** Index of the run that a row is in. */
  runOf(row: number): number {
    let low = 0
    let high = this.runs.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.runs[middle]!.start <= row) low = middle
      else high = middle - 1
    }
    return low
  }

  get pins(): number {
    return this.#pins
  }

  /** In memory: only then may it be searched. Pin it before anything is awaited. */
  get resident(): ResidentSegment | null {
    return this.#resident
  }

  /** Its file turned out to be corrupt: who has pinned it goes on as far as memory goes, others read the source again. */
  get broken(): boolean {
    return this.#broken
  }

  /** Bytes in memory. */
  get residentBytes(): number {
    return this.#resident === null ? 0 : this.bytes + (this.#resident.block.originals?.bytes ?? 0)
  }

  /**
   * Vectors of rows, pinned: float32[dimension] each. Throws LG_CORRUPT.
   * @param positions of their codes, where they are known
   */
  async vectors(rows: readonly number[], positions?: Uint32Array): Promise<Float32Array[]> {
    const { block } = this.#resident!
    if (block.originals !== null) return rows.map((row) => block.vector(row))
    const places = positions ?? Uint32Array.from(rows, block.positions())
    return this.fromDisk((stored) => stored.read(places))
  }

  /** Reads originals that are not in memory. Throws LG_CORRUPT, and then the segment is broken. */
  async fromDisk<T>(read: (stored: StoredOriginals) => Promise<T>): Promise<T> {
    this.pin() // a broken segment leaves with its last pin
    try {
      return await this.#resident!.stored!.use(read)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'LG_CORRUPT') throw error
      if (!this.#broken) this.#owner.broke(this, error)
      this.#broken = true
      throw error
    } finally {
      this.unpin()
    }
  }

  settle(resident: ResidentSegment): void {
    assert(this.#resident === null, 'a segment is built or read once')
    this.#resident = resident
    this.#owner.settled(this)
  }

  pin(): void {
    this.#pins++
  }

  unpin(): void {
    assert(this.#pins > 0, 'a segment is unpinned as often as it was pinned')
    this.#pins--
    this.leaveIfUnused()
  }

  /** Pins, and keeps originals that are in memory there. */
  startReading(): void {
    this.#readers++
    this.pin()
  }

  stopReading(): void {
    this.#readers--
    this.unpin()
  }

  leaveIfUnused(): void {
    if (this.#pins === 0 && (this.references === 0 || this.#broken)) this.#leave(false)
  }

  surrender(): boolean {
    return this.#readers === 0 && this.#resident !== null && leaveOnDisk(this.#resident)
  }

  evict(): void {
    this.#leave(true)
  }

  #leave(evicted: boolean): void {
    assert(this.#pins === 0, 'a pinned segment stays')
    if (this.#resident === null) return
    freeResident(this.#resident)
    this.#resident = null
    this.#owner.left(this, evicted)
  }
}

/** Who is told of a segment's coming and going. */
export interface SegmentOwner {
  settled(segment: Segment): void
  left(segment: Segment, evicted: boolean): void
  /** Its originals on disk are not what was written. */
  broke(segment: Segment, error: GatewayError): void
}

/** Segments that a piece of work keeps in memory. Release exactly once. */
export class Pins {
  readonly #segments = new Set<Segment>()
  readonly #read = new Set<Segment>()

  get bytes(): number {
    let bytes = 0
    for (const segment of this.#segments) bytes += segment.residentBytes
    return bytes
  }

  add(segment: Segment): void {
    if (this.#segments.has(segment)) return
    this.#segments.add(segment)
    segment.pin()
  }

  /** The same, and keeps originals that are in memory there. */
  addReading(segment: Segment): void {
    if (this.#read.has(segment)) return
    this.#read.add(segment)
    segment.startReading()
  }

  release(): void {
    for (const segment of this.#segments) segment.unpin()
    this.#segments.clear()
    for (const segment of this.#read) segment.stopReading()
    this.#read.clear()
  }
}

/** How many pieces segments have in the arenas that they are in. */
export function arenaShares(segments: Iterable<Segment>): ReadonlyMap<ArenaHandle, number> {
  const shares = new Map<ArenaHandle, number>()
  for (const { resident } of segments) {
    if (resident === null) continue
    const { arena } = resident.allocation
    shares.set(arena, (shares.get(arena) ?? 0) + (resident.block.originals === null ? 1 : 2))
  }
  return shares
}
