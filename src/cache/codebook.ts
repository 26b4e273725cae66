import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { GatewayError } from '../core/errors.js'
import { type Metric, metrics } from '../core/metric.js'
import type { Allocation, ArenaPool } from './arena.js'
import type { Basis } from './basis.js'
import type { Cells } from './cells.js'
import type { Centroids } from './centroids.js'
import type { ArenaHandle } from './executor.js'
import {
  cellEdgesStride,
  cellsMax,
  clustersMax,
  codebookBasisAt,
  codebookCellCountAt,
  codebookCellEdgesAt,
  codebookCenterAt,
  codebookCentroidsAt,
  codebookDirectionsAt,
  codebookHadamardAt,
  codebookIntegerNormMaxAt,
  codebookIntegersAt,
  codebookMetricAt,
  codebookNormMaxAt,
  codebookNormsAt,
  codebookPaddedAt,
  codebookPrefixAt,
  codebookRoundsAt,
  codebookScalesAt,
  codebookSkewAt,
  codebookSquaresAt,
  codebookTableAt,
  directionsMax,
} from './kernel/layout.js'
import { padDimension } from './padding.js'

/** A metric's number in block and codebook headers. */
export const metricNumber = (metric: Metric): number => metrics.indexOf(metric)

/**
 * What all codes of a collection share: the rotation (drawn from `seed`) and the point that vectors are centred on. The
 * seed stays secret: certified answers assume that vectors and queries were not chosen knowing it.
 */
export interface Codebook {
  /** Names everything else in it: equal versions give equal codes. */
  readonly version: string
  readonly dimension: number
  readonly metric: Metric
  /** 128 bits: too many to try. */
  readonly seed: bigint
  /** float32[dimension]: mean of the sample; of its unit vectors for cosine. */
  readonly center: Float32Array
  /** What rows are sorted by, or null: then they are coded relative to the centre alone. */
  readonly centroids: Centroids | null
  /** Directions (a multiple of 16) along which rows have short codes, or null. */
  readonly basis: Basis | null
}

/**
 * Centres on the sample's mean: for l2 and cosine it makes residuals, and with them every bound, small; for dot the part
 * of the product that the centre accounts for is computed exactly, so the same holds.
 * @param sample float32[rows * dimension], finite; borrowed
 */
export function trainCodebook(options: {
  readonly dimension: number
  readonly metric: Metric
  readonly seed: bigint
  readonly sample: Float32Array
}): Codebook {
  const { dimension, metric, seed, sample } = options
  const sums = new Float64Array(dimension)
  const rows = Math.floor(sample.length / dimension)
  for (let row = 0; row < rows; row++) {
    const vector = sample.subarray(row * dimension, (row + 1) * dimension)
    let scale = 1
    if (metric === 'cosine') {
      let square = 0
      for (const value of vector) square += value * value
      scale = square === 0 ? 0 : 1 / Math.sqrt(square)
    }
    for (let i = 0; i < dimension; i++) sums[i]! += vector[i]! * scale
  }
  const center = Float32Array.from(sums, (sum) => sum / Math.max(rows, 1))
  return createCodebook({ dimension, metric, seed, center, centroids: null, basis: null })
}

/** The same rotation and centre, with what was trained under them. Takes `centroids` and `basis`. */
export function refineCodebook(codebook: Codebook, centroids: Centroids, basis: Basis | null): Codebook {
  assert(
    centroids.count % 4 === 0 && centroids.count <= clustersMax,
    'centroids come in fours and fit the scratch area',
  )
  assert(centroids.dimension === codebook.dimension, 'centroids are of the same space')
  const { dimension, metric, seed, center } = codebook
  assert(basis === null || (basis.count % 16 === 0 && basis.count <= directionsMax), 'directions come in sixteens')
  assert(basis === null || basis.prefix <= basis.count, 'prefixes are along directions')
  assert((basis?.cells?.count ?? 0) <= Math.min(cellsMax, basis?.count ?? 0), 'cells are along directions')
  return createCodebook({ dimension, metric, seed, center, centroids, basis })
}

const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

