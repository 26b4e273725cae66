import type { CollectionRef } from '../core/generation.js'
import { compareUtf8 } from '../core/id.js'
import { checkAnswer } from './answer-check.js'
import type { MemoryBudget } from './budget.js'
import type { KernelExecutor } from './executor.js'
import type { GraphKeeper } from './hnsw/graph-keeper.js'
import { isDeleted, searchAtOnce, searchSegments } from './search.js'
import { Pins, type ResidentSegment } from './segment.js'
import { pinCodebooks } from './shelf.js'
import type { CachedCollection, PinnedVersion, RowLocation } from './vector-cache.js'
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
export function pinVersion(
  version: Version,
  { ref, info, checkedAtMs, executor, budget, graph }: PinOptions,
): PinnedVersion {
  const pins = new Pins()
  for (const { segment } of version.segments) {
    pins.addReading(segment)
    budget.touch(segment)
  }
  const { segments, columns } = version
  const target = { segments, columns, executor, budget, choice: null }
  const unpinCodebooks = pinCodebooks(segments)
  const residentAt = (location: RowLocation): ResidentSegment => segments[location.segment]!.segment.resident!
  const partAt = ({ segment, position }: RowLocation): string => {
    const of = segments[segment]!.segment
    return of.runs[of.runOf(position)]!.part
  }
  const ordinalAt = (location: RowLocation): number => residentAt(location).ordinals[location.position]!
  return {
    ref,
    generation: version.generation,
    metric: info.metric,
    model: info.model,
    dimension: version.dimension,
    columns,
    rows: version.rows,
    parts: version.parts.length,
    witness: version.witness,
    checkedAtMs,
    // Only a graph can say whether it would answer.
    searchAtOnce: (query) => (graph !== null && query.contract.kind === 'target' ? null : searchAtOnce(target, query)),
    async search(query, options) {
      const { readIdentity } = version
      const answer = await graph?.search({ ...target, readIdentity, metric: info.metric }, query, options)
      return answer ?? searchSegments(target, query, options)
    },
    check: (query, answer) => checkAnswer({ segments, columns, metric: info.metric, executor, budget }, query, answer),
    async find(id, { signal }) {
      signal.throwIfAborted()
      const found: RowLocation[] = []
      for (const [index, masked] of segments.entries()) {
        const { ids, ordinals } = masked.segment.resident!
        for (const position of ids.find(id))
          if (!isDeleted(masked, ordinals, position)) found.push({ segment: index, position })
      }
      return found.sort((a, b) => compareUtf8(partAt(a), partAt(b)) || ordinalAt(a) - ordinalAt(b))
    },
    id: (location) => residentAt(location).ids.get(location.position),
    async vector({ segment, position }, { signal }) {
      const [vector] = await segments[segment]!.segment.vectors([position])
      signal.throwIfAborted()
      return vector!
    },
    cells(location, names) {
      const { metadata } = residentAt(location)
      const wanted =
        names === undefined
          ? columns.map((_, index) => index)
          : names.map((name) => columns.findIndex((column) => column.name === name))
      return wanted.map((index) => metadata!.cell(location.position, index))
    },
    release() {
      pins.release()
      unpinCodebooks()
    },
  }
}
