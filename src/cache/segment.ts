import assert from 'node:assert'
import { createHash } from 'node:crypto'
import type { PartKey } from '../core/generation.js'
import type { Metric } from '../core/metric.js'
import { AllowSlots, allowBytes } from './allow-slots.js'
import type { Allocation } from './arena.js'
import { type Block, blockBytes, createBlock, openBlock, quantizedRowsMin } from './block.js'
import type { Evictable } from './budget.js'
import { SegmentMetadata } from './metadata.js'
import { segmentFormatVersion } from './segment-file.js'
import { type IdKind, readIds, type SegmentIds } from './segment-ids.js'

/** Parts are cut into segments of about this many bytes of float32, so that what is being built stays bounded. */
const segmentVectorBytesMax = 16 * 1024 * 1024

export const segmentRowsMax = (dimension: number): number =>
  Math.max(1, Math.floor(segmentVectorBytesMax / (4 * dimension)))

/** Names a segment by everything that decides its bytes. */
export function segmentKey(of: {
  readonly part: PartKey
  readonly readIdentity: string
  readonly metric: Metric
  readonly codebook: string
  /** Number of the segment inside its part. */
  readonly chunk: number
}): string {
  const text = JSON.stringify([segmentFormatVersion, of.part, of.readIdentity, of.metric, of.codebook, of.chunk])
  return createHash('sha256').update(text).digest('hex')
}

/** Sections of a segment, as in its file. `block` and what follows lie one after another in one allocation. */
const sectionNames = ['block', 'ids', 'idOffsets', 'ordinals', 'metadata'] as const
type SectionName = (typeof sectionNames)[number]

const align = (bytes: number): number => Math.ceil(bytes / 64) * 64

/** A segment's bytes in memory. */
export interface ResidentSegment {
  readonly allocation: Allocation
  readonly block: Block
  readonly ids: SegmentIds
  /** uint32[rows], ascending. */
  readonly ordinals: Uint32Array
  readonly metadata: SegmentMetadata | null
  readonly allow: AllowSlots
  readonly sections: ReadonlyMap<SectionName, Uint8Array>
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

/** Bytes of every section, for the allocation and the file. */
export function sectionBytes(shape: {
  readonly rows: number
  readonly dimension: number
  readonly metric: Metric
  readonly idSections: readonly number[]
  readonly metadata: number | null
}): SectionBytes {
  const [ids, idOffsets] = shape.idSections
  const bytes = new Map<SectionName, number>()
  bytes.set('block', blockBytes({ ...shape, quantized: shape.rows >= quantizedRowsMin, clusters: 0, directions: 0 }))
  bytes.set('ids', ids!)
  if (idOffsets !== undefined) bytes.set('idOffsets', idOffsets)
  bytes.set('ordinals', shape.rows * 4)
  if (shape.metadata !== null) bytes.set('metadata', shape.metadata)
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

/** What a part of so many rows will take, without metadata and long ids. */
export function estimateBytes(part: {
  readonly rows: number
  readonly dimension: number
  readonly metric: Metric
}): number {
  const rowsMax = segmentRowsMax(part.dimension)
  let bytes = 0
  for (let rows = part.rows; rows > 0; rows -= rowsMax) {
    const shape = { ...part, rows: Math.min(rows, rowsMax) }
    bytes += spaceBytes(sectionBytes({ ...shape, idSections: [shape.rows * 8], metadata: null }), shape.rows)
  }
  return bytes
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

/** An empty block in the space, to be filled and encoded. */
export const startBlock = (space: SegmentSpace, dimension: number, metric: Metric): Block =>
  createBlock(space.blockAllocation, {
    rows: space.rows,
    dimension,
    metric,
    quantized: space.rows >= quantizedRowsMin,
    clusters: 0,
    directions: 0,
  })

/** Opens a space whose sections hold their content. Throws LG_CORRUPT. */
export function openResident(space: SegmentSpace, idKind: IdKind, block: Block | null): ResidentSegment {
  const { sections } = space
  const ordinals = sections.get('ordinals')!
  const metadata = sections.get('metadata')
  const idSections = [sections.get('ids')!]
  if (sections.has('idOffsets')) idSections.push(sections.get('idOffsets')!)
  return {
    allocation: space.allocation,
    block: block ?? openBlock(space.blockAllocation),
    ids: readIds(idKind, idSections),
    ordinals: new Uint32Array(ordinals.buffer, ordinals.byteOffset, ordinals.byteLength / 4),
    metadata: metadata === undefined ? null : SegmentMetadata.fromIpc(metadata),
    allow: space.allow,
    sections,
  }
}

/** A part, or a piece of one, in the cache: immutable; its bytes come and go. */
export class Segment implements Evictable {
  readonly key: string
  readonly part: PartKey
  readonly rows: number
  /** Bytes of its allocation when resident. */
  readonly bytes: number
  /** Versions that have it; without any it leaves memory with its last pin. */
  references = 0
  /** Set while its bytes are being written to disk: they must not change. */
  writing: Promise<void> | null = null
  #pins = 0
  #resident: ResidentSegment | null = null
  readonly #owner: SegmentOwner

  constructor(
    of: { readonly key: string; readonly part: PartKey; readonly rows: number; readonly bytes: number },
    owner: SegmentOwner,
  ) {
    this.key = of.key
    this.part = of.part
    this.rows = of.rows
    this.bytes = of.bytes
    this.#owner = owner
  }

  get pins(): number {
    return this.#pins
  }

  /** In memory: only then may it be searched. Pin it before anything is awaited. */
  get resident(): ResidentSegment | null {
    return this.#resident
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

  leaveIfUnused(): void {
    if (this.#pins === 0 && this.references === 0) this.#leave(false)
  }

  evict(): void {
    this.#leave(true)
  }

  #leave(evicted: boolean): void {
    assert(this.#pins === 0, 'a pinned segment stays')
    if (this.#resident === null) return
    this.#resident.allocation.free()
    this.#resident = null
    this.#owner.left(this, evicted)
  }
}

/** Who is told of a segment's coming and going. */
export interface SegmentOwner {
  settled(segment: Segment): void
  left(segment: Segment, evicted: boolean): void
}

/** Segments that a piece of work keeps in memory. Release exactly once. */
export class Pins {
  readonly #segments = new Set<Segment>()

  get bytes(): number {
    let bytes = 0
    for (const segment of this.#segments) bytes += segment.bytes
    return bytes
  }

  add(segment: Segment): void {
    if (this.#segments.has(segment)) return
    this.#segments.add(segment)
    segment.pin()
  }

  release(): void {
    for (const segment of this.#segments) segment.unpin()
    this.#segments.clear()
  }
}