function createCodebook(parts: Omit<Codebook, 'version'>): Codebook {
  const hash = createHash('sha256')
  hash.update(JSON.stringify([codebookFormat, parts.dimension, parts.metric, seedText(parts.seed)]))
  hash.update(bytesOf(parts.center))
  if (parts.centroids !== null) {
    const { count, groups, table, integers, scales } = parts.centroids
    hash
      .update(JSON.stringify([count, groups]))
      .update(table)
      .update(bytesOf(integers))
      .update(bytesOf(scales))
  }
  if (parts.basis !== null) {
    const { skew, prefix, vectors, cells } = parts.basis
    hash.update(JSON.stringify([skew, prefix])).update(bytesOf(vectors))
    if (cells !== null) hash.update(bytesOf(cells.edges))
  }
  return { ...parts, version: hash.digest('hex').slice(0, 16) }
}

/** Changes whenever the same seed, centre and centroids would give other codes. */
const codebookFormat = 4

const seedText = (seed: bigint): string => seed.toString(16).padStart(32, '0')

/** What training draws from: where centroids come to lie is no secret. */
export const trainingSeed = ({ seed }: Codebook): number => Number(BigInt.asUintN(32, seed))

/** Text that `parseCodebook` reads back to an equal codebook. */
export function formatCodebook(codebook: Codebook): string {
  const { version, dimension, metric, seed, center, centroids, basis } = codebook
  const text = (array: ArrayBufferView): string => Buffer.from(bytesOf(array)).toString('base64')
  return JSON.stringify({
    format: codebookFormat,
    version,
    dimension,
    metric,
    seed: seedText(seed),
    center: text(center),
    centroids:
      centroids === null
        ? null
        : {
            count: centroids.count,
            groups: centroids.groups,
            table: text(centroids.table),
            integers: text(centroids.integers),
            scales: text(centroids.scales),
          },
    basis:
      basis === null
        ? null
        : {
            count: basis.count,
            skew: basis.skew,
            prefix: basis.prefix,
            vectors: text(basis.vectors),
            captured: text(basis.captured),
            edges: basis.cells === null ? null : text(basis.cells.edges),
          },
  })
}

/** Throws LG_CORRUPT when the text is not what `formatCodebook` wrote in this format. */
export function parseCodebook(text: string): Codebook {
  const fields = parseFields(text)
  const { format, version, dimension, seed, center } = fields
  const metric = metrics.find((candidate) => candidate === fields.metric)
  if (
    format !== codebookFormat ||
    metric === undefined ||
    typeof dimension !== 'number' ||
    typeof seed !== 'string' ||
    !/^[0-9a-f]{32}$/.test(seed) ||
    typeof center !== 'string'
  )
    throw corruptCodebook('a field is missing or of another format')
  const bytes = Uint8Array.from(Buffer.from(center, 'base64'))
  if (bytes.byteLength !== dimension * 4)
    throw corruptCodebook(`centre: expected ${dimension * 4} bytes, got ${bytes.byteLength}`)
  const centroids = fields.centroids === null ? null : parseCentroids(fields.centroids, dimension)
  const basis = fields.basis === null ? null : parseBasis(fields.basis, dimension)
  const codebook = createCodebook({
    dimension,
    metric,
    seed: BigInt(`0x${seed}`),
    center: new Float32Array(bytes.buffer),
    centroids,
    basis,
  })
  if (codebook.version !== version)
    throw corruptCodebook(`expected version ${String(version)}, its content gives ${codebook.version}`)
  return codebook
}

function parseCentroids(value: unknown, dimension: number): Centroids {
  if (typeof value !== 'object' || value === null) throw corruptCodebook('centroids: expected an object or null')
  const { count, groups, table, integers, scales }: Readonly<Record<string, unknown>> = { ...value }
  if (
    typeof count !== 'number' ||
    typeof groups !== 'number' ||
    typeof table !== 'string' ||
    typeof integers !== 'string' ||
    typeof scales !== 'string'
  )
    throw corruptCodebook('centroids: a field is missing')
  const words = Uint8Array.from(Buffer.from(integers, 'base64'))
  const factors = Uint8Array.from(Buffer.from(scales, 'base64'))
  const wordBytes = count * padDimension(dimension) * 2
  if (words.byteLength !== wordBytes || factors.byteLength !== count * 4)
    throw corruptCodebook(
      `centroids: expected ${wordBytes} and ${count * 4} bytes, got ${words.byteLength} and ${factors.byteLength}`,
    )
  return {
    count,
    groups,
    dimension,
    table: Uint8Array.from(Buffer.from(table, 'base64')),
    integers: new Int16Array(words.buffer),
    scales: new Float32Array(factors.buffer),
  }
}

