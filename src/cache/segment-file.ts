import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { GatewayError } from '../core/errors.js'

/**
 * A segment file: 24 bytes (magic, format version, header length, header checksum), a JSON header, then sections of raw
 * bytes, each starting at a multiple of 64 and checksummed in the header. A reader accepts its own version only: a file
 * is a copy of what the source can give again, so an older one is discarded, not migrated.
 */
export const segmentFormatVersion = 1

const magic = Buffer.from('LGSEGMNT', 'latin1')
const preludeBytes = 24
const headerBytesMax = 64 * 1024
const alignment = 64
/** Reads of this size keep both disk threads busy and let other work in between. */
const readBytesMax = 16 * 1024 * 1024

export interface SegmentHeader {
  readonly key: string
  readonly rows: number
  readonly idKind: string
}

interface Section {
  readonly name: string
  readonly offset: number
  readonly bytes: number
  readonly crc: number
}

/** The pieces of a segment file, in order; `sections` are borrowed. */
export function composeSegmentFile(
  header: SegmentHeader,
  sections: ReadonlyMap<string, Uint8Array>,
): { readonly pieces: readonly Uint8Array[]; readonly bytes: number } {
  // Offsets count from the end of the header, whose length depends on them.
  let offset = 0
  const table: Section[] = []
  const body: Uint8Array[] = []
  for (const [name, bytes] of sections) {
    table.push({ name, offset, bytes: bytes.byteLength, crc: crc32(bytes) })
    const padded = alignUp(bytes.byteLength)
    body.push(bytes, new Uint8Array(padded - bytes.byteLength))
    offset += padded
  }
  const json = Buffer.from(JSON.stringify({ ...header, sections: table }), 'utf8')
  const start = alignUp(preludeBytes + json.length)
  const head = Buffer.alloc(start)
  magic.copy(head)
  head.writeUInt32LE(segmentFormatVersion, 8)
  head.writeUInt32LE(json.length, 12)
  head.writeUInt32LE(crc32(json), 16)
  json.copy(head, preludeBytes)
  return { pieces: [head, ...body], bytes: start + offset }
}

export interface SegmentFileReader {
  readonly header: SegmentHeader
  readonly bytes: number
  /** Byte length of a section, or null when the file has none of that name. */
  sectionBytes(name: string): number | null
  /** Fills `into` (of exactly the section's length; may be shared memory) and verifies it. Throws LG_CORRUPT. */
  read(name: string, into: Uint8Array): Promise<void>
}

/** Reads and verifies a segment file's header. Throws LG_CORRUPT, also for another format version or another key. */
export async function openSegmentFile(file: FileHandle, key: string): Promise<SegmentFileReader> {
  const { size } = await file.stat()
  const prelude = Buffer.alloc(preludeBytes)
  await readFully(file, prelude, 0)
  if (!prelude.subarray(0, 8).equals(magic)) throw corrupt(key, 'is not a segment file')
  const version = prelude.readUInt32LE(8)
  if (version !== segmentFormatVersion)
    throw corrupt(key, `has format version ${version}, this lakegate reads ${segmentFormatVersion}`)
  const jsonBytes = prelude.readUInt32LE(12)
  if (jsonBytes > headerBytesMax) throw corrupt(key, `has a header of ${jsonBytes} bytes`)
  const json = Buffer.alloc(jsonBytes)
  await readFully(file, json, preludeBytes)
  if (crc32(json) !== prelude.readUInt32LE(16)) throw corrupt(key, 'fails its header checksum')
  // Past its checksum the header is what composeSegmentFile wrote.
  const header = JSON.parse(json.toString('utf8')) as SegmentHeader & { readonly sections: readonly Section[] }
  if (header.key !== key) throw corrupt(key, `holds segment ${header.key}`)
  const start = alignUp(preludeBytes + jsonBytes)
  const section = (name: string): Section | undefined => header.sections.find((entry) => entry.name === name)
  let end = 0
  for (const { name, offset, bytes } of header.sections) {
    // Memory is taken for what the table says, so it must not say more than the file has.
    if (offset !== end || !(bytes >= 0)) throw corrupt(key, `has a section "${name}" out of place`)
    end += alignUp(bytes)
  }
  if (size !== start + end) throw corrupt(key, `has ${size} bytes instead of ${start + end}`)
  return {
    header,
    bytes: size,
    sectionBytes: (name) => section(name)?.bytes ?? null,
    async read(name, into) {
      const { offset, crc } = section(name)!
      await readFully(file, into, start + offset)
      if (crc32(into) !== crc) throw corrupt(key, `fails the checksum of its section "${name}"`)
    },
  }
}

async function readFully(file: FileHandle, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.byteLength; ) {
    const length = Math.min(readBytesMax, into.byteLength - done)
    const { bytesRead } = await file.read(into, done, length, position + done)
    if (bytesRead === 0) throw new GatewayError('LG_CORRUPT', `segment file ends ${into.byteLength - done} bytes early`)
    done += bytesRead
  }
}

const alignUp = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

const corrupt = (key: string, what: string): GatewayError =>
  new GatewayError('LG_CORRUPT', `segment file ${key} ${what}`)
