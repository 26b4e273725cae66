import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { GatewayError } from '../core/errors.js'

/**
 * A segment file: 24 bytes (magic, format version, header length, header checksum), a JSON header, then sections of raw
 * bytes, each starting at a multiple of 64 and checksummed in the header, then the rows' originals, in the order of their
 * codes and starting at a multiple of a page. Of these every page has its checksum in the section `sums`, so that a row
 * can be read, and verified, alone. A reader accepts its own version only: a file is a copy of what the source can give
 * again, so an older one is discarded, not migrated.
 */
export const segmentFormatVersion = 2

const magic = Buffer.from('LGSEGMNT', 'latin1')
const preludeBytes = 24
const headerBytesMax = 64 * 1024
const alignment = 64
/** Originals are verified by pages of this size: what the operating system reads at least. */
export const pageBytes = 4096
/** Reads of this size keep both disk threads busy and let other work in between. */
const readBytesMax = 16 * 1024 * 1024

/** Bytes of a section that are read, and then checksummed, at a time, and how many of these reads are under way. */
const summedBytes = 2 * 1024 * 1024
const readsAhead = 3

/** Bytes of the section that holds the checksums of so many bytes of originals. */
export const sumsBytes = (originals: number): number => Math.ceil(originals / pageBytes) * 4

export interface SegmentHeader {
  readonly key: string
  readonly rows: number
  readonly idKind: string
}

/** What a segment file is made of; borrowed while its pieces are taken. */
export interface SegmentContent {
  /** `sums` is filled with the checksums of the originals on the way. */
  readonly sections: ReadonlyMap<string, Uint8Array>
  readonly originals: {
    readonly bytes: number
    /** Whole pages, but for the last; a chunk is borrowed until the next is asked for. */
    chunks(): Iterable<Uint8Array>
  }
}

/** Bytes and where in a file they go. */
export interface FilePiece {
  readonly position: number
  readonly bytes: Uint8Array
}

interface Section {
  readonly name: string
  readonly offset: number
  readonly bytes: number
  /** Eight hexadecimal digits. */
  readonly crc: string
}

interface Header extends SegmentHeader {
  readonly sections: readonly Section[]
  readonly originals: { readonly offset: number; readonly bytes: number }
}

/** The pieces of a segment file, to be taken once, and its size. The header, which completes it, comes last. */
export function composeSegmentFile(
  header: SegmentHeader,
  content: SegmentContent,
): { readonly pieces: Iterable<FilePiece>; readonly bytes: number } {
  const sections: Section[] = []
  let end = 0
  for (const [name, { byteLength }] of content.sections) {
    sections.push({ name, offset: end, bytes: byteLength, crc: hex(0) })
    end = alignUp(end + byteLength, alignment)
  }
  const originals = { offset: alignUp(end, pageBytes), bytes: content.originals.bytes }
  const whole: Header = { ...header, sections, originals }
  // Offsets count from the end of the header, whose length the checksums do not change.
  const start = alignUp(preludeBytes + Buffer.byteLength(JSON.stringify(whole)), pageBytes)
  return { pieces: piecesOf(whole, start, content), bytes: start + originals.offset + originals.bytes }
}

function* piecesOf(header: Header, start: number, content: SegmentContent): Generator<FilePiece> {
  const sums = content.sections.get('sums')
  const pageSums =
    sums === undefined ? new Uint32Array(0) : new Uint32Array(sums.buffer, sums.byteOffset, sums.byteLength / 4)
  let done = 0
  for (const bytes of content.originals.chunks()) {
    for (let at = 0; at < bytes.byteLength; at += pageBytes)
      pageSums[(done + at) / pageBytes] = crc32(bytes.subarray(at, at + pageBytes))
    yield { position: start + header.originals.offset + done, bytes }
    done += bytes.byteLength
  }
  const sections: Section[] = []
  for (const section of header.sections) {
    const bytes = content.sections.get(section.name)!
    sections.push({ ...section, crc: hex(crc32(bytes)) })
    yield { position: start + section.offset, bytes }
  }
  const json = Buffer.from(JSON.stringify({ ...header, sections }), 'utf8')
  const head = Buffer.alloc(preludeBytes + json.length)
  magic.copy(head)
  head.writeUInt32LE(segmentFormatVersion, 8)
  head.writeUInt32LE(json.length, 12)
  head.writeUInt32LE(crc32(json), 16)
  json.copy(head, preludeBytes)
  yield { position: 0, bytes: head }
}

