import { crc32 } from 'node:zlib'
import type { Column } from '../core/column.js'
import { GatewayError } from '../core/errors.js'
import type { Metric } from '../core/metric.js'
import type { SkippedRows } from '../core/vector-batch.js'
import type { Learnt } from './learnt.js'
import type { SegmentDescription } from './segment-description.js'
import type { Sighting } from './sightings.js'

/** What a restart needs to answer without the source: which segments make up which generation. */
export interface CollectionRecord {
  readonly metric: Metric
  readonly segments: readonly SegmentDescription[]
  readonly parts: readonly PartRecord[]
  readonly codebooks: readonly CodebookRecord[]
  readonly masks: readonly MaskRecord[]
  /** Newest first; the first is the current one. */
  readonly versions: readonly VersionRecord[]
  readonly sightings: readonly Sighting[]
}

export interface PartRecord {
  readonly key: string
  readonly readIdentity: string
  readonly skipped: SkippedRows
  /** Indices into the record's segments. */
  readonly segments: readonly number[]
}

interface CodebookRecord extends Learnt {
  readonly version: string
  /** Whether new segments are coded with it. */
  readonly active: boolean
}

interface MaskRecord {
  readonly identity: string
  /** Base64 of little-endian uint32 ordinals. */
  readonly ordinals: string
}

export interface VersionRecord {
  readonly generation: string
  readonly readIdentity: string
  readonly configuration: string | null
  readonly dimension: number | null
  readonly columns: readonly Column[]
  readonly vectorColumn: string
  readonly idColumn: string | null
  readonly rows: number
  /** Indices into the record's parts and masks, one pair a part; null: nothing deleted. */
  readonly parts: readonly (readonly [part: number, mask: number | null])[]
}

const recordFormatVersion = 4

/** One line naming format version and checksum, then JSON. */
export function composeRecord(record: CollectionRecord): Uint8Array {
  const json = Buffer.from(JSON.stringify(record), 'utf8')
  return Buffer.concat([Buffer.from(`lakegate-collection ${recordFormatVersion} ${crc32(json)}\n`, 'latin1'), json])
}

/** Throws LG_CORRUPT for anything that composeRecord of this format version did not write. */
export function parseRecord(bytes: Buffer): CollectionRecord {
  const lineEnd = bytes.indexOf(0x0a)
  const [name, version, checksum] = bytes.toString('latin1', 0, Math.max(lineEnd, 0)).split(' ')
  if (name !== 'lakegate-collection') throw new GatewayError('LG_CORRUPT', 'collection record is not one')
  if (version !== String(recordFormatVersion))
    throw new GatewayError('LG_CORRUPT', `collection record has format version ${version}`)
  const json = bytes.subarray(lineEnd + 1)
  if (String(crc32(json)) !== checksum) throw new GatewayError('LG_CORRUPT', 'collection record fails its checksum')
  // Past its checksum it is what composeRecord wrote.
  return JSON.parse(json.toString('utf8')) as CollectionRecord
}

export const packOrdinals = (ordinals: Uint32Array): string =>
  Buffer.from(ordinals.buffer, ordinals.byteOffset, ordinals.byteLength).toString('base64')

export function unpackOrdinals(text: string): Uint32Array {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'))
  return new Uint32Array(bytes.buffer, 0, bytes.byteLength / 4)
}
