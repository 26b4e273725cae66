import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Allocation, ArenaPool } from '../../src/cache/arena.js'

const pageBytes = 65_536

test('law 11: committed bytes follow what was asked for, in whole pages, and never pass the budget', () => {
  const pool = new ArenaPool({ bytesMax: 20 * pageBytes, scratchSlots: 1 })
  expect(pool.bytesCommitted).toBe(0)
  const first = pool.allocate(pageBytes)!
  const committed = pool.bytesCommitted
  expect(committed % pageBytes).toBe(0)
  expect(first.arena.memory.buffer.byteLength).toBe(committed)
  pool.allocate(3 * pageBytes)
  expect(pool.bytesCommitted - committed).toBe(3 * pageBytes)
  expect(pool.allocate(20 * pageBytes)).toBeNull()
  expect(pool.bytesCommitted - committed).toBe(3 * pageBytes)
})

test('law 11: freed pieces are joined and used again before an arena grows', () => {
  const pool = new ArenaPool({ bytesMax: 100 * pageBytes, scratchSlots: 1 })
  const pieces = Array.from({ length: 8 }, () => pool.allocate(pageBytes)!)
  const committed = pool.bytesCommitted
  for (const index of [1, 3, 2]) pieces[index]!.free()
  const joined = pool.allocate(3 * pageBytes)!
  expect(joined.offset).toBe(pieces[1]!.offset)
  expect(pool.bytesCommitted).toBe(committed)
})

test('a full arena is followed by another one', () => {
  const pool = new ArenaPool({ bytesMax: 100 * pageBytes, scratchSlots: 1, arenaBytesMax: 20 * pageBytes })
  expect(pool.allocationBytesMax).toBeLessThan(20 * pageBytes)
  const first = pool.allocate(pool.allocationBytesMax)!
  const second = pool.allocate(pool.allocationBytesMax)!
  expect(second.arena.id).not.toBe(first.arena.id)
  expect(pool.arenaCount).toBe(2)
  expect(pool.allocate(pageBytes, first.arena)).toBeNull()
  expect(pool.allocate(pool.allocationBytesMax + 1)).toBeNull()
})

test('an allocation is freed once', () => {
  const piece = new ArenaPool({ bytesMax: 100 * pageBytes, scratchSlots: 1 }).allocate(100)!
  piece.free()
  expect(() => piece.free()).toThrow('freed twice')
})

test('law 11: allocations never overlap and the budget holds, whatever is asked and freed', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('take' as const), bytes: fc.integer({ min: 1, max: 4 * pageBytes }) }),
    fc.record({ kind: fc.constant('free' as const), index: fc.nat() }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const bytesMax = 40 * pageBytes
      const pool = new ArenaPool({ bytesMax, scratchSlots: 1, arenaBytesMax: 16 * pageBytes })
      const held: Allocation[] = []
      for (const step of steps) {
        if (step.kind === 'take') {
          const piece = pool.allocate(step.bytes)
          if (piece !== null) held.push(piece)
        } else held.splice(step.index % Math.max(held.length, 1), 1)[0]?.free()
        expect(pool.bytesCommitted).toBeLessThanOrEqual(bytesMax)
        for (const [i, a] of held.entries()) {
          expect(a.offset % 64).toBe(0)
          expect(a.offset + a.bytes).toBeLessThanOrEqual(a.arena.memory.buffer.byteLength)
          for (const b of held.slice(i + 1))
            expect(a.arena.id !== b.arena.id || a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset).toBe(
              true,
            )
        }
      }
      for (const piece of held) piece.free()
      const empty = pool.bytesFree
      if (pool.arenaCount > 0) pool.allocate(pageBytes)!.free()
      expect(pool.bytesFree).toBe(empty)
    }),
    { numRuns: 100, seed: 3 },
  )
})
