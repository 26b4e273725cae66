/** Our own brute force: the kernel over float32 rows without codes, which is what every bound has to beat. */
import { ArenaPool } from '#lakegate/cache/arena.js'
import { blockBytes, createBlock, originalsBytes } from '#lakegate/cache/block.js'
import { openPool } from '#lakegate/federation/pool.js'
import type { Dataset } from './dataset.js'
import { type Engine, type EngineOptions, firstQueryMs, timed } from './engine.js'
import { refusal } from './refusal.js'

export async function openBruteForce(dataset: Dataset, { k }: EngineOptions): Promise<Engine> {
  const { count: rows, dimension, metric, base } = dataset
  const shape = { rows, dimension, metric, quantized: false, clusters: 0, directions: 0, cells: 0 }
  const sizes = [blockBytes(shape), originalsBytes(shape)] as const
  const bytes = sizes[0] + sizes[1]
  const pool = new ArenaPool({ bytesMax: bytes + 2 ** 26, scratchSlots: 1 })
  const [allocation, originals] = pool.allocateTogether(sizes) ?? []
  if (allocation === undefined || originals === undefined)
    throw refusal(`brute: ${rows} rows of ${dimension} numbers do not fit one memory`)
  const executor = openPool({ workers: 0 })
  const block = createBlock(allocation, originals, shape)
  const place = { arena: allocation.arena, codebook: 0 }
  const { signal } = new AbortController()
  const build = await timed(async () => {
    block.writeRows(0, base)
    await executor.encode({ ...place, block: allocation.offset, vectors: originals.offset }, { signal })
  })
  const search = async (query: Float32Array): Promise<number[]> => {
    const blocks = [{ block: allocation.offset, vectors: originals.offset, allow: 0 }]
    const distanceMax = Number.POSITIVE_INFINITY
    const reply = await executor.scan(
      { ...place, blocks, query, k, contract: { kind: 'exact' }, distanceMax },
      { signal },
    )
    const order = Array.from(reply.rows.keys()).sort((a, b) => reply.distances[a]! - reply.distances[b]!)
    return order.slice(0, k).map((i) => reply.rows[i]!)
  }
  return {
    name: 'lakegate',
    mode: 'brute',
    settings: 'float32 rows without codes, in the kernel',
    threads: 1,
    claim: { kind: 'proven', claimed: 0 },
    buildMs: build.ms,
    firstQueryMs: await firstQueryMs(search, dataset),
    bytesPerVector: bytes / rows,
    search,
    async close() {
      block.detach()
      allocation.free()
      await executor.close()
    },
  }
}
