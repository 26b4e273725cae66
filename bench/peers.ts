/**
 * Other engines. They are installed apart (npm install --prefix bench/peers), so they are loaded at run time and typed here
 * by the little of them that is used.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Metric } from '#lakegate/core/metric.js'
import { type Dataset, row } from './dataset.js'
import { type Engine, type EngineOptions, type OpenEngine, timed } from './engine.js'
import { fillTable } from './parquet-file.js'
import { bruteForce, countHits } from './recall.js'

/** @param directory  bench/peers of the checkout */
export function peerEngines(directory: string): Readonly<Record<string, OpenEngine>> {
  const require = createRequire(join(directory, 'package.json'))
  return {
    duckdb: openDuckDb,
    usearch: (dataset, options) => openUsearch(require('usearch') as Usearch, dataset, options),
    'usearch-exact': (dataset, options) => openUsearchExact(require('usearch') as Usearch, dataset, options),
    hnswlib: (dataset, options) => openHnswlib(require('hnswlib-node') as Hnswlib, dataset, options),
    rabitq: (dataset, options) => openRabitq(require.resolve('@ruvector/rabitq-wasm'), dataset, options),
  }
}

async function finish(engine: Omit<Engine, 'firstQueryMs' | 'threads' | 'claim'>, dataset: Dataset): Promise<Engine> {
  const first = await timed(() => engine.search(row(dataset.queries, dataset.dimension, 0)))
  return { ...engine, firstQueryMs: first.ms, threads: 1, claim: null }
}

const duckDbDistance: Readonly<Record<Metric, string>> = {
  l2: 'array_distance',
  cosine: 'array_cosine_distance',
  dot: 'array_negative_inner_product',
}

/** DuckDB's own top-k over an in-memory table, one thread. */
const openDuckDb: OpenEngine = async (dataset, { k }) => {
  const duckdb = await import('@duckdb/node-api')
  const instance = await duckdb.DuckDBInstance.create(':memory:', { threads: '1' })
  const connection = await instance.connect()
  const { dimension } = dataset
  const build = await timed(() => fillTable(connection, dataset))
  const statement = await connection.prepare(
    `SELECT id FROM base ORDER BY ${duckDbDistance[dataset.metric]}(embedding, $1::FLOAT[${dimension}]) LIMIT ${k}`,
  )
  const engine = await finish(
    {
      name: 'duckdb',
      mode: duckDbDistance[dataset.metric],
      buildMs: build.ms,
      bytesPerVector: dimension * 4 + 4,
      async search(query) {
        statement.bindArray(1, duckdb.arrayValue(Array.from(query)), duckdb.ARRAY(duckdb.FLOAT, dimension))
        const result = await statement.runAndReadAll()
        return result.getColumns()[0] as number[]
      },
      close() {
        connection.closeSync()
        instance.closeSync()
      },
    },
    dataset,
  )
  return [engine]
}

interface UsearchMatches {
  readonly keys: BigUint64Array
}

interface UsearchIndex {
  add(keys: BigUint64Array, vectors: Float32Array, threads: number): void
  search(query: Float32Array, k: number, threads: number): UsearchMatches
}

interface Usearch {
  readonly Index: new (options: Readonly<Record<string, unknown>>) => UsearchIndex
  exactSearch(
    base: Float32Array,
    query: Float32Array,
    dimension: number,
    k: number,
    metric: string,
    threads: number,
  ): UsearchMatches
}

const usearchMetric: Readonly<Record<Metric, string>> = { l2: 'l2sq', cosine: 'cos', dot: 'ip' }

const numbers = (keys: BigUint64Array): number[] => Array.from(keys, Number)

async function openUsearch(usearch: Usearch, dataset: Dataset, { k }: EngineOptions): Promise<Engine[]> {
  const index = new usearch.Index({
    metric: usearchMetric[dataset.metric],
    dimensions: dataset.dimension,
    connectivity: 16,
    expansion_add: 128,
    expansion_search: 64,
    quantization: 'f32',
  })
  const keys = BigUint64Array.from({ length: dataset.count }, (_, i) => BigInt(i))
  const build = await timed(() => index.add(keys, dataset.base, 1))
  const engine = await finish(
    {
      name: 'usearch',
      mode: 'hnsw M=16 efC=128 ef=64',
      buildMs: build.ms,
      bytesPerVector: null,
      search: (query) => numbers(index.search(query, k, 1).keys),
      close: () => undefined,
    },
    dataset,
  )
  return [engine]
}

