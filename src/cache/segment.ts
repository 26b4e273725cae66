import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { GatewayError } from '../core/errors.js'
import type { PartKey } from '../core/generation.js'
import type { Metric } from '../core/metric.js'
import { AllowSlots, allowBytes } from './allow-slots.js'
import type { Allocation } from './arena.js'
import {
  type Block,
  type BlockShape,
  blockBytes,
  createBlock,
  openBlock,
  originalsBytes,
  quantizedRowsMin,
} from './block.js'
import type { Evictable } from './budget.js'
import type { Codebook } from './codebook.js'
import type { ArenaHandle } from './executor.js'
import type { SegmentMetadata } from './metadata.js'
import { type SegmentContent, segmentFormatVersion, sumsBytes } from './segment-file.js'
import { type IdKind, readIds, type SegmentIds } from './segment-ids.js'
import { type OriginalsFile, originalsByPosition, StoredOriginals } from './stored-originals.js'

/** Parts are cut into segments of about this many bytes of float32, so that what is being built stays bounded. */
const segmentVectorBytesMax = 16 * 1024 * 1024

export const segmentRowsMax = (dimension: number): number => rowsIn(segmentVectorBytesMax, dimension)

/** Of joined segments: a query looks for each cluster's window in each segment, so few large ones are fastest. */
const mergedVectorBytesMax = 512 * 1024 * 1024

export const mergedRowsMax = (dimension: number): number => rowsIn(mergedVectorBytesMax, dimension)

const rowsIn = (bytes: number, dimension: number): number => Math.max(1, Math.floor(bytes / (4 * dimension)))

const sha256 = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('hex')

/** Names the rows of a pulled segment, whatever they are coded with. */
export const contentOf = (of: {
  readonly part: PartKey
  readonly readIdentity: string
  readonly metric: Metric
  /** Number of the segment inside its part. */
  readonly chunk: number
}): string => sha256([of.part, of.readIdentity, of.metric, of.chunk])

/** The same for rows of several segments: of each, its content and which of its runs. */
export const mergedContentOf = (of: readonly (readonly [content: string, runs: readonly number[]])[]): string =>
  sha256(of)

/** Names a segment by everything that decides its bytes; `codebook` is null when it has no codes. */
export const segmentKey = (content: string, codebook: string | null): string =>
  sha256([segmentFormatVersion, content, codebook])

/** Rows of one part in a segment: one after another, ordinals ascending. */
export interface SegmentRun {
  readonly part: PartKey
  readonly start: number
  readonly rows: number
}

/** What is known of a segment whether it is in memory or not. */
export interface SegmentDescription {
  readonly key: string
  readonly content: string
  /** Version of the codebook that its codes were made with; null when it has none. */
  readonly codebook: string | null
  readonly rows: number
  /** Bytes of its allocation when resident, without originals. */
  readonly bytes: number
  /** In order of part keys, which is the order that rows of equal distance and id are told apart by. */
  readonly runs: readonly SegmentRun[]
}

/** Sections of a segment, as in its file: they lie one after another in one allocation. `sums` are of the originals on disk. */
const sectionNames = ['block', 'ids', 'idOffsets', 'ordinals', 'metadata', 'sums'] as const
type SectionName = (typeof sectionNames)[number]

const align = (bytes: number): number => Math.ceil(bytes / 64) * 64

/** A segment's bytes in memory. */
export interface ResidentSegment {
  readonly allocation: Allocation
  readonly block: Block
  readonly ids: SegmentIds
  /** uint32[rows], ascending in every run. */
  readonly ordinals: Uint32Array
  readonly metadata: SegmentMetadata | null
  readonly allow: AllowSlots
  readonly sections: ReadonlyMap<SectionName, Uint8Array>
  /** What can be read of its file in place of originals in memory; null before there is one. */
  stored: StoredOriginals | null
}

/** Space for a segment before its content is there. */
export interface SegmentSpace {
  readonly allocation: Allocation
  readonly blockAllocation: Allocation
  readonly rows: number
  readonly sections: ReadonlyMap<SectionName, Uint8Array>
  readonly allow: AllowSlots
}

export type SectionBytes = ReadonlyMap<SectionName, number>

/** Rows of `quantizedRowsMin` and more get codes, of the kinds that the codebook is for; null: of none. */
export function blockShape(of: {
  readonly rows: number
  readonly dimension: number
  readonly metric: Metric
  readonly codebook: Codebook | null
}): BlockShape {
  const { rows, dimension, metric, codebook } = of
  const quantized = rows >= quantizedRowsMin
  const clusters = quantized ? (codebook?.centroids?.count ?? 0) : 0
  const basis = quantized ? (codebook?.basis ?? null) : null
  const directions = basis?.prefix ?? 0
  const cells = basis?.cells?.count ?? 0
  return { rows, dimension, metric, quantized, clusters, directions, cells }
}

