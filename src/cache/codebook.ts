import assert from 'node:assert'
import { createHash } from 'node:crypto'
import type { Metric } from '../core/metric.js'
import type { Basis } from './basis.js'
import type { Centroids } from './centroids.js'
import { cellsMax, clustersMax, directionsMax } from './kernel/layout.js'

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

/** The bytes of a view, shared with it. */
export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

/** Gives a codebook its version. Takes the arrays over. */
export function createCodebook(parts: Omit<Codebook, 'version'>): Codebook {
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
export const codebookFormat = 4

/** 32 hexadecimal digits. */
export const seedText = (seed: bigint): string => seed.toString(16).padStart(32, '0')

/** What training draws from: where centroids come to lie is no secret. */
export const trainingSeed = ({ seed }: Codebook): number => Number(BigInt.asUintN(32, seed))
