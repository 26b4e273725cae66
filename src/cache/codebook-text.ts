/** A codebook as the text of its file. */
import { GatewayError } from '../core/errors.js'
import { metrics } from '../core/metric.js'
import type { Basis } from './basis.js'
import type { Cells } from './cells.js'
import type { Centroids } from './centroids.js'
import { bytesOf, type Codebook, codebookFormat, createCodebook, seedText } from './codebook.js'
import { cellEdgesStride } from './kernel/layout.js'
import { padDimension } from './padding.js'

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