/** Bytes of every section, for the allocation and the file. */
export function sectionBytes(
  shape: BlockShape,
  rest: { readonly idSections: readonly number[]; readonly metadata: number | null },
): SectionBytes {
  const [ids, idOffsets] = rest.idSections
  const bytes = new Map<SectionName, number>()
  bytes.set('block', blockBytes(shape))
  bytes.set('ids', ids!)
  if (idOffsets !== undefined) bytes.set('idOffsets', idOffsets)
  bytes.set('ordinals', shape.rows * 4)
  if (rest.metadata !== null) bytes.set('metadata', rest.metadata)
  bytes.set('sums', sumsBytes(originalsBytes(shape)))
  return bytes
}

/** The same from a file's header. */
export function sectionBytesOf(read: (name: string) => number | null): SectionBytes {
  const bytes = new Map<SectionName, number>()
  for (const name of sectionNames) {
    const length = read(name)
    if (length !== null) bytes.set(name, length)
  }
  return bytes
}

export function spaceBytes(sections: SectionBytes, rows: number): number {
  let bytes = allowBytes(rows)
  for (const length of sections.values()) bytes += align(length)
  return bytes
}

/** What a part of so many rows will take, without metadata and long ids; `least`: of that, what has to be in memory. */
export function estimateBytes(part: { readonly rows: number; readonly dimension: number; readonly metric: Metric }): {
  readonly all: number
  readonly least: number
} {
  const rowsMax = segmentRowsMax(part.dimension)
  let all = 0
  let least = 0
  for (let rows = part.rows; rows > 0; rows -= rowsMax) {
    const shape = blockShape({ ...part, rows: Math.min(rows, rowsMax), codebook: null })
    const bytes = spaceBytes(sectionBytes(shape, { idSections: [shape.rows * 8], metadata: null }), shape.rows)
    all += bytes + originalsBytes(shape)
    least += bytes + (shape.quantized ? 0 : originalsBytes(shape))
  }
  return { all, least }
}

/** Lays sections and bitmap slots out in an allocation of `spaceBytes`, which it takes over. */
export function layOut(allocation: Allocation, bytes: SectionBytes, rows: number): SegmentSpace {
  const { arena } = allocation
  const { buffer } = arena.memory
  const sections = new Map<SectionName, Uint8Array>()
  let offset = allocation.offset
  for (const [name, length] of bytes) {
    sections.set(name, new Uint8Array(buffer, offset, length))
    offset += align(length)
  }
  const blockLength = bytes.get('block')!
  const blockAllocation: Allocation = {
    arena,
    offset: allocation.offset,
    bytes: blockLength,
    u8: () => new Uint8Array(arena.memory.buffer, allocation.offset, blockLength),
    f32: () => new Float32Array(arena.memory.buffer, allocation.offset, blockLength / 4),
    u32: () => new Uint32Array(arena.memory.buffer, allocation.offset, blockLength / 4),
    free: () => allocation.free(),
  }
  return { allocation, blockAllocation, rows, sections, allow: new AllowSlots(buffer, offset, rows) }
}

/** An empty block in the space, to be filled and encoded. Takes `originals` over as well. */
export const startBlock = (space: SegmentSpace, originals: Allocation, shape: BlockShape): Block =>
  createBlock(space.blockAllocation, originals, shape)

/** Opens a space whose sections hold their content. `metadata` is a view of its section. Throws LG_CORRUPT. */
export function openResident(
  space: SegmentSpace,
  idKind: IdKind,
  metadata: SegmentMetadata | null,
  block: Block | null,
): ResidentSegment {
  const { sections } = space
  const ordinals = sections.get('ordinals')!
  const idSections = [sections.get('ids')!]
  if (sections.has('idOffsets')) idSections.push(sections.get('idOffsets')!)
  return {
    allocation: space.allocation,
    block: block ?? openBlock(space.blockAllocation),
    ids: readIds(idKind, idSections),
    ordinals: new Uint32Array(ordinals.buffer, ordinals.byteOffset, ordinals.byteLength / 4),
    metadata,
    allow: space.allow,
    sections,
    stored: null,
  }
}

/** What goes into the file of a segment whose originals are in memory. */
export const contentOnDisk = ({ sections, block }: ResidentSegment): SegmentContent => ({
  sections,
  originals: { bytes: originalsBytes(block), chunks: () => originalsByPosition(block) },
})

/** Says that the segment has a file now. Takes `file` over. */
export function settleOnDisk(resident: ResidentSegment, file: OriginalsFile): void {
  resident.stored?.close()
  const sums = resident.sections.get('sums')!
  resident.stored = new StoredOriginals(
    file,
    resident.block,
    new Uint32Array(sums.buffer, sums.byteOffset, sums.byteLength / 4),
  )
}

/** Frees originals that are on disk as well; false when there are none. Blocks without codes are searched by them alone. */
export function leaveOnDisk({ block, stored }: ResidentSegment): boolean {
  if (!block.quantized || block.originals === null || stored?.hold() !== true) return false
  block.detach()
  return true
}

/** Takes over originals read from disk. */
export function keepInMemory({ block, stored }: ResidentSegment, originals: Allocation): void {
  block.attach(originals)
  stored!.letGo()
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

/** Gives back all that it holds. */
export function freeResident({ block, stored, allocation }: ResidentSegment): void {
  stored?.close()
  if (block.originals !== null) block.detach()
  allocation.free()
}

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
