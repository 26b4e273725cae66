import type { CollectionRef } from '../core/generation.js'
import type { MemoryBudget } from './budget.js'
import type { KernelExecutor } from './executor.js'
import { firstAtLeast, searchSegments } from './search.js'
import { Pins, type ResidentSegment } from './segment.js'
import type { CachedCollection, PinnedVersion, RowLocation } from './vector-cache.js'
import type { Version } from './versions.js'

interface PinOptions {
  readonly ref: CollectionRef
  readonly info: CachedCollection['info']
  readonly checkedAtMs: number
  readonly executor: KernelExecutor
  readonly budget: MemoryBudget
}

/** Pins a version whose segments are all in memory; synchronous, so that none can leave before. */
export function pinVersion(version: Version, { ref, info, checkedAtMs, executor, budget }: PinOptions): PinnedVersion {
  const pins = new Pins()
  for (const { segment } of version.segments) {
    pins.add(segment)
    budget.touch(segment)
  }
  const { segments, columns } = version
  const residentAt = (location: RowLocation): ResidentSegment => segments[location.segment]!.segment.resident!
  const columnIndex = new Map(columns.map((column, index) => [column.name, index]))
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
    search: (query, options) => searchSegments({ segments, columns, executor, budget }, query, options),
    async find(id, { signal }) {
      signal.throwIfAborted()
      const found: RowLocation[] = []
      for (const [index, { segment, mask }] of segments.entries()) {
        const { ids, ordinals } = segment.resident!
        for (const position of ids.find(id)) {
          const ordinal = ordinals[position]!
          const deleted = mask !== null && mask.ordinals[firstAtLeast(mask.ordinals, ordinal)] === ordinal
          if (!deleted) found.push({ segment: index, position })
        }
      }
      return found
    },
    id: (location) => residentAt(location).ids.get(location.position),
    vector: (location) => residentAt(location).block.vector(location.position),
    cells(location, names) {
      const { metadata } = residentAt(location)
      const wanted =
        names === undefined ? columns.map((_, index) => index) : names.map((name) => columnIndex.get(name)!)
      return wanted.map((index) => metadata!.cell(location.position, index))
    },
    release: () => pins.release(),
  }
}
