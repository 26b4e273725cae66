import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
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

test('an arena that threads cannot forget stays, and is tried again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => {
    vi.useRealTimers()
  })
  let asked = 0
  const forget = async (): Promise<void> => {
    if (++asked === 1) throw new Error('gc is not defined')
  }
  const pool = new ArenaPool({ bytesMax: 100 * pageBytes, scratchSlots: 1, forget })
  pool.allocate(pageBytes)!.free()
  await vi.advanceTimersByTimeAsync(1000) // an unhandled rejection would fail the test run
  expect([asked, pool.arenaCount]).toEqual([1, 1])
  pool.allocate(pageBytes)!.free()
  await vi.advanceTimersByTimeAsync(1000)
  expect([asked, pool.arenaCount]).toEqual([2, 0])
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

test('law 11: an empty arena is given back, and counts for as long as anything refers to its memory', async () => {
  const pool = new ArenaPool({ bytesMax: 100 * pageBytes, scratchSlots: 1 })
  const piece = pool.allocate(pageBytes)!
  await pool.giveBackEmpty()
  expect(pool.arenaCount).toBe(1)
  const stale = [piece.u8()]
  const committed = pool.bytesCommitted
  piece.free()
  await pool.giveBackEmpty()
  expect(pool.arenaCount).toBe(0)
  expect(pool.bytesCommitted).toBe(committed)
  expect(pool.bytesFree).toBe(pool.bytesMax - committed)
  expect(pool.allocate(99 * pageBytes)).toBeNull()
  expect(stale.pop()).toHaveLength(pageBytes)
})

test('law 11: an arena that something needs before all threads have forgotten it stays', async () => {
  const asked: number[] = []
  let answer = (): void => {}
  const pool = new ArenaPool({
    bytesMax: 100 * pageBytes,
    scratchSlots: 1,
    forget: (arenaId) => {
      asked.push(arenaId)
      return new Promise((resolve) => {
        answer = resolve
      })
    },
  })
  const first = pool.allocate(pageBytes)!
  first.free()
  const committed = pool.bytesCommitted
  const given = pool.giveBackEmpty()
  const second = pool.allocate(pageBytes)!
  expect(asked).toEqual([first.arena.id])
  expect(second.arena).toBe(first.arena)
  answer()
  await given
  expect(pool.arenaCount).toBe(1)
  second.u8().fill(1)
  second.free()
  const again = pool.giveBackEmpty()
  answer()
  await again
  expect([pool.arenaCount, committed]).toEqual([0, second.arena.memory.buffer.byteLength])
})

test('companions leave with the last piece that they are for', () => {
  const pool = new ArenaPool({ bytesMax: 100 * pageBytes, scratchSlots: 1 })
  const [first, second] = [pool.allocate(100)!, pool.allocate(100)!]
  const free = pool.bytesFree
  const companion = pool.allocateCompanion(pageBytes, first.arena, () => companion!.free())
  first.free()
  expect(pool.contentOf(first.arena)).toEqual({ pieces: 1, sparse: false })
  expect(pool.bytesFree).toBeLessThan(free)
  second.free()
  expect(() => companion!.free()).toThrow('freed twice')
  expect(pool.bytesFree).toBe(free + 256)
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
