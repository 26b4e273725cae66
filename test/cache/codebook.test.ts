import { expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { refineCodebook, trainCodebook } from '../../src/cache/codebook.js'
import { CodebookCopies } from '../../src/cache/codebook-copies.js'
import { formatCodebook, parseCodebook } from '../../src/cache/codebook-text.js'

const sample = Float32Array.of(1, 2, 3, 3, 2, 1)
const train = (seed: bigint) => trainCodebook({ dimension: 3, metric: 'l2', seed, sample })

test('a codebook is centred on the mean of the sample, of unit vectors for cosine', () => {
  expect([...train(1n).center]).toEqual([2, 2, 2])
  const unit = trainCodebook({ dimension: 2, metric: 'cosine', seed: 1n, sample: Float32Array.of(5, 0, 0, 0.5, 0, 0) })
  expect([...unit.center]).toEqual([Math.fround(1 / 3), Math.fround(1 / 3)])
})

test('a codebook survives being written and read, and its version names its content', () => {
  expect(parseCodebook(formatCodebook(train(1n)))).toEqual(train(1n))
  expect(train(1n).version).not.toBe(train(2n).version)
})

test('so does one with centroids and directions, under a version of its own', () => {
  const integers = Int16Array.from({ length: 4 * 16 }, (_, i) => i * 7)
  const scales = Float32Array.of(1, 0.5, 0.25, 2)
  const centroids = { count: 4, groups: 0, dimension: 3, table: Uint8Array.of(1, 2, 3), integers, scales }
  const vectors = Float32Array.from({ length: 16 * 16 }, (_, i) => i / 3)
  const basis = {
    count: 16,
    padded: 16,
    vectors,
    skew: 1e-7,
    captured: new Float64Array(16).fill(0.5),
    prefix: 16,
    cells: null,
  }
  const cells = { count: 4, edges: Float32Array.from({ length: 4 * 20 }, (_, i) => i) }
  const versions = [train(1n).version]
  for (const directions of [null, basis, { ...basis, skew: 2e-7 }, { ...basis, prefix: 0 }, { ...basis, cells }]) {
    const refined = refineCodebook(train(1n), centroids, directions)
    expect(parseCodebook(formatCodebook(refined))).toEqual(refined)
    versions.push(refined.version)
    const text = formatCodebook(refined).replace('"count":4', '"count":8')
    expect(() => parseCodebook(text)).toThrow(expect.objectContaining({ code: 'LG_CORRUPT' }))
  }
  expect(new Set(versions).size).toBe(6)
})

test('law 10: a codebook whose text was changed is refused', () => {
  const text = formatCodebook(train(1n))
  for (const changed of ['', '[]x', 'null', text.replace('00000001"', '00000002"'), text.replace('l2', 'l1')])
    expect(() => parseCodebook(changed)).toThrow(expect.objectContaining({ code: 'LG_CORRUPT' }))
})

test('law 6: all 128 bits of the seed decide the rotation; the same seed gives the same bytes', () => {
  const copyOf = (seed: bigint): string => {
    const pool = new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 })
    const { arena } = pool.allocate(64)!
    const copies = new CodebookCopies(pool, train(seed))
    return Buffer.from(arena.memory.buffer, copies.place(arena)!, copies.bytes).toString('hex')
  }
  const seeds = [0n, 1n, 1n << 32n, 1n << 64n, 1n << 96n, 1n << 127n]
  expect(new Set(seeds.map(copyOf)).size).toBe(seeds.length)
  expect(copyOf(7n)).toBe(copyOf(7n))
})

test('law 11: an arena holds one copy of a codebook, counted in the budget and given back', () => {
  const pool = new ArenaPool({ bytesMax: 10_000_000, scratchSlots: 1 })
  const { arena } = pool.allocate(64)!
  const before = pool.bytesFree
  const copies = new CodebookCopies(pool, train(1n))
  const place = copies.place(arena)
  expect(copies.place(arena)).toBe(place)
  expect(before - pool.bytesFree).toBe(Math.ceil(copies.bytes / 64) * 64)
  copies.release()
  expect(pool.bytesFree).toBe(before)
})
