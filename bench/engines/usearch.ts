import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Metric } from '#lakegate/core/metric.js'
import { timed } from '../engine.js'
import { installedVersion, loadInstalled } from './installed.js'
import { nothingToClose, type OpenPeer } from './peer.js'

interface UsearchMatches {
  readonly keys: BigUint64Array
}

interface UsearchIndex {
  add(keys: BigUint64Array, vectors: Float32Array, threads: number): void
  search(query: Float32Array, k: number, threads: number): UsearchMatches
  save(path: string): void
  load(path: string): void
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

/** Its search expansion is fixed when an index is made, so each effort is the saved graph loaded again. */
export const openUsearch: OpenPeer = async (dataset, { k }) => {
  const { Index } = loadInstalled<Usearch>('usearch')
  const make = (expansion: number): UsearchIndex =>
    new Index({
      metric: usearchMetric[dataset.metric],
      dimensions: dataset.dimension,
      connectivity: 16,
      expansion_add: 128,
      expansion_search: expansion,
      quantization: 'f32',
    })
  const keys = BigUint64Array.from({ length: dataset.count }, (_, i) => BigInt(i))
  const built = make(64)
  const build = await timed(() => built.add(keys, dataset.base, 1))
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-'))
  const path = join(directory, 'index.usearch')
  built.save(path)
  return {
    engine: 'usearch',
    kind: 'hnsw',
    version: installedVersion('usearch'),
    settings: 'f32, M 16, expansion_add 128',
    buildMs: build.ms,
    bytesPerVector: statSync(path).size / dataset.count,
    effort: { name: 'expansion_search', min: k, max: 4096 },
    at(expansion) {
      const index = make(expansion)
      index.load(path)
      return { search: (query) => numbers(index.search(query, k, 1).keys), close: nothingToClose }
    },
    close: () => rmSync(directory, { recursive: true, force: true }),
  }
}

export const openUsearchExact: OpenPeer = async ({ base, dimension, metric }, { k }) => {
  const { exactSearch } = loadInstalled<Usearch>('usearch')
  return {
    engine: 'usearch-exact',
    kind: 'exact',
    version: installedVersion('usearch'),
    settings: 'f32',
    buildMs: 0,
    bytesPerVector: dimension * 4,
    effort: null,
    at: () => ({
      // It reads a buffer from its start, whatever part of it the array is.
      search: (query) => numbers(exactSearch(base, query.slice(), dimension, k, usearchMetric[metric], 1).keys),
      close: nothingToClose,
    }),
    close: nothingToClose,
  }
}
