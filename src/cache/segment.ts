import assert from 'node:assert'
import { createHash } from 'node:crypto'
import type { PartKey } from '../core/generation.js'
import type { Metric } from '../core/metric.js'
import { AllowSlots, allowBytes } from './allow-slots.js'
import type { Allocation } from './arena.js'
import { type Block, type BlockShape, blockBytes, createBlock, openBlock, quantizedRowsMin } from './block.js'
import type { Evictable } from './budget.js'
import type { Codebook } from './codebook.js'
import { SegmentMetadata } from './metadata.js'
import { segmentFormatVersion } from './segment-file.js'
import { type IdKind, readIds, type SegmentIds } from './segment-ids.js'

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
  /** Bytes of its allocation when resident. */
  readonly bytes: number
  /** In order of part keys, which is the order that rows of equal distance and id are told apart by. */
  readonly runs: readonly SegmentRun[]
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
  /** uint32[rows], ascending in every run. */
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
    const shape = blockShape({ ...part, rows: Math.min(rows, rowsMax), codebook: null })
    bytes += spaceBytes(sectionBytes(shape, { idSections: [shape.rows * 8], metadata: null }), shape.rows)
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
export const startBlock = (space: SegmentSpace, shape: BlockShape): Block => createBlock(space.blockAllocation, shape)

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
  writing: Promise<void> | null = null
  #pins = 0
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
