import assert from 'node:assert'
import { GatewayError } from '../core/errors.js'
import { type Metric, metrics } from '../core/metric.js'
import type { Allocation } from './arena.js'
import {
  blockBitsAt,
  blockBytesAt,
  blockCellCountAt,
  blockCellErrorMaxAt,
  blockCellsAt,
  blockCentredMaxAt,
  blockClustersAt,
  blockDimensionAt,
  blockDirectionsAt,
  blockEncodedAt,
  blockFactorErrorMaxAt,
  blockFormat,
  blockFormatAt,
  blockHeaderBytes,
  blockInverseNormsAt,
  blockMagic,
  blockMagicAt,
  blockMetricAt,
  blockNormMaxAt,
  blockPaddedAt,
  blockPrefixesAt,
  blockPrefixFactorsAt,
  blockQuantizedAt,
  blockRadiiAt,
  blockRankedAt,
  blockRanksAt,
  blockReachesAt,
  blockRecordsAt,
  blockRowsAt,
  blockSlacksAt,
  blockSpreadMaxAt,
  blockStartsAt,
  cellsMax,
  clustersMax,
  dimensionMax,
  directionsMax,
  groupRows,
  prefixFactorBytes,
  recordRows,
  recordRowsAt,
  recordTailBytes,
} from './kernel/layout.js'
import { metricNumber } from './metric-number.js'
import { padDimension } from './padding.js'

export interface BlockShape {
  readonly rows: number
  readonly dimension: number
  readonly metric: Metric
  /** Whether it has codes: below `quantizedRowsMin` rows a plain scan is as fast. */
  readonly quantized: boolean
  /** Number of the codebook's centroids, when its rows are to be sorted by them; else 0. */
  readonly clusters: number
  /** Number of the codebook's leading principal directions, when rows are to be coded along them; else 0. */
  readonly directions: number
  /** Number of the codebook's cells, when rows are to be coded in them; else 0. */
  readonly cells: number
}

/** From about this many rows on, codes pay for the query's rotation and tables. */
export const quantizedRowsMin = 1024

/** Cache-line steps between the arrays of a block. */
const align = (bytes: number): number => Math.ceil(bytes / 64) * 64

/** Of a record of four rows' 8-bit codes: whole cache lines, so that a row touches as few as can be. */
const recordBytes = (padded: number): number => recordRows * padded + recordTailBytes

/** Byte offset of every array, by its header field, and the size of the whole. */
function blockLayout(shape: BlockShape): { readonly offsets: ReadonlyMap<number, number>; readonly bytes: number } {
  const padded = padDimension(shape.dimension)
  const rows = Math.ceil(shape.rows / groupRows) * groupRows
  const offsets = new Map<number, number>()
  let end = blockHeaderBytes
  const place = (field: number, bytes: number): void => {
    offsets.set(field, end)
    end = align(end + bytes)
  }
  place(blockRanksAt, shape.rows * 4)
  if (shape.metric === 'cosine') place(blockInverseNormsAt, shape.rows * 4)
  if (shape.quantized) {
    place(blockBitsAt, (rows / groupRows) * (padded * 4 + 3 * groupRows * 4))
    place(blockRecordsAt, (rows / recordRows) * recordBytes(padded))
  }
  if (shape.clusters > 0) {
    place(blockStartsAt, (shape.clusters + 1) * 4)
    place(blockReachesAt, shape.clusters * 4)
    place(blockSlacksAt, shape.clusters * 4)
    place(blockRadiiAt, rows * 4)
  }
  if (shape.directions > 0) {
    place(blockPrefixesAt, rows * shape.directions)
    place(blockPrefixFactorsAt, (rows / recordRows) * prefixFactorBytes)
  }
  if (shape.cells > 0) place(blockCellsAt, (rows / 2) * shape.cells)
  return { offsets, bytes: end }
}

/** Bytes of arena that a block of this shape takes, without its originals. */
export const blockBytes = (shape: BlockShape): number => blockLayout(shape).bytes

/** Bytes of its originals, in memory and on disk. */
export const originalsBytes = ({ rows, dimension }: Pick<BlockShape, 'rows' | 'dimension'>): number =>
  rows * padDimension(dimension) * 4

