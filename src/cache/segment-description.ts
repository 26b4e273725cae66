/** What is known of a segment whether it is in memory or not: its name, its rows, and how many it may have. */
import { createHash } from 'node:crypto'
import type { PartKey } from '../core/generation.js'
import type { Metric } from '../core/metric.js'
import { segmentFormatVersion } from './segment-file.js'

/** Rows of one part in a segment: one after another, ordinals ascending. */
export interface SegmentRun {
  readonly part: PartKey
  readonly start: number
  readonly rows: number
}

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

/** Parts are cut into segments of about this many bytes of float32, so that what is being built stays bounded. */
const segmentVectorBytesMax = 16 * 1024 * 1024

export const segmentRowsMax = (dimension: number): number => rowsIn(segmentVectorBytesMax, dimension)

/** Of joined segments: a query looks for each cluster's window in each segment, so few large ones are fastest. */
const mergedVectorBytesMax = 512 * 1024 * 1024

export const mergedRowsMax = (dimension: number): number => rowsIn(mergedVectorBytesMax, dimension)

const rowsIn = (bytes: number, dimension: number): number => Math.max(1, Math.floor(bytes / (4 * dimension)))