function parseBasis(value: unknown, dimension: number): Basis {
  if (typeof value !== 'object' || value === null) throw corruptCodebook('basis: expected an object or null')
  const { count, skew, prefix, vectors, captured, edges }: Readonly<Record<string, unknown>> = { ...value }
  if (
    typeof count !== 'number' ||
    typeof skew !== 'number' ||
    typeof prefix !== 'number' ||
    typeof vectors !== 'string' ||
    typeof captured !== 'string' ||
    !(edges === null || typeof edges === 'string')
  )
    throw corruptCodebook('basis: a field is missing')
  const padded = padDimension(dimension)
  const bytes = Uint8Array.from(Buffer.from(vectors, 'base64'))
  const shares = Uint8Array.from(Buffer.from(captured, 'base64'))
  if (bytes.byteLength !== count * padded * 4 || shares.byteLength !== count * 8)
    throw corruptCodebook(`basis: expected ${count} directions, got ${bytes.byteLength} bytes`)
  return {
    count,
    padded,
    skew,
    vectors: new Float32Array(bytes.buffer),
    captured: new Float64Array(shares.buffer),
    prefix,
    cells: edges === null ? null : parseCells(edges),
  }
}

function parseCells(edges: string): Cells {
  const bytes = Uint8Array.from(Buffer.from(edges, 'base64'))
  if (bytes.byteLength % cellEdgesStride !== 0)
    throw corruptCodebook(`cells: expected a multiple of ${cellEdgesStride} bytes, got ${bytes.byteLength}`)
  return { count: bytes.byteLength / cellEdgesStride, edges: new Float32Array(bytes.buffer) }
}

function parseFields(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return { ...value }
  } catch (cause) {
    throw corruptCodebook('not JSON', cause)
  }
  throw corruptCodebook('not a JSON object')
}

const corruptCodebook = (found: string, cause?: unknown): GatewayError =>
  new GatewayError('LG_CORRUPT', `codebook: ${found}; it has to be trained again`, { cause })

/** Sign bits of a rotation: as many of SHAKE256's as there are words, so that the seed's 128 bits decide all of them. */
function writeSigns(seed: bigint, words: Uint32Array): void {
  const bits = createHash('shake256', { outputLength: Math.ceil(words.length / 8) })
    .update(`rotation ${seedText(seed)}`)
    .digest()
  for (let i = 0; i < words.length; i++) words[i] = ((bits[i >> 3]! >> (i & 7)) & 1) * 0x80000000
}

/** Rounds of random signs and a Hadamard transform: one more when it covers only a part of the coordinates at a time. */
function rotationShape(paddedDimension: number): { readonly hadamard: number; readonly rounds: number } {
  const hadamard = 2 ** Math.floor(Math.log2(paddedDimension))
  return { hadamard, rounds: hadamard === paddedDimension ? 3 : 4 }
}

/** Where the parts of a copy lie, from its start. */
interface CodebookLayout {
  readonly integers: number
  readonly scales: number
  readonly squares: number
  readonly norms: number
  readonly table: number
  readonly basis: number
  readonly edges: number
  readonly bytes: number
}

function codebookLayout(codebook: Codebook): CodebookLayout {
  const padded = padDimension(codebook.dimension)
  const align = (bytes: number): number => Math.ceil(bytes / 64) * 64
  const integers = align(codebookCenterAt + padded * 4 * (1 + rotationShape(padded).rounds))
  const count = codebook.centroids?.count ?? 0
  const scales = align(integers + count * padded * 2)
  const squares = align(scales + count * 4)
  const norms = align(squares + count * 8)
  const table = align(norms + count * 4)
  const basis = align(table + (codebook.centroids?.table.byteLength ?? 0))
  const edges = basis + align((codebook.basis?.count ?? 0) * padded * 4)
  const bytes = edges + align(codebook.basis?.cells?.edges.byteLength ?? 0)
  return { integers, scales, squares, norms, table, basis, edges, bytes }
}

/** The copies of one codebook in arenas: at most one an arena, each counted in the budget. A copy goes with the last that could use it. */
export class CodebookCopies {
  readonly #pool: ArenaPool
  readonly #codebook: Codebook
  readonly #copies = new Map<number, Allocation>()

  constructor(pool: ArenaPool, codebook: Codebook) {
    this.#pool = pool
    this.#codebook = codebook
  }

