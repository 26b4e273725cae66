import { row } from '../dataset.js'
import { timed } from '../engine.js'
import { installedVersion, loadInstalled } from './installed.js'
import { nothingToClose, type OpenPeer } from './peer.js'

interface HnswlibIndex {
  initIndex(count: number, m: number, efConstruction: number, seed: number): void
  addPoint(vector: readonly number[], label: number): void
  setEf(ef: number): void
  searchKnn(query: readonly number[], k: number): { readonly neighbors: readonly number[] }
}

interface Hnswlib {
  readonly HierarchicalNSW: new (space: 'l2' | 'cosine' | 'ip', dimension: number) => HnswlibIndex
}

export const openHnswlib: OpenPeer = async ({ metric, dimension, count, base }, { k, seed }) => {
  const { HierarchicalNSW } = loadInstalled<Hnswlib>('hnswlib-node')
  const index = new HierarchicalNSW(metric === 'dot' ? 'ip' : metric, dimension)
  const build = await timed(() => {
    index.initIndex(count, 16, 200, seed)
    for (let i = 0; i < count; i++) index.addPoint(Array.from(row(base, dimension, i)), i)
  })
  return {
    engine: 'hnswlib',
    kind: 'hnsw',
    version: installedVersion('hnswlib-node'),
    settings: 'M 16, efConstruction 200',
    buildMs: build.ms,
    bytesPerVector: null,
    effort: { name: 'ef', min: k, max: 4096 },
    at: (ef) => ({
      search(query) {
        index.setEf(ef)
        return index.searchKnn(Array.from(query), k).neighbors
      },
      close: nothingToClose,
    }),
    close: nothingToClose,
  }
}