async function openUsearchExact(usearch: Usearch, dataset: Dataset, { k }: EngineOptions): Promise<Engine[]> {
  const { base, dimension } = dataset
  const metric = usearchMetric[dataset.metric]
  const engine = await finish(
    {
      name: 'usearch',
      mode: 'exact',
      buildMs: 0,
      bytesPerVector: dimension * 4,
      search: (query) => numbers(usearch.exactSearch(base, query, dimension, k, metric, 1).keys),
      close: () => undefined,
    },
    dataset,
  )
  return [engine]
}

interface HnswlibIndex {
  initIndex(count: number, m: number, efConstruction: number, seed: number): void
  addPoint(vector: readonly number[], label: number): void
  setEf(ef: number): void
  searchKnn(query: readonly number[], k: number): { readonly neighbors: readonly number[] }
}

interface Hnswlib {
  readonly HierarchicalNSW: new (space: 'l2' | 'cosine' | 'ip', dimension: number) => HnswlibIndex
}

async function openHnswlib(hnswlib: Hnswlib, dataset: Dataset, { k, seed }: EngineOptions): Promise<Engine[]> {
  const { metric, dimension, count, base } = dataset
  const index = new hnswlib.HierarchicalNSW(metric === 'dot' ? 'ip' : metric, dimension)
  const build = await timed(() => {
    index.initIndex(count, 16, 128, seed)
    for (let i = 0; i < count; i++) index.addPoint(Array.from(row(base, dimension, i)), i)
  })
  index.setEf(64)
  const engine = await finish(
    {
      name: 'hnswlib-node',
      mode: 'hnsw M=16 efC=128 ef=64',
      buildMs: build.ms,
      bytesPerVector: null,
      search: (query) => index.searchKnn(Array.from(query), k).neighbors,
      close: () => undefined,
    },
    dataset,
  )
  return [engine]
}

interface RabitqIndex {
  search(query: Float32Array, k: number): readonly { readonly id: number; free(): void }[]
  free(): void
}

interface Rabitq {
  initSync(options: { readonly module: Uint8Array }): unknown
  readonly RabitqIndex: {
    build(vectors: Float32Array, dimension: number, seed: bigint, rerankFactor: number): RabitqIndex
  }
}

const rerankFactors = [20, 40, 60, 80, 100, 120, 140, 160, 200, 240, 320, 480, 640, 1280, 2560]
const recallWanted = 0.999
const sweepQueries = 100

/**
 * ruLake's kernel as npm ships it, at the smallest rerank factor of the sweep whose recall on the first queries reaches .999
 * (else the largest tried). It knows squared l2 only.
 */
async function openRabitq(path: string, dataset: Dataset, { k, seed }: EngineOptions): Promise<Engine[]> {
  if (dataset.metric !== 'l2') throw new Error(`it knows l2 only, the dataset is ${dataset.metric}`)
  const rabitq = (await import(pathToFileURL(path).href)) as Rabitq
  rabitq.initSync({ module: readFileSync(path.replace(/\.js$/, '_bg.wasm')) })
  const queryCount = Math.min(sweepQueries, dataset.queryCount)
  const truth = bruteForce({ ...dataset, queryCount }, k)
  const open = (factor: number): RabitqIndex =>
    rabitq.RabitqIndex.build(dataset.base, dataset.dimension, BigInt(seed), factor)
  const search = (index: RabitqIndex, query: Float32Array): number[] =>
    index.search(query, k).map((hit) => {
      const id = hit.id
      hit.free()
      return id
    })
  for (const factor of rerankFactors) {
    const build = await timed(() => open(factor))
    const index = build.value
    let hits = 0
    for (let q = 0; q < queryCount; q++)
      hits += countHits(dataset, truth, q, search(index, row(dataset.queries, dataset.dimension, q)))
    if (hits / (queryCount * k) >= recallWanted || factor === rerankFactors.at(-1)) {
      const engine = await finish(
        {
          name: 'rabitq-wasm',
          mode: `rerank factor ${factor}`,
          buildMs: build.ms,
          bytesPerVector: null,
          search: (query) => search(index, query),
          close: () => index.free(),
        },
        dataset,
      )
      return [engine]
    }
    index.free()
  }
  return []
}
