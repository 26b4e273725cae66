import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { seededRandom } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { type Metric, metrics } from '../core/metric.js'
import type { Allocation, ArenaPool } from './arena.js'
import type { ArenaHandle } from './executor.js'
import {
  codebookCenterAt,
  codebookHadamardAt,
  codebookMetricAt,
  codebookPaddedAt,
  codebookRoundsAt,
} from './kernel/layout.js'

/** Rows are padded with zeros to whole 16-lane steps of the kernel. */
export const padDimension = (dimension: number): number => Math.ceil(dimension / 16) * 16

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
  readonly seed: number
  /** float32[dimension]: mean of the sample; of its unit vectors for cosine. */
  readonly center: Float32Array
}

/**
 * Centres on the sample's mean: for l2 and cosine it makes residuals, and with them every bound, small; for dot the part
 * of the product that the centre accounts for is computed exactly, so the same holds.
 * @param sample float32[rows * dimension], finite; borrowed
 */
export function trainCodebook(options: {
  readonly dimension: number
  readonly metric: Metric
  readonly seed: number
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
  return createCodebook({ dimension, metric, seed, center: Float32Array.from(sums, (sum) => sum / Math.max(rows, 1)) })
}

function createCodebook(parts: Omit<Codebook, 'version'>): Codebook {
  const hash = createHash('sha256')
  hash.update(JSON.stringify([codebookFormat, parts.dimension, parts.metric, parts.seed]))
  hash.update(new Uint8Array(parts.center.buffer, parts.center.byteOffset, parts.center.byteLength))
  return { ...parts, version: hash.digest('hex').slice(0, 16) }
}

/** Changes whenever the same seed and centre would give other codes. */
const codebookFormat = 1

/** Text that `parseCodebook` reads back to an equal codebook. */
export function formatCodebook(codebook: Codebook): string {
  const { version, dimension, metric, seed, center } = codebook
  const bytes = Buffer.from(center.buffer, center.byteOffset, center.byteLength)
  return JSON.stringify({ format: codebookFormat, version, dimension, metric, seed, center: bytes.toString('base64') })
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
    typeof seed !== 'number' ||
    typeof center !== 'string'
  )
    throw corruptCodebook('a field is missing or of another format')
  const bytes = Uint8Array.from(Buffer.from(center, 'base64'))
  if (bytes.byteLength !== dimension * 4)
    throw corruptCodebook(`centre: expected ${dimension * 4} bytes, got ${bytes.byteLength}`)
  const codebook = createCodebook({ dimension, metric, seed, center: new Float32Array(bytes.buffer) })
  if (codebook.version !== version)
    throw corruptCodebook(`expected version ${String(version)}, its content gives ${codebook.version}`)
  return codebook
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

/** Rounds of random signs and a Hadamard transform: one more when it covers only a part of the coordinates at a time. */
function rotationShape(paddedDimension: number): { readonly hadamard: number; readonly rounds: number } {
  const hadamard = 2 ** Math.floor(Math.log2(paddedDimension))
  return { hadamard, rounds: hadamard === paddedDimension ? 3 : 4 }
}

const codebookBytes = (padded: number): number => codebookCenterAt + padded * 4 * (1 + rotationShape(padded).rounds)

/** The copies of one codebook in arenas: at most one an arena, each counted in the budget. */
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
    const allocation = this.#pool.allocate(codebookBytes(padDimension(this.#codebook.dimension)), arena)
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

function writeCodebook(codebook: Codebook, allocation: Allocation): void {
  const padded = padDimension(codebook.dimension)
  const { hadamard, rounds } = rotationShape(padded)
  assert(allocation.bytes >= codebookBytes(padded))
  const words = allocation.u32()
  words.fill(0)
  words[codebookPaddedAt / 4] = padded
  words[codebookMetricAt / 4] = metricNumber(codebook.metric)
  words[codebookRoundsAt / 4] = rounds
  words[codebookHadamardAt / 4] = hadamard
  allocation.f32().set(codebook.center, codebookCenterAt / 4)
  const random = seededRandom(codebook.seed)
  const signs = words.subarray(codebookCenterAt / 4 + padded)
  for (let i = 0; i < rounds * padded; i++) signs[i] = random() < 0.5 ? 0x80000000 : 0
}
