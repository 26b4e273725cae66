import assert from 'node:assert'
import type { RecordBatch } from 'apache-arrow'
import type { BackendAdapter, Manifest, Part } from '../adapters/adapter.js'
import { limits } from '../core/limits.js'
import type { Metric } from '../core/metric.js'
import type { IdValues, SkippedRows, VectorBatch } from '../core/vector-batch.js'
import { attendEach } from './attend.js'
import { originalsBytes } from './block.js'
import type { MemoryBudget } from './budget.js'
import type { CodebookShelf } from './codebook-shelf.js'
import type { KernelExecutor } from './executor.js'
import { joinMetadata, metadataToIpc, viewMetadata } from './metadata-arrow.js'
import {
  blockShape,
  freeResident,
  layOut,
  openResident,
  type ResidentSegment,
  sectionBytes,
  spaceBytes,
  startBlock,
} from './resident-segment.js'
import { contentOf, type SegmentDescription, segmentKey, segmentRowsMax } from './segment-description.js'
import { joinIds } from './segment-ids.js'

export interface PullContext {
  readonly adapter: BackendAdapter
  readonly collection: string
  readonly metric: Metric
  readonly manifest: Manifest
  readonly budget: MemoryBudget
  readonly codebooks: CodebookShelf
  readonly executor: KernelExecutor
  /** Moves an encoded segment's originals to disk, when they are not to stay in memory; else null. */
  readonly spill: ((segment: PulledSegment) => Promise<void>) | null
  /** Told how many rows more have arrived. */
  readonly onRows: (count: number) => void
}

export interface PulledSegment extends SegmentDescription {
  readonly resident: ResidentSegment
}

export interface PulledPart {
  /** None when every row was skipped, or there are no rows. */
  readonly segments: readonly PulledSegment[]
  readonly skipped: SkippedRows
}

/** Rows of a segment being gathered; its arrays are owned. */
interface Draft {
  rows: number
  readonly vectors: Float32Array[]
  readonly ordinals: Uint32Array[]
  readonly ids: IdValues[]
  readonly metadata: RecordBatch[]
}

const emptyDraft = (): Draft => ({ rows: 0, vectors: [], ordinals: [], ids: [], metadata: [] })

/** Rows a codebook is trained on. */
const sampleRowsMax = 8192

/**
 * Streams one part into segments: while one is encoded (and spilled), the next is pulled, so a part of any size needs memory for two
 * besides those that are done. On failure everything that was built is freed.
 */
export async function pullPart(context: PullContext, part: Part, signal: AbortSignal): Promise<PulledPart> {
  const { adapter, collection, manifest } = context
  const done: PulledSegment[] = []
  const skipped = { nullVector: 0, nullId: 0, badVector: 0 }
  let draft = emptyDraft()
  let encoding: Promise<void> = Promise.resolve()

  const seal = async (): Promise<void> => {
    await encoding
    const segment = build(context, part, draft, done.length)
    draft = emptyDraft()
    done.push(segment.pulled)
    encoding = context.executor.encode(segment.job, { signal }).then(() => context.spill?.(segment.pulled))
    // It is awaited before the next segment or the end; a failure in between must not count as unhandled.
    encoding.catch(() => {})
  }

  try {
    const attention = {
      name: `${collection}, ${part.name}`,
      silenceMsMax: limits.sourceSilenceMsMax,
      lifetime: signal,
    }
    const request = { collection, manifest, part }
    for await (const batch of attendEach(attention, (signal) => adapter.pullVectors(request, { signal }))) {
      signal.throwIfAborted()
      skipped.nullVector += batch.skipped.nullVector
      skipped.nullId += batch.skipped.nullId
      skipped.badVector += batch.skipped.badVector
      if (batch.count === 0) continue
      assert(batch.dimension === manifest.dimension, 'an adapter pulls the dimension of its manifest')
      const rowsMax = segmentRowsMax(batch.dimension)
      for (let from = 0; from < batch.count; ) {
        const end = Math.min(batch.count, from + rowsMax - draft.rows)
        append(draft, batch, from, end)
        from = end
        if (draft.rows === rowsMax) await seal()
      }
      context.onRows(batch.count)
    }
    signal.throwIfAborted()
    if (draft.rows > 0) await seal()
    await encoding
    return { segments: done, skipped }
  } catch (error) {
    await encoding.catch(() => {}) // an encoder may still be writing; its failure, if any, is the one being thrown
    for (const { resident } of done) freeResident(resident)
    throw error
  }
}

