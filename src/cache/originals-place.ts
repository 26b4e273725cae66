/** Whether the originals of a generation fit into memory beside everything else, or are to be on disk. */
import type { Manifest } from '../adapters/adapter.js'
import { GatewayError } from '../core/errors.js'
import type { Metric } from '../core/metric.js'
import { originalsBytes } from './block.js'
import type { OriginalsPlace, Parts } from './parts.js'
import { blockShape, sectionBytes, spaceBytes } from './resident-segment.js'
import type { Segment } from './segment.js'
import { segmentRowsMax } from './segment-description.js'

/** What a collection may take. */
export interface MemoryRoom {
  /** How errors call the collection. */
  readonly name: string
  /** Of the whole memory budget. */
  readonly bytesMax: number
  /** Whether there is a disk to leave originals on. */
  readonly persistent: boolean
}

/** On disk when the known rows pass the budget. Throws LG_OVER_BUDGET when what has to be in memory alone does. */
export function placeOriginals(manifest: Manifest, parts: Parts, room: MemoryRoom): OriginalsPlace {
  const { dimension } = manifest
  if (dimension === null) return 'memory'
  let all = 0
  let least = 0
  const held = new Set<Segment>()
  for (const part of manifest.parts) {
    const cached = parts.find(part, manifest)
    if (cached !== null) for (const segment of cached.segments) held.add(segment)
    else if (part.rows !== null) {
      const bytes = estimateBytes({ rows: part.rows, dimension, metric: parts.metric })
      all += bytes.all
      least += bytes.least
    }
  }
  for (const segment of held) {
    all += segment.bytes + originalsBytes({ rows: segment.rows, dimension })
    least += segment.bytes
  }
  if (all <= room.bytesMax) return 'memory'
  if (!room.persistent || least > room.bytesMax) throw needsMoreMemory(room, `about ${room.persistent ? least : all}`)
  return 'disk'
}

/** @param bytes as many as are known to be needed, in words */
export const needsMoreMemory = ({ name, bytesMax }: MemoryRoom, bytes: string, cause?: unknown): GatewayError =>
  new GatewayError(
    'LG_OVER_BUDGET',
    `${name}: needs ${bytes} bytes of memory, and of the budget cache.memory of ${bytesMax} not as many are free or can be freed; ` +
      'raise it, serve fewer rows, or ask again when other queries have ended',
    { field: 'cache.memory', cause },
  )

/** What a part of so many rows will take, without metadata and long ids; `least`: of that, what has to be in memory. */
function estimateBytes(part: { readonly rows: number; readonly dimension: number; readonly metric: Metric }): {
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
