import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { timed } from '../engine.js'
import { installedVersion, resolveInstalled } from './installed.js'
import { nothingToClose, type OpenPeer } from './peer.js'

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

/** ruLake's kernel as npm ships it. It knows squared l2 only, and its rerank factor is fixed when an index is built. */
export const openRabitq: OpenPeer = async ({ metric, base, dimension }, { k, seed }) => {
  const path = resolveInstalled('@ruvector/rabitq-wasm')
  if (metric !== 'l2') throw new Error(`it knows l2 only, the dataset is ${metric}`)
  const rabitq = (await import(pathToFileURL(path).href)) as Rabitq
  rabitq.initSync({ module: readFileSync(path.replace(/\.js$/, '_bg.wasm')) })
  const open = (factor: number): RabitqIndex => rabitq.RabitqIndex.build(base, dimension, BigInt(seed), factor)
  const build = await timed(() => open(20).free())
  return {
    engine: 'rabitq',
    kind: '1-bit codes',
    version: installedVersion('@ruvector/rabitq-wasm'),
    settings: 'flat, 1 bit',
    buildMs: build.ms,
    bytesPerVector: null,
    effort: { name: 'rerank factor', min: 20, max: 2560 },
    at(factor) {
      const index = open(factor)
      return {
        search: (query) =>
          index.search(query, k).map((hit) => {
            const { id } = hit
            hit.free()
            return id
          }),
        close: () => index.free(),
      }
    },
    close: nothingToClose,
  }
}