function append(draft: Draft, batch: VectorBatch, from: number, end: number): void {
  const whole = from === 0 && end === batch.count
  draft.rows += end - from
  draft.vectors.push(batch.vectors.subarray(from * batch.dimension, end * batch.dimension))
  draft.ordinals.push(batch.ordinals.subarray(from, end))
  draft.ids.push(whole ? batch.ids : batch.ids.slice(from, end))
  if (batch.metadata !== null) draft.metadata.push(whole ? batch.metadata : batch.metadata.slice(from, end))
}

/** Copies a draft into an arena; what is left to do is the encoding. */
function build(context: PullContext, part: Part, draft: Draft, chunk: number) {
  const { manifest, metric, budget, codebooks } = context
  const dimension = manifest.dimension!
  const codebook = codebooks.forDimension(dimension) ?? codebooks.train(dimension, sample(draft, dimension))
  const ids = joinIds(draft.ids)
  const idSections = ids.sections()
  const metadata = manifest.columns.length === 0 ? null : metadataToIpc(joinMetadata(manifest.columns, draft.metadata))
  const shape = blockShape({ rows: draft.rows, dimension, metric, codebook: codebook.codebook })
  const lengths = sectionBytes(shape, {
    idSections: idSections.map((section) => section.byteLength),
    metadata: metadata?.byteLength ?? null,
  })
  const bytes = spaceBytes(lengths, draft.rows)
  const vectorBytes = originalsBytes(shape)
  const [allocation, originals] = budget.obtain(bytes + vectorBytes, () =>
    budget.pool.allocateTogether([bytes, vectorBytes]),
  )
  try {
    const codebookOffset = codebook.place(allocation.arena, budget)
    const space = layOut(allocation, lengths, draft.rows)
    const block = startBlock(space, originals, shape)
    const ordinals = new Uint32Array(
      allocation.arena.memory.buffer,
      space.sections.get('ordinals')!.byteOffset,
      draft.rows,
    )
    let row = 0
    for (const [index, vectors] of draft.vectors.entries()) {
      block.writeRows(row, vectors)
      ordinals.set(draft.ordinals[index]!, row)
      row += draft.ordinals[index]!.length
    }
    space.sections.get('ids')!.set(idSections[0]!)
    if (idSections[1] !== undefined) space.sections.get('idOffsets')!.set(idSections[1])
    if (metadata !== null) space.sections.get('metadata')!.set(metadata)
    const content = contentOf({ part: part.key, readIdentity: manifest.readIdentity, metric, chunk })
    const codes = block.quantized ? codebook.version : null
    return {
      pulled: {
        key: segmentKey(content, codes),
        content,
        codebook: codes,
        rows: draft.rows,
        bytes,
        runs: [{ part: part.key, start: 0, rows: draft.rows }],
        resident: openResident(space, ids.kind, viewMetadata(space), block),
      },
      job: {
        arena: allocation.arena,
        block: block.allocation.offset,
        vectors: originals.offset,
        codebook: codebookOffset,
      },
    }
  } catch (error) {
    allocation.free()
    originals.free()
    throw error
  }
}

/** Rows spread evenly over the draft: float32[at most sampleRowsMax * dimension]. */
function sample(draft: Draft, dimension: number): Float32Array {
  const rows = Math.min(draft.rows, sampleRowsMax)
  const sampled = new Float32Array(rows * dimension)
  let batch = 0
  let batchStart = 0
  for (let i = 0; i < rows; i++) {
    const row = Math.floor((i * draft.rows) / rows)
    while (row >= batchStart + draft.ordinals[batch]!.length) batchStart += draft.ordinals[batch++]!.length
    const at = (row - batchStart) * dimension
    sampled.set(draft.vectors[batch]!.subarray(at, at + dimension), i * dimension)
  }
  return sampled
}
