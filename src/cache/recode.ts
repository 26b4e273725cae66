/** Makes segments of the rows of others: with codes of another codebook, several small ones joined, or the same elsewhere. */
import { setImmediate } from 'node:timers/promises'
import type { Column } from '../core/column.js'
import { compareUtf8 } from '../core/id.js'
import type { Allocation } from './arena.js'
import { originalsBytes } from './block.js'
import type { MemoryBudget } from './budget.js'
import type { PlacedCodebook } from './codebook-shelf.js'
import type { KernelExecutor } from './executor.js'
import { joinMetadata, metadataBatch, metadataToIpc, viewMetadata } from './metadata-arrow.js'
import type { PulledSegment } from './priming.js'
import {
  blockShape,
  layOut,
  openResident,
  type ResidentSegment,
  sectionBytes,
  spaceBytes,
  startBlock,
} from './resident-segment.js'
import type { Segment } from './segment.js'
import { mergedContentOf, type SegmentRun, segmentKey } from './segment-description.js'
import { joinIds } from './segment-ids.js'

interface RecodeContext {
  readonly budget: MemoryBudget
  readonly executor: KernelExecutor
  /** Ids of arenas that are to become empty. */
  readonly avoid: ReadonlySet<number>
}

/** A resident, pinned segment and which of its runs are wanted. */
export interface MergeMember {
  readonly segment: Segment
  /** Indices, ascending. */
  readonly runs: readonly number[]
}

/** Rows of a segment that go one after another into the new one. */
interface Stretch {
  readonly segment: Segment
  readonly run: SegmentRun
}

/** The same rows, coded with `codebook`. Throws LG_OVER_BUDGET when there is no room for both. */
export function recodeSegment(
  segment: Segment,
  codebook: PlacedCodebook,
  context: RecodeContext,
  signal: AbortSignal,
): Promise<PulledSegment> {
  const resident = segment.resident!
  const { sections } = resident
  const rest = (name: 'ids' | 'idOffsets' | 'metadata'): Uint8Array[] => {
    const bytes = sections.get(name)
    return bytes === undefined ? [] : [bytes]
  }
  const rows = {
    content: segment.content,
    runs: segment.runs,
    idKind: resident.ids.kind,
    idSections: [...rest('ids'), ...rest('idOffsets')],
    metadata: sections.get('metadata') ?? null,
    stretches: [{ segment, run: { part: segment.runs[0]!.part, start: 0, rows: segment.rows } }],
  }
  return encodeRows(rows, codebook, context, signal)
}

/** The wanted runs of all members in one segment, in order of part keys. Throws LG_OVER_BUDGET when there is no room. */
export async function mergeSegments(
  members: readonly MergeMember[],
  columns: readonly Column[],
  codebook: PlacedCodebook,
  context: RecodeContext,
  signal: AbortSignal,
): Promise<PulledSegment> {
  const stretches = members
    .flatMap(({ segment, runs }) => runs.map((run): Stretch => ({ segment, run: segment.runs[run]! })))
    .sort((a, b) => compareUtf8(a.run.part, b.run.part) || firstOrdinal(a) - firstOrdinal(b))
  let start = 0
  const runs = stretches.map(({ run: { part, rows } }): SegmentRun => {
    const run = { part, start, rows }
    start += rows
    return run
  })
  const ids = joinIds(
    stretches.map(({ segment, run: { start, rows } }) => segment.resident!.ids.slice(start, start + rows)),
  )
  await setImmediate()
  signal.throwIfAborted()
  const metadata =
    columns.length === 0
      ? null
      : metadataToIpc(
          joinMetadata(
            columns,
            stretches.map(({ segment, run }) =>
              metadataBatch(segment.resident!.metadata!).slice(run.start, run.start + run.rows),
            ),
          ),
        )
  await setImmediate()
  signal.throwIfAborted()
  const rows = {
    content: mergedContentOf(members.map((member) => [member.segment.content, member.runs] as const)),
    runs,
    idKind: ids.kind,
    idSections: ids.sections(),
    metadata,
    stretches,
  }
  return encodeRows(rows, codebook, context, signal)
}

/** Bytes copied before others get their turn: about a millisecond. */
const copyBytesMax = 4 * 2 ** 20

