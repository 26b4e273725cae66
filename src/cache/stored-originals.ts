/** Originals of a segment on disk: read, and verified page by page, when rows are asked for (law 10). */
import { crc32 } from 'node:zlib'
import { GatewayError } from '../core/errors.js'
import { type Block, originalsBytes } from './block.js'
import { padDimension } from './padding.js'
import { pageBytes } from './segment-file.js'

/** Originals on disk, opened when first read. */
export interface OriginalsFile {
  /** Keeps the file from being deleted to make room, until `letGo` or `close`; false when it is gone already. */
  hold(): boolean
  letGo(): void
  /** Fills `into` with unverified bytes from `position` of the originals on. Throws LG_CORRUPT. */
  read(into: Uint8Array, position: number): Promise<void>
  /** To be called once; reads under way must have ended. */
  close(): void
}

/** Unwanted pages between two wanted ones that are read along rather than left out by another read. */
const gapPagesMax = 4
const readBytesMax = 1024 * 1024
/** A padded row is a multiple of 64 bytes, so that so many make whole pages. */
const rowsOfPages = pageBytes / 64

/** Rows that are read, or put in order, before others get their turn. */
const rowsAtOnce = (rowBytes: number): number =>
  Math.max(1, Math.floor(readBytesMax / (rowsOfPages * rowBytes))) * rowsOfPages

/** The originals of a block in the order of positions, as in its file: whole pages, but for the last. */
export function* originalsByPosition(block: Block): Generator<Uint8Array> {
  const vectors = block.originals!.u8()
  const { rows } = block
  const rowAt = block.order()
  const rowBytes = padDimension(block.dimension) * 4
  const step = rowsAtOnce(rowBytes)
  const chunk = new Uint8Array(Math.min(step, rows) * rowBytes)
  for (let first = 0; first < rows; first += step) {
    const end = Math.min(rows, first + step)
    if (block.clusters === 0) {
      yield vectors.subarray(first * rowBytes, end * rowBytes)
      continue
    }
    for (let position = first; position < end; position++) {
      const from = rowAt(position) * rowBytes
      chunk.set(vectors.subarray(from, from + rowBytes), (position - first) * rowBytes)
    }
    yield chunk.subarray(0, (end - first) * rowBytes)
  }
}

/** The originals of one block in its segment's file. */
export class StoredOriginals {
  readonly #file: OriginalsFile
  readonly #block: Block
  readonly #sums: Uint32Array
  readonly #rowBytes: number
  readonly #bytes: number
  #uses = 0
  /** The file is to be let go when nobody reads any more. */
  #unneeded = false

  /**
   * Takes the file over.
   * @param sums u32[pages]: checksums of the pages; borrowed as long as this lives
   */
  constructor(file: OriginalsFile, block: Block, sums: Uint32Array) {
    this.#file = file
    this.#block = block
    this.#sums = sums
    this.#rowBytes = padDimension(block.dimension) * 4
    this.#bytes = originalsBytes(block)
  }

  /**
   * The vectors of the codes at these positions: float32[dimension] each, in the order asked for. Throws LG_CORRUPT.
   * @param positions need not be in any order
   */
  async read(positions: Uint32Array): Promise<Float32Array[]> {
    const order = Uint32Array.from(positions, (_, i) => i).sort((a, b) => positions[a]! - positions[b]!)
    const vectors = new Array<Float32Array>(positions.length)
    const reads: Promise<void>[] = []
    for (let start = 0; start < order.length; ) {
      const first = this.#firstPage(positions[order[start]!]!)
      let end = start + 1
      let last = this.#endPage(positions[order[start]!]!)
      for (; end < order.length; end++) {
        const position = positions[order[end]!]!
        if (this.#firstPage(position) > last + gapPagesMax) break
        if ((this.#endPage(position) - first) * pageBytes > readBytesMax) break
        last = this.#endPage(position)
      }
      const wanted = order.subarray(start, end)
      reads.push(this.#readPages(first, last).then((pages) => this.#take(pages, first, positions, wanted, vectors)))
      start = end
    }
    for (const read of await Promise.allSettled(reads)) if (read.status === 'rejected') throw read.reason
    return vectors
  }

  /** Writes the originals of rows from `start` on, in order, into `target`: f32[][padded]. Throws LG_CORRUPT. */
  async readRows(start: number, target: Uint8Array, signal: AbortSignal): Promise<void> {
    const { rows } = this.#block
    const rowAt = this.#block.order()
    const rowBytes = this.#rowBytes
    const step = rowsAtOnce(rowBytes)
    for (let first = 0; first < rows; first += step) {
      signal.throwIfAborted()
      const end = Math.min(rows, first + step)
      const pages = await this.#readPages((first * rowBytes) / pageBytes, Math.ceil((end * rowBytes) / pageBytes))
      for (let position = first; position < end; position++) {
        const at = (rowAt(position) - start) * rowBytes
        if (at < 0 || at >= target.byteLength) continue
        const from = (position - first) * rowBytes
        target.set(pages.subarray(from, from + rowBytes), at)
      }
    }
  }

  /** Says that they are in no other place; false when the file is gone. */
  hold(): boolean {
    const held = this.#file.hold()
    if (held) this.#unneeded = false
    return held
  }

  /** They are in memory as well now; reads under way keep the file until they end. */
  letGo(): void {
    this.#unneeded = true
    if (this.#uses === 0) this.#file.letGo()
  }

  /** Runs reads that need the file to the end. */
  async use<T>(read: (stored: StoredOriginals) => Promise<T>): Promise<T> {
    this.#uses++
    try {
      return await read(this)
    } finally {
      if (--this.#uses === 0 && this.#unneeded) this.#file.letGo()
    }
  }

  close(): void {
    this.#file.close()
  }

  #firstPage(position: number): number {
    return Math.floor((position * this.#rowBytes) / pageBytes)
  }

  #endPage(position: number): number {
    return Math.ceil(((position + 1) * this.#rowBytes) / pageBytes)
  }

  async #readPages(first: number, end: number): Promise<Uint8Array> {
    const start = first * pageBytes
    const bytes = new Uint8Array(Math.min(end * pageBytes, this.#bytes) - start)
    await this.#file.read(bytes, start)
    for (let page = first; page < end; page++) {
      const at = (page - first) * pageBytes
      if (crc32(bytes.subarray(at, at + pageBytes)) !== this.#sums[page])
        throw new GatewayError('LG_CORRUPT', `segment file: its vectors fail the checksum of page ${page}`)
    }
    return bytes
  }

  #take(
    pages: Uint8Array,
    firstPage: number,
    positions: Uint32Array,
    wanted: Uint32Array,
    vectors: Float32Array[],
  ): void {
    for (const index of wanted) {
      const at = positions[index]! * this.#rowBytes - firstPage * pageBytes
      // Rows start at multiples of 64 of a buffer of their own.
      vectors[index] = new Float32Array(pages.buffer, at, this.#block.dimension)
    }
  }
}
