/** Vectors to search and queries to search with. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { DuckDBInstance } from '@duckdb/node-api'
import { type Random, seededRandom } from '#lakegate/core/clock.js'
import type { Metric } from '#lakegate/core/metric.js'
import { arrayElements } from './array-elements.js'
import { refusal } from './refusal.js'

export interface Dataset {
  readonly name: string
  readonly metric: Metric
  readonly dimension: number
  readonly count: number
  /** float32[count * dimension], row-major. */
  readonly base: Float32Array
  /** float32[queryCount * dimension], row-major. */
  readonly queries: Float32Array
  readonly queryCount: number
  /** float32[n * dimension]: further queries, for choosing settings and never for measuring. */
  readonly tuning: Float32Array
}

export interface DatasetRequest {
  /** clustered, mnist784, minilm384, sample, or null with `base`. */
  readonly name: string | null
  readonly count: number
  readonly queryCount: number
  readonly dimension: number
  readonly seed: number
  readonly metric: Metric | null
  /** Raw little-endian f32 files. */
  readonly base: string | null
  readonly queries: string | null
  /** Directory that holds data/ and fixtures/. */
  readonly shared: string
}

export const row = (vectors: Float32Array, dimension: number, index: number): Float32Array =>
  vectors.subarray(index * dimension, (index + 1) * dimension)

/** Throws Error naming the missing file or the number that does not fit. */
export async function loadDataset(request: DatasetRequest): Promise<Dataset> {
  if (request.base !== null) return fromFiles(request, request.base)
  switch (request.name) {
    case 'clustered':
      return clustered(request)
    case 'mnist784':
      return mnist(request)
    case 'minilm384':
      return await miniLm(request)
    case 'sample':
      return await sample(request)
    default:
      throw refusal(
        `dataset: expected clustered, mnist784, minilm384 or sample (or --base F.f32), found ${request.name}`,
      )
  }
}

/** Standard normal, by Box and Muller. */
function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

/**
 * ruLake's benchmark data: 100 centroids uniform in [-2, 2)^d, rows = a random centroid + N(0, 0.6) a coordinate, queries
 * from the same centroids. The function returned draws so many rows, float32[rows * dimension].
 */
export function clusteredRows(seed: number, dimension: number): (rows: number) => Float32Array {
  const random = seededRandom(seed)
  const centroidCount = 100
  const centroids = Float32Array.from({ length: centroidCount * dimension }, () => random() * 4 - 2)
  return (rows) => {
    const vectors = new Float32Array(rows * dimension)
    for (let i = 0; i < rows; i++) {
      const centroid = Math.floor(random() * centroidCount) * dimension
      for (let d = 0; d < dimension; d++) vectors[i * dimension + d] = centroids[centroid + d]! + 0.6 * normal(random)
    }
    return vectors
  }
}

function clustered({ count, queryCount, dimension, seed, metric }: DatasetRequest): Dataset {
  const draw = clusteredRows(seed, dimension)
  const [base, queries, tuning] = [draw(count), draw(queryCount), draw(tuningQueriesMax)]
  return { name: 'clustered', metric: metric ?? 'l2', dimension, count, base, queries, queryCount, tuning }
}

const tuningQueriesMax = 200

function assemble(
  request: DatasetRequest,
  given: {
    readonly name: string
    readonly metric: Metric
    readonly dimension: number
    readonly base: Float32Array
    readonly queries: Float32Array
  },
): Dataset {
  const { dimension } = given
  const count = Math.min(request.count, given.base.length / dimension)
  const queriesGiven = given.queries.length / dimension
  // The last queries tune, at most half of them: what is measured was never tuned on.
  const tuningCount = Math.min(tuningQueriesMax, Math.floor(queriesGiven / 2))
  const queryCount = Math.min(request.queryCount, queriesGiven - tuningCount)
  return {
    ...given,
    count,
    queryCount,
    base: given.base.subarray(0, count * dimension),
    queries: given.queries.subarray(0, queryCount * dimension),
    tuning: given.queries.subarray((queriesGiven - tuningCount) * dimension),
  }
}

function need(path: string): string {
  if (!existsSync(path))
    throw refusal(`${path} is missing: name the directory that holds data/ and fixtures/ with --shared`)
  return path
}

function mnist(request: DatasetRequest): Dataset {
  const read = (name: string): Float32Array =>
    Float32Array.from(gunzipSync(readFileSync(need(join(request.shared, 'data', name)))))
  return assemble(request, {
    name: 'mnist784',
    metric: request.metric ?? 'l2',
    dimension: 784,
    base: read('mnist784-base.u8.gz'),
    queries: read('mnist784-queries.u8.gz'),
  })
}

async function miniLm(request: DatasetRequest): Promise<Dataset> {
  const path = need(join(request.shared, 'fixtures/parquet/debian/packages.parquet'))
  return assemble(request, {
    name: 'minilm384',
    metric: request.metric ?? 'cosine',
    dimension: 384,
    base: await readParquetVectors(path, 'embedding', 384),
    queries: readF32(need(join(request.shared, 'data/minilm384-queries.f32'))),
  })
}

/** The bundled sample; its first rows are the queries. */
async function sample(request: DatasetRequest): Promise<Dataset> {
  const path = fileURLToPath(new URL('../../examples/packages.parquet', import.meta.url))
  const base = await readParquetVectors(path, 'embedding', 384)
  return assemble(request, { name: 'sample', metric: request.metric ?? 'cosine', dimension: 384, base, queries: base })
}

function fromFiles(request: DatasetRequest, basePath: string): Dataset {
  const { dimension } = request
  const base = readF32(need(basePath))
  if (base.length % dimension !== 0)
    throw refusal(`${basePath}: ${base.length} numbers are no multiple of --dim ${dimension}`)
  const queries = request.queries === null ? base : readF32(need(request.queries))
  if (queries.length % dimension !== 0)
    throw refusal(`${request.queries}: ${queries.length} numbers are no multiple of --dim ${dimension}`)
  return assemble(request, { name: basePath, metric: request.metric ?? 'l2', dimension, base, queries })
}

function readF32(path: string): Float32Array {
  const bytes = readFileSync(path)
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length - (bytes.length % 4)))
}

async function readParquetVectors(path: string, column: string, dimension: number): Promise<Float32Array> {
  const instance = await DuckDBInstance.create()
  const connection = await instance.connect()
  const result = await connection.run(
    `SELECT ${column}::FLOAT[${dimension}] FROM read_parquet('${path.replaceAll("'", "''")}')`,
  )
  const pieces: Float32Array[] = []
  for (const chunk of await result.fetchAllChunks()) pieces.push(arrayElements(chunk.getColumnVector(0)).slice())
  connection.closeSync()
  instance.closeSync()
  const all = new Float32Array(pieces.reduce((total, piece) => total + piece.length, 0))
  let offset = 0
  for (const piece of pieces) {
    all.set(piece, offset)
    offset += piece.length
  }
  return all
}