  /** Byte offset of the copy in `arena`, made when it is not there yet; null when the budget has no room for it. */
  place(arena: ArenaHandle): number | null {
    const present = this.#copies.get(arena.id)
    if (present !== undefined) return present.offset
    const leave = (): void => {
      this.#copies.get(arena.id)!.free()
      this.#copies.delete(arena.id)
    }
    const allocation = this.#pool.allocateCompanion(codebookLayout(this.#codebook).bytes, arena, leave)
    if (allocation === null) return null
    writeCodebook(this.#codebook, allocation)
    this.#copies.set(arena.id, allocation)
    return allocation.offset
  }

  get bytes(): number {
    let bytes = 0
    for (const copy of this.#copies.values()) bytes += copy.bytes
    return bytes
  }

  /** Frees every copy. No job may use them any more. */
  release(): void {
    for (const copy of this.#copies.values()) copy.free()
    this.#copies.clear()
  }
}

/** Number of centroids of a codebook's copy. */
export const centroidCountOf = (memory: WebAssembly.Memory, copy: number): number =>
  copy === 0 ? 0 : new Uint32Array(memory.buffer, copy + codebookCentroidsAt, 1)[0]!

function writeCodebook(codebook: Codebook, allocation: Allocation): void {
  const padded = padDimension(codebook.dimension)
  const { hadamard, rounds } = rotationShape(padded)
  const layout = codebookLayout(codebook)
  assert(allocation.bytes >= layout.bytes, 'a copy fills its allocation')
  const words = allocation.u32()
  words.fill(0)
  words[codebookPaddedAt / 4] = padded
  words[codebookMetricAt / 4] = metricNumber(codebook.metric)
  words[codebookRoundsAt / 4] = rounds
  words[codebookHadamardAt / 4] = hadamard
  allocation.f32().set(codebook.center, codebookCenterAt / 4)
  writeSigns(codebook.seed, words.subarray(codebookCenterAt / 4 + padded).subarray(0, rounds * padded))
  if (codebook.centroids !== null) writeCentroids(codebook.centroids, padded, allocation, layout)
  if (codebook.basis !== null) {
    words[codebookDirectionsAt / 4] = codebook.basis.count
    words[codebookBasisAt / 4] = layout.basis
    words[codebookPrefixAt / 4] = codebook.basis.prefix
    allocation.f32().set(codebook.basis.vectors, layout.basis / 4)
    new Float64Array(allocation.arena.memory.buffer, allocation.offset + codebookSkewAt, 1)[0] = codebook.basis.skew
    if (codebook.basis.cells !== null) {
      words[codebookCellCountAt / 4] = codebook.basis.cells.count
      words[codebookCellEdgesAt / 4] = layout.edges
      allocation.f32().set(codebook.basis.cells.edges, layout.edges / 4)
    }
  }
}

function writeCentroids(centroids: Centroids, padded: number, allocation: Allocation, layout: CodebookLayout): void {
  const { count, table, integers, scales } = centroids
  const words = allocation.u32()
  words[codebookCentroidsAt / 4] = count
  words[codebookIntegersAt / 4] = layout.integers
  words[codebookScalesAt / 4] = layout.scales
  words[codebookSquaresAt / 4] = layout.squares
  words[codebookNormsAt / 4] = layout.norms
  words[codebookTableAt / 4] = layout.table
  allocation.u8().set(bytesOf(integers), layout.integers)
  allocation.f32().set(scales, layout.scales / 4)
  allocation.u8().set(table, layout.table)
  const integerNorms = Float64Array.from({ length: count }, (_, index) => {
    const vector = integers.subarray(index * padded, (index + 1) * padded)
    return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
  })
  // NaN stays, here and in the maximum: such centroids are not used.
  const norms = integerNorms.map((norm, index) => norm * scales[index]!)
  allocation.f32().set(
    norms.map((norm) => norm * (1 + 1e-6)),
    layout.norms / 4,
  )
  const { buffer } = allocation.arena.memory
  new Float64Array(buffer, allocation.offset + layout.squares, count).set(norms.map((norm) => norm * norm))
  const put = (at: number, value: number): void => {
    new Float64Array(buffer, allocation.offset + at, 1)[0] = value
  }
  put(codebookNormMaxAt, Math.max(...norms) * (1 + 1e-6))
  put(codebookIntegerNormMaxAt, Math.max(...integerNorms))
}