/**
 * Lays out an empty block, and zero vectors for its originals. It takes both allocations, of one arena, over; the block's
 * owner frees them.
 */
export function createBlock(allocation: Allocation, originals: Allocation, shape: BlockShape): Block {
  assert(
    shape.quantized || shape.clusters + shape.directions + shape.cells === 0,
    'clusters, directions and cells are of codes',
  )
  const layout = blockLayout(shape)
  assert(allocation.bytes === layout.bytes, 'a block fills its allocation')
  allocation.u8().fill(0)
  const header = allocation.u32()
  header[blockMagicAt / 4] = blockMagic
  header[blockFormatAt / 4] = blockFormat
  header[blockRowsAt / 4] = shape.rows
  header[blockDimensionAt / 4] = shape.dimension
  header[blockPaddedAt / 4] = padDimension(shape.dimension)
  header[blockMetricAt / 4] = metricNumber(shape.metric)
  header[blockQuantizedAt / 4] = shape.quantized ? 1 : 0
  header[blockClustersAt / 4] = shape.clusters
  header[blockDirectionsAt / 4] = shape.directions
  header[blockCellCountAt / 4] = shape.cells
  header[blockBytesAt / 4] = layout.bytes
  for (const [field, offset] of layout.offsets) header[field / 4] = offset
  const block = new Block(allocation, shape)
  originals.u8().fill(0)
  block.attach(originals)
  return block
}

/**
 * Takes over an allocation that holds the bytes of an encoded block, as they were on disk; its originals still are.
 * Throws LG_CORRUPT when the header is not one that this version writes for these many bytes.
 */
export function openBlock(allocation: Allocation): Block {
  const refuse = (what: string, expected: unknown, found: unknown): never => {
    throw new GatewayError('LG_CORRUPT', `block: ${what}: expected ${String(expected)}, found ${String(found)}`)
  }
  if (allocation.bytes < blockHeaderBytes) refuse('size', `at least ${blockHeaderBytes} bytes`, allocation.bytes)
  const header = allocation.u32()
  const field = (at: number): number => header[at / 4]!
  if (field(blockMagicAt) !== blockMagic) refuse('magic', blockMagic, field(blockMagicAt))
  if (field(blockFormatAt) !== blockFormat) refuse('format version', blockFormat, field(blockFormatAt))
  if (field(blockEncodedAt) !== 1) refuse('encoded', 1, field(blockEncodedAt))
  const metric = metrics[field(blockMetricAt)] ?? refuse('metric', '0 to 2', field(blockMetricAt))
  const dimension = field(blockDimensionAt)
  if (dimension < 1 || dimension > dimensionMax) refuse('dimension', `1 to ${dimensionMax}`, dimension)
  if (field(blockPaddedAt) !== padDimension(dimension))
    refuse('padded dimension', padDimension(dimension), field(blockPaddedAt))
  const clusters = field(blockClustersAt)
  if (clusters > clustersMax) refuse('clusters', `0 to ${clustersMax}`, clusters)
  const directions = field(blockDirectionsAt)
  if (directions > directionsMax) refuse('directions', `0 to ${directionsMax}`, directions)
  const quantized = field(blockQuantizedAt) === 1
  const cells = field(blockCellCountAt)
  if (cells > cellsMax) refuse('cells', `0 to ${cellsMax}`, cells)
  const shape = { rows: field(blockRowsAt), dimension, metric, quantized, clusters, directions, cells }
  const layout = blockLayout(shape)
  if (allocation.bytes !== layout.bytes || field(blockBytesAt) !== layout.bytes)
    refuse('bytes', layout.bytes, `${field(blockBytesAt)} in ${allocation.bytes}`)
  for (const [at, offset] of layout.offsets) if (field(at) !== offset) refuse(`offset ${at}`, offset, field(at))
  return new Block(allocation, shape)
}

/** The kernel's part of a segment: codes with no address in them, so the bytes move to disk and back, and originals. */
export class Block {
  readonly allocation: Allocation
  readonly rows: number
  readonly dimension: number
  readonly metric: Metric
  readonly quantized: boolean
  readonly clusters: number
  readonly #stride: number
  #originals: Allocation | null = null

