import { readFile } from 'node:fs/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { arenaScratchAt } from '../../src/cache/kernel/layout.js'
import { hasRelaxedSimd } from '../../src/cache/kernel-module.js'
import { seededRandom } from '../../src/core/clock.js'
import type { RecallContract } from '../../src/core/contract.js'
import { metrics } from '../../src/core/metric.js'
import { openPool } from '../../src/federation/pool.js'
import { allRows, never, storeCollection } from './collection-fixture.js'

afterEach(() => {
  vi.restoreAllMocks()
  vi.resetModules()
})

/** As on an engine that knows no relaxed SIMD. */
async function openPlainPool() {
  vi.resetModules()
  vi.spyOn(WebAssembly, 'validate').mockReturnValue(false)
  const plain = await import('../../src/cache/kernel-module.js')
  expect(plain.hasRelaxedSimd).toBe(false)
  return (await import('../../src/federation/pool.js')).openPool({ workers: 0 })
}

test('every Node that is supported has relaxed SIMD', () => {
  expect(hasRelaxedSimd).toBe(true)
})

test.each(['kernel.wasm', 'kernel-relaxed.wasm'])(
  "%s keeps its constants below every thread's scratch area",
  async (name) => {
    const module = new WebAssembly.Module(await readFile(new URL(`../../dist/cache/${name}`, import.meta.url)))
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65_536, shared: true })
    const bytes = new Uint8Array(memory.buffer).fill(0xaa)
    new WebAssembly.Instance(module, { env: { memory, abort: () => undefined } })
    const written = bytes.findLastIndex((byte) => byte !== 0xaa)
    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan(arenaScratchAt)
  },
)

test.each(metrics)('without relaxed SIMD answers are the same, to the bit (%s)', async (metric) => {
  const relaxed = openPool({ workers: 0 })
  const plain = await openPlainPool()
  const random = seededRandom(5)
  for (const [dimension, clusters] of [
    [40, 12],
    [384, 12],
    [100, 0],
  ] as const) {
    const vectors = Float32Array.from({ length: 3000 * dimension }, () => random() - 0.5)
    const pool = new ArenaPool({ bytesMax: 60_000_000, scratchSlots: 1 })
    const directions = Math.min(32, Math.floor(dimension / 16) * 16)
    const parts = { vectors, dimension, metric, quantized: true, blockRows: 3000, clusters, directions, cells: 16 }
    const stored = await storeCollection(relaxed, pool, parts)
    for (let i = 0; i < 20; i++) {
      const query = Float32Array.from({ length: dimension }, () => random() - 0.5)
      const contracts: RecallContract[] = [
        { kind: 'exact' },
        { kind: 'certified', missProbability: 1e-3 },
        { kind: 'target', recall: 0.8 },
      ]
      for (const contract of contracts) {
        const job = { ...stored.job, blocks: allRows(stored), query, k: 10, contract, distanceMax: Infinity }
        const expected = { ...(await relaxed.scan(job, never)), scanMs: expect.any(Number) }
        expect(await plain.scan(job, never)).toEqual(expected)
      }
    }
    stored.free()
  }
  await Promise.all([relaxed.close(), plain.close()])
})
