import { afterAll, expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { blockBytes, createBlock, openBlock, originalsBytes } from '../../src/cache/block.js'
import { blockFormatAt, blockRanksAt, blockRowsAt } from '../../src/cache/kernel/layout.js'
import { seededRandom } from '../../src/core/clock.js'
import { openPool } from '../../src/federation/pool.js'
import { bruteForce, search, storeCollection } from './collection-fixture.js'

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

const random = seededRandom(9)
const dimension = 37
const rows = 3000
const vectors = Float32Array.from({ length: rows * dimension }, () => random() - 0.5)
const query = Float32Array.from({ length: dimension }, () => random() - 0.5)
const request = { query, k: 7, contract: { kind: 'exact' }, distanceMax: Number.POSITIVE_INFINITY } as const
const store = (pool: ArenaPool) =>
  storeCollection(executor, pool, { vectors, dimension, metric: 'cosine', quantized: true, blockRows: rows })

test('a block gives its rows back', () => {
  const pool = new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 })
  const shape = { rows: 5, dimension: 3, metric: 'l2', quantized: false, clusters: 0, directions: 0, cells: 0 } as const
  const [codes, originals] = pool.allocateTogether([blockBytes(shape), originalsBytes(shape)])!
  const block = createBlock(codes, originals, shape)
  block.writeRows(0, Float32Array.of(1, 2, 3, 4, 5, 6))
  block.writeRows(4, Float32Array.of(7, 8, 9))
  expect(Array.from({ length: 5 }, (_, row) => [...block.vector(row)])).toEqual([
    [1, 2, 3],
    [4, 5, 6],
    [0, 0, 0],
    [0, 0, 0],
    [7, 8, 9],
  ])
  expect(() => block.vector(5)).toThrow('inside')
  expect(() => block.writeRows(4, new Float32Array(6))).toThrow('inside')
})

test('a block of no rows is scanned like any other', async () => {
  const pool = new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 })
  const options = { vectors: new Float32Array(0), dimension, metric: 'l2', blockRows: 1 } as const
  for (const quantized of [true, false])
    expect(await search(executor, await storeCollection(executor, pool, { ...options, quantized }), request)).toEqual(
      [],
    )
})

test("a block's bytes answer the same at another place of another arena", async () => {
  const stored = await store(new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 }))
  const bytes = stored.blocks[0]!.block.allocation.u8().slice()
  const pool = new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 })
  pool.allocate(12_345)
  const moved = await store(pool)
  moved.blocks[0]!.block.allocation.u8().fill(0xff)
  moved.blocks[0]!.block.allocation.u8().set(bytes)
  openBlock(moved.blocks[0]!.block.allocation)
  const expected = bruteForce({ vectors, dimension, metric: 'cosine', query, k: 7 })
  expect(await search(executor, moved, request)).toEqual(expected)
})

test('law 10: a header that is not what this version writes is refused', async () => {
  const { block } = (await store(new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 }))).blocks[0]!
  const header = block.allocation.u32()
  expect(openBlock(block.allocation).rows).toBe(rows)
  for (const field of [0, blockFormatAt, blockRowsAt, blockRanksAt]) {
    header[field / 4]! += 64
    expect(() => openBlock(block.allocation)).toThrow(expect.objectContaining({ code: 'LG_CORRUPT' }))
    header[field / 4]! -= 64
  }
})
