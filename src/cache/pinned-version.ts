import type { Cell } from '../core/column.js'
import type { CollectionRef } from '../core/generation.js'
import { compareUtf8, type RowId } from '../core/id.js'
import { checkAnswer } from './answer-check.js'
import type { MemoryBudget } from './budget.js'
import { isDeleted } from './deleted-rows.js'
import type { KernelExecutor } from './executor.js'
import type { GraphKeeper } from './hnsw/graph-keeper.js'
import type { ResidentSegment } from './resident-segment.js'
import { beginSearch, type SearchTarget, searchSegments } from './search.js'
import type { Segment } from './segment.js'
import { startReading, stopReading, vectorsAt } from './shelf.js'
import type {
  AnswerCheck,
  BegunSearch,
  CachedCollection,
  CallOptions,
  PinnedVersion,
  RowLocation,
  ShardAnswer,
  ShardQuery,
} from './vector-cache.js'
import type { Version } from './versions.js'

interface PinOptions {
  readonly ref: CollectionRef
  readonly info: CachedCollection['info']
  readonly checkedAtMs: number
  readonly executor: KernelExecutor
  readonly budget: MemoryBudget
  /** Null where no graph was asked for. */
  readonly graph: GraphKeeper | null
}

/** Pins a version whose segments are all in memory; synchronous, so that none can leave before. */
export const pinVersion = (version: Version, options: PinOptions): PinnedVersion => new PinnedSegments(version, options)

/** A class, because every query makes one: an object of closures would be ten times as large. */
class PinnedSegments implements PinnedVersion {
  readonly #version: Version
  readonly #options: PinOptions
  readonly #target: SearchTarget

  constructor(version: Version, options: PinOptions) {
    const { segments, columns } = version
    const { executor, budget } = options
    this.#version = version
    this.#options = options
    this.#target = { segments, columns, executor, budget, choice: null }
    startReading(segments)
    for (const { segment } of segments) budget.touch(segment)
  }

  get ref() {
    return this.#options.ref
  }
  get generation() {
    return this.#version.generation
  }
  get metric() {
    return this.#options.info.metric
  }
  get model() {
    return this.#options.info.model
  }
  get dimension() {
    return this.#version.dimension
  }
  get columns() {
    return this.#version.columns
  }
  get rows() {
    return this.#version.rows
  }
  get parts() {
    return this.#version.parts.length
  }
  get witness() {
    return this.#version.witness
  }
  get checkedAtMs() {
    return this.#options.checkedAtMs
  }

  async search(query: ShardQuery, options: CallOptions): Promise<ShardAnswer> {
    const { graph } = this.#options
    const { readIdentity } = this.#version
    const answer = await graph?.search({ ...this.#target, readIdentity, metric: this.metric }, query, options)
    return answer ?? searchSegments(this.#target, query, options)
  }

  beginSearch(query: ShardQuery, ahead: boolean): BegunSearch | null {
    // Only a graph can say whether it would answer.
    if (this.#options.graph !== null && query.contract.kind === 'target') return null
    return beginSearch(this.#target, query, ahead)
  }

  check(query: ShardQuery, answer: ShardAnswer): AnswerCheck {
    return checkAnswer({ ...this.#target, metric: this.metric }, query, answer)
  }

  async find(id: RowId, { signal }: CallOptions): Promise<readonly RowLocation[]> {
    signal.throwIfAborted()
    const found: RowLocation[] = []
    for (const [index, masked] of this.#version.segments.entries()) {
      const { ids, ordinals } = masked.segment.resident!
      for (const position of ids.find(id))
        if (!isDeleted(masked, ordinals, position)) found.push({ segment: index, position })
    }
    return found.sort(
      (a, b) => compareUtf8(this.#partAt(a), this.#partAt(b)) || this.#ordinalAt(a) - this.#ordinalAt(b),
    )
  }

  id(location: RowLocation): RowId {
    return this.#residentAt(location).ids.get(location.position)
  }

  async vectors(locations: readonly RowLocation[], { signal }: CallOptions): Promise<readonly Float32Array[]> {
    const vectors = await vectorsAt(this.#version.segments, locations)
    signal.throwIfAborted()
    return vectors
  }

  cell(location: RowLocation, column: number): Cell {
    return this.#residentAt(location).metadata!.cell(location.position, column)
  }

  release(): void {
    stopReading(this.#version.segments)
  }

  #segmentAt(location: RowLocation): Segment {
    return this.#version.segments[location.segment]!.segment
  }

  #residentAt(location: RowLocation): ResidentSegment {
    return this.#segmentAt(location).resident!
  }

  #partAt(location: RowLocation): string {
    const segment = this.#segmentAt(location)
    return segment.runs[segment.runOf(location.position)]!.part
  }

  #ordinalAt(location: RowLocation): number {
    return this.#residentAt(location).ordinals[location.position]!
  }
}