export interface SegmentFileReader {
  readonly header: SegmentHeader
  readonly bytes: number
  /** Where in the file the originals are. */
  readonly originals: { readonly offset: number; readonly bytes: number }
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
  const header = JSON.parse(json.toString('utf8')) as Header
  if (header.key !== key) throw corrupt(key, `holds segment ${header.key}`)
  const start = alignUp(preludeBytes + jsonBytes, pageBytes)
  const section = (name: string): Section | undefined => header.sections.find((entry) => entry.name === name)
  let end = 0
  for (const { name, offset, bytes } of header.sections) {
    // Memory is taken for what the table says, so it must not say more than the file has.
    if (offset !== end || !(bytes >= 0)) throw corrupt(key, `has a section "${name}" out of place`)
    end = alignUp(end + bytes, alignment)
  }
  const { originals } = header
  const expected = start + alignUp(end, pageBytes) + originals.bytes
  if (size !== expected) throw corrupt(key, `has ${size} bytes instead of ${expected}`)
  return {
    header,
    bytes: size,
    originals: { offset: start + originals.offset, bytes: originals.bytes },
    sectionBytes: (name) => section(name)?.bytes ?? null,
    async read(name, into) {
      const { offset, crc } = section(name)!
      if (hex(await readAndSum(file, into, start + offset)) !== crc)
        throw corrupt(key, `fails the checksum of its section "${name}"`)
    },
  }
}

/**
 * Fills `into` from `position` on and returns its checksum, computed while what follows is being read. Settles when no read
 * is under way any more: `into` may then be used for something else. Throws LG_CORRUPT when the file ends before.
 */
async function readAndSum(file: FileHandle, into: Uint8Array, position: number): Promise<number> {
  const reads: Promise<void>[] = []
  try {
    let sum = 0
    for (let done = 0, asked = 0; done < into.byteLength; done += summedBytes) {
      for (; asked < into.byteLength && reads.length < readsAhead; asked += summedBytes) {
        const read = readFully(file, into.subarray(asked, asked + summedBytes), position + asked)
        read.catch(() => {}) // those after the first that fails are awaited below
        reads.push(read)
      }
      await reads[0]
      reads.shift()
      sum = crc32(into.subarray(done, done + summedBytes), sum)
    }
    return sum
  } finally {
    await Promise.allSettled(reads)
  }
}

/** Fills `into` from `position` on. Throws LG_CORRUPT when the file ends before. */
export async function readFully(file: FileHandle, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.byteLength; ) {
    const length = Math.min(readBytesMax, into.byteLength - done)
    const { bytesRead } = await file.read(into, done, length, position + done)
    if (bytesRead === 0) throw new GatewayError('LG_CORRUPT', `segment file ends ${into.byteLength - done} bytes early`)
    done += bytesRead
  }
}

const alignUp = (bytes: number, step: number): number => Math.ceil(bytes / step) * step

const hex = (crc: number): string => crc.toString(16).padStart(8, '0')

const corrupt = (key: string, what: string): GatewayError =>
  new GatewayError('LG_CORRUPT', `segment file ${key} ${what}`)

/** The file is wrong or cannot be read; anything else (no memory for it, a defect) is not the file's fault. */
export const isUnusable = (error: unknown): boolean =>
  error instanceof GatewayError ? error.code === 'LG_CORRUPT' : error instanceof Error && 'syscall' in error