  /** Use createBlock or openBlock. */
  constructor(allocation: Allocation, shape: BlockShape) {
    this.allocation = allocation
    this.rows = shape.rows
    this.dimension = shape.dimension
    this.metric = shape.metric
    this.quantized = shape.quantized
    this.clusters = shape.clusters
    this.#stride = padDimension(shape.dimension)
  }

  /** Whether an encode job has finished: before, the block cannot be scanned or stored. */
  get encoded(): boolean {
    return this.#header(blockEncodedAt) === 1
  }

  get ranked(): boolean {
    return this.#header(blockRankedAt) === 1
  }

  /** float32[rows][padded], in the order of rows; null while they are on disk only. */
  get originals(): Allocation | null {
    return this.#originals
  }

  /** Takes over an allocation in the block's arena that holds, or will hold, its originals. */
  attach(originals: Allocation): void {
    assert(this.#originals === null, 'originals are attached once')
    assert(originals.arena.id === this.allocation.arena.id, 'originals lie in the arena of their codes')
    assert(originals.bytes >= originalsBytes(this), 'originals fit their allocation')
    this.#originals = originals
  }

  /** Frees the originals: nothing may be reading them. */
  detach(): void {
    assert(this.#originals !== null, 'originals are in memory')
    this.#originals.free()
    this.#originals = null
  }

  /**
   * Copies rows in, before encoding.
   * @param vectors float32[count * dimension], finite; borrowed
   */
  writeRows(firstRow: number, vectors: Float32Array): void {
    const count = vectors.length / this.dimension
    assert(Number.isInteger(count) && firstRow >= 0 && firstRow + count <= this.rows, 'rows lie inside the block')
    const target = this.#vectors()
    if (this.#stride === this.dimension) {
      target.set(vectors, firstRow * this.#stride)
      return
    }
    for (let row = 0; row < count; row++)
      target.set(vectors.subarray(row * this.dimension, (row + 1) * this.dimension), (firstRow + row) * this.#stride)
  }

  /** float32[dimension], a copy. */
  vector(row: number): Float32Array {
    assert(row >= 0 && row < this.rows, 'row lies inside the block')
    const start = row * this.#stride
    return Float32Array.from(this.#vectors().subarray(start, start + this.dimension))
  }

  /** Floats from one row to the next in `rowsInPlace`. */
  get stride(): number {
    return this.#stride
  }

  /** float32[count][stride]: rows as they were written, zeros in the padding. A view of shared memory, to be read only. */
  rowsInPlace(from: number, count: number): Float32Array {
    assert(from >= 0 && from + count <= this.rows, 'rows lie inside the block')
    return this.#vectors().subarray(from * this.#stride, (from + count) * this.#stride)
  }

  /**
   * Says how rows of equal distance are ordered from now on. Scans that run meanwhile still order by position.
   * @param ranks uint32[rows], distinct; copied
   */
  setTieRanks(ranks: Uint32Array): void {
    assert(ranks.length === this.rows, 'one rank a row')
    const words = this.allocation.u32()
    words.set(ranks, this.#header(blockRanksAt) / 4)
    Atomics.store(words, blockRankedAt / 4, 1)
  }

  /**
   * Turns a bitmap of rows into the one that a scan reads: clustered codes are not in the order of rows. In place.
   * @param words one bit a row, zeros behind the last
   */
  arrangeBitmap(words: Uint32Array): void {
    if (this.clusters === 0) return
    assert(this.encoded, 'the order of codes is known')
    const rowAt = this.order()
    const rows = words.slice()
    for (let word = 0; word < words.length; word++) {
      const end = Math.min(32, this.rows - word * 32)
      let bits = 0
      for (let bit = 0; bit < end; bit++) {
        const row = rowAt(word * 32 + bit)
        bits |= ((rows[row >>> 5]! >>> (row & 31)) & 1) << bit
      }
      words[word] = bits
    }
  }

  /** Of an encoded block: the row of a position, as a function that looks it up. Without clusters they agree. */
  order(): (position: number) => number {
    if (this.clusters === 0) return (position) => position
    const words = this.allocation.u32()
    const step = recordBytes(this.#stride) / 4
    const first = this.#header(blockRecordsAt) / 4 + step - (recordTailBytes - recordRowsAt) / 4
    return (position) => words[first + Math.floor(position / recordRows) * step + (position % recordRows)]!
  }

  /** Where a row's code, and on disk its original, is: as a function that looks it up. */
  positions(): (row: number) => number {
    if (this.clusters === 0) return (row) => row
    const rowAt = this.order()
    const positions = new Uint32Array(this.rows)
    for (let position = 0; position < this.rows; position++) positions[rowAt(position)] = position
    return (row) => positions[row]!
  }

  /** Of an encoded, clustered block: where a row's code is, as a function that looks it up. */
  places(): (row: number) => { readonly cluster: number; readonly radius: number } {
    assert(this.clusters > 0 && this.encoded, 'rows have places')
    const words = this.allocation.u32()
    const starts = words.subarray(this.#header(blockStartsAt) / 4, this.#header(blockStartsAt) / 4 + this.clusters + 1)
    const radii = this.allocation.f32().subarray(this.#header(blockRadiiAt) / 4)
    const positionOf = this.positions()
    return (row) => {
      const position = positionOf(row)
      // The last cluster that starts at or before it.
      let low = 0
      let high = this.clusters
      while (high - low > 1) {
        const middle = (low + high) >> 1
        if (starts[middle]! <= position) low = middle
        else high = middle
      }
      return { cluster: low, radius: radii[position]! }
    }
  }

  /** Mean distance of a row from its centroid; null without clusters. */
  get meanRadius(): number | null {
    if (this.clusters === 0) return null
    const radii = this.allocation.f32().subarray(this.#header(blockRadiiAt) / 4)
    let sum = 0
    for (let row = 0; row < this.rows; row++) sum += radii[row]!
    return sum / this.rows
  }

  #header(field: number): number {
    return Atomics.load(this.allocation.u32(), field / 4)
  }

  #vectors(): Float32Array {
    assert(this.#originals !== null, 'originals are in memory')
    return this.#originals.f32()
  }
}

/** What the kernel needs to know of a block to plan a scan. */
export interface BlockSummary {
  readonly rows: number
  readonly dimension: number
  readonly paddedDimension: number
  readonly metric: number
  readonly quantized: boolean
  readonly clusters: number
  readonly directions: number
  readonly cells: number
}

/** Reads a block's header in place. */
export function summarizeBlock(memory: WebAssembly.Memory, offset: number): BlockSummary {
  const header = new Uint32Array(memory.buffer, offset, blockHeaderBytes / 4)
  assert(header[blockMagicAt / 4] === blockMagic, 'a job names blocks by the offset of their header')
  return {
    rows: header[blockRowsAt / 4]!,
    dimension: header[blockDimensionAt / 4]!,
    paddedDimension: header[blockPaddedAt / 4]!,
    metric: header[blockMetricAt / 4]!,
    quantized: header[blockQuantizedAt / 4] === 1,
    clusters: header[blockClustersAt / 4]!,
    directions: header[blockDirectionsAt / 4]!,
    cells: header[blockCellCountAt / 4]!,
  }
}

const maximaAt = [blockNormMaxAt, blockCentredMaxAt, blockSpreadMaxAt, blockFactorErrorMaxAt, blockCellErrorMaxAt]

/**
 * Makes a block scannable once all its rows are encoded.
 * @param maxima one float64[maximaCount] a range of rows, as the kernel gave them
 */
export function finishBlock(memory: WebAssembly.Memory, offset: number, maxima: readonly Float64Array[]): void {
  const header = new Float64Array(memory.buffer, offset, blockHeaderBytes / 8)
  for (const [i, at] of maximaAt.entries()) header[at / 8] = maxima.reduce((max, range) => Math.max(max, range[i]!), 0)
  Atomics.store(new Uint32Array(memory.buffer, offset, blockHeaderBytes / 4), blockEncodedAt / 4, 1)
}
