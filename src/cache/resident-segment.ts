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
import type { Codebook } from './codebook.js'
import type { SegmentMetadata } from './metadata.js'
import { type SegmentContent, sumsBytes } from './segment-file.js'
import { type IdKind, readIds, type SegmentIds } from './segment-ids.js'
import { type OriginalsFile, originalsByPosition, StoredOriginals } from './stored-originals.js'

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

/** Gives back all that it holds. */
export function freeResident({ block, stored, allocation }: ResidentSegment): void {
  stored?.close()
  if (block.originals !== null) block.detach()
  allocation.free()
}