/** The same segment in an arena that `avoid` does not name; null when there is no room for it that nothing uses. */
export async function moveSegment(
  segment: Segment,
  { budget, avoid }: Pick<RecodeContext, 'budget' | 'avoid'>,
  signal: AbortSignal,
): Promise<PulledSegment | null> {
  const { key, content, codebook, rows, bytes, runs } = segment
  const { sections, block, ids } = segment.resident!
  const sizes = block.originals === null ? [bytes] : [bytes, block.originals.bytes]
  const pieces = budget.pool.allocateTogether(sizes, avoid)
  if (pieces === null) return null
  const [allocation, originals] = pieces as [Allocation, Allocation | undefined]
  try {
    const space = layOut(allocation, new Map(Array.from(sections, ([name, { length }]) => [name, length])), rows)
    // The block's header goes first: tie ranks that are set meanwhile count only where it says that they are there.
    for (const [name, section] of sections) await copyInTurns(section, space.sections.get(name)!, signal)
    if (originals !== undefined) await copyInTurns(block.originals!.u8(), originals.u8(), signal)
    const resident = openResident(space, ids.kind, viewMetadata(space), null)
    if (originals !== undefined) resident.block.attach(originals)
    return { key, content, codebook, rows, bytes, runs, resident }
  } catch (error) {
    allocation.free()
    originals?.free()
    throw error
  }
}

async function copyInTurns(source: Uint8Array, target: Uint8Array, signal: AbortSignal): Promise<void> {
  for (let from = 0; from < source.length; from += copyBytesMax) {
    target.set(source.subarray(from, from + copyBytesMax), from)
    await setImmediate()
    signal.throwIfAborted()
  }
}

const firstOrdinal = ({ segment, run }: Stretch): number => segment.resident!.ordinals[run.start]!

interface Rows extends Pick<PulledSegment, 'content' | 'runs'> {
  readonly idKind: ResidentSegment['ids']['kind']
  readonly idSections: readonly Uint8Array[]
  readonly metadata: Uint8Array | null
  readonly stretches: readonly Stretch[]
}

async function encodeRows(
  of: Rows,
  codebook: PlacedCodebook,
  { budget, executor, avoid }: RecodeContext,
  signal: AbortSignal,
): Promise<PulledSegment> {
  const { dimension, metric } = of.stretches[0]!.segment.resident!.block
  const rows = of.stretches.reduce((sum, { run }) => sum + run.rows, 0)
  const shape = blockShape({ rows, dimension, metric, codebook: codebook.codebook })
  const lengths = sectionBytes(shape, {
    idSections: of.idSections.map((section) => section.byteLength),
    metadata: of.metadata?.byteLength ?? null,
  })
  const bytes = spaceBytes(lengths, rows)
  const [allocation, originals] = budget.takeFreeTogether([bytes, originalsBytes(shape)], avoid)
  try {
    const { arena } = allocation
    const codebookOffset = codebook.place(arena, budget)
    const space = layOut(allocation, lengths, rows)
    const block = startBlock(space, originals, shape)
    await setImmediate() // clearing and copying are milliseconds each
    const ordinals = space.sections.get('ordinals')!
    const rowOrdinals = new Uint32Array(ordinals.buffer, ordinals.byteOffset, rows)
    const rowBytes = originals.bytes / rows
    let row = 0
    for (const { segment, run } of of.stretches) {
      const target = originals.u8().subarray(row * rowBytes, (row + run.rows) * rowBytes)
      await copyOriginals(segment, run, target, signal)
      rowOrdinals.set(segment.resident!.ordinals.subarray(run.start, run.start + run.rows), row)
      row += run.rows
      await setImmediate()
      signal.throwIfAborted()
    }
    space.sections.get('ids')!.set(of.idSections[0]!)
    if (of.idSections[1] !== undefined) space.sections.get('idOffsets')!.set(of.idSections[1])
    if (of.metadata !== null) space.sections.get('metadata')!.set(of.metadata)
    const codes = shape.quantized ? codebook.version : null
    const made = {
      key: segmentKey(of.content, codes),
      content: of.content,
      codebook: codes,
      rows,
      bytes,
      runs: of.runs,
      resident: openResident(space, of.idKind, viewMetadata(space), block),
    }
    const job = { arena, block: allocation.offset, vectors: originals.offset, codebook: codebookOffset }
    await executor.encode(job, { signal })
    signal.throwIfAborted()
    return made
  } catch (error) {
    allocation.free()
    originals.free()
    throw error
  }
}

/** Copies a run's originals to the rows from `row` on, from memory or disk. */
async function copyOriginals(
  segment: Segment,
  { start, rows }: SegmentRun,
  target: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { block } = segment.resident!
  const { originals } = block
  if (originals === null) return segment.fromDisk((stored) => stored.readRows(start, target, signal))
  const rowBytes = target.byteLength / rows
  target.set(originals.u8().subarray(start * rowBytes, (start + rows) * rowBytes))
}
