import assert from 'node:assert'
import { GatewayError } from '../core/errors.js'
import type { ArenaHandle } from './executor.js'
import { arenaScratchAt, scratchBytes } from './kernel/layout.js'

const pageBytes = 65_536
const alignment = 64
/** One page less than what 32-bit offsets can address, so that the end of an arena is an offset too. */
const arenaBytesLimit = 65_535 * pageBytes

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step

/** Ids are unique in the process: worker threads know arenas by id and may serve several pools. */
let nextArenaId = 1

/** A piece of an arena. Views are borrowed: after `free` their bytes belong to someone else. */
export interface Allocation {
  readonly arena: ArenaHandle
  /** From the arena's start; a multiple of 64. */
  readonly offset: number
  /** As asked for. */
  readonly bytes: number
  u8(): Uint8Array
  f32(): Float32Array
  u32(): Uint32Array
  /** Gives the piece back to the pool. Call exactly once, when no job uses it. */
  free(): void
}

/** Bytes of the budget that are not in an arena. Release exactly once, when they are given back to the system. */
export interface Reservation {
  readonly bytes: number
  release(): void
}

interface Gap {
  offset: number
  bytes: number
}

interface Arena {
  readonly handle: ArenaHandle
  committedBytes: number
  /** Free pieces below the end, ascending, never adjacent. */
  readonly gaps: Gap[]
}

export interface ArenaPoolOptions {
  /** Committed bytes of all arenas, and reserved ones, never exceed this. */
  readonly bytesMax: number
  /** Threads that may scan at once: the calling one (slot 0) and every worker. Each has a scratch area in every arena. */
  readonly scratchSlots: number
  /** Upper limit of one arena; default: what 32-bit offsets reach. */
  readonly arenaBytesMax?: number
}

/**
 * Shared WebAssembly memories under one exact byte budget. Arenas grow by whole pages as needed, are reused first-fit
 * and never given back: V8 frees a shared memory only after every thread has collected, and allows about 13,000.
 */
export class ArenaPool {
  readonly bytesMax: number
  readonly scratchSlots: number
  readonly #arenaBytesMax: number
  readonly #reservedBytes: number
  readonly #arenas: Arena[] = []
  #bytesCommitted = 0
  #bytesUsed = 0

  constructor(options: ArenaPoolOptions) {
    this.bytesMax = options.bytesMax
    this.scratchSlots = options.scratchSlots
    this.#arenaBytesMax = Math.min(options.arenaBytesMax ?? arenaBytesLimit, arenaBytesLimit)
    this.#reservedBytes = arenaScratchAt + options.scratchSlots * scratchBytes
  }

  /** Bytes of all arenas, and what is reserved beside them: what the budget counts. */
  get bytesCommitted(): number {
    return this.#bytesCommitted
  }

  /** Bytes that allocations could still take if no arena were fragmented. */
  get bytesFree(): number {
    return this.bytesMax - this.#bytesUsed
  }

  /** The largest piece that an allocation could take now. */
  get bytesFreeInOnePiece(): number {
    const growth = this.bytesMax - this.#bytesCommitted
    let largest = Math.min(growth, this.#arenaBytesMax) - roundUp(this.#reservedBytes, alignment)
    for (const { gaps, committedBytes } of this.#arenas) {
      const last = gaps.at(-1)
      const tail = last !== undefined && last.offset + last.bytes === committedBytes ? last.bytes : 0
      const grown = tail + Math.min(growth, this.#arenaBytesMax - committedBytes)
      largest = Math.max(largest, Math.floor(grown / pageBytes) * pageBytes, ...gaps.map(({ bytes }) => bytes))
    }
    return Math.max(0, largest)
  }

  get arenaCount(): number {
    return this.#arenas.length
  }

  /** The largest allocation an empty pool could serve. */
  get allocationBytesMax(): number {
    const arenaBytes = Math.min(this.bytesMax, this.#arenaBytesMax)
    return Math.floor(arenaBytes / pageBytes) * pageBytes - roundUp(this.#reservedBytes, alignment)
  }

  /**
   * A piece of `bytes`, or null when the budget has no room: the caller evicts and tries again. With `arena`, only there.
   * The bytes are whatever was there before.
   */
  allocate(bytes: number, arena?: ArenaHandle): Allocation | null {
    assert(Number.isSafeInteger(bytes) && bytes > 0, `allocate: expected a positive byte count, got ${bytes}`)
    const wanted = roundUp(bytes, alignment)
    const candidates =
      arena === undefined ? this.#arenas : this.#arenas.filter((candidate) => candidate.handle.id === arena.id)
    for (const candidate of candidates) {
      const index = candidate.gaps.findIndex((gap) => gap.bytes >= wanted)
      if (index !== -1) return this.#take(candidate, index, bytes, wanted)
    }
    for (const candidate of candidates) {
      if (this.#grow(candidate, wanted)) return this.#take(candidate, candidate.gaps.length - 1, bytes, wanted)
    }
    if (arena !== undefined) return null
    const added = this.#addArena(wanted)
    return added === null ? null : this.#take(added, added.gaps.length - 1, bytes, wanted)
  }

  /** Counts `bytes` that something keeps outside arenas against the budget; null when it has no room for them. */
  reserve(bytes: number): Reservation | null {
    assert(Number.isSafeInteger(bytes) && bytes >= 0, `reserve: expected a byte count, got ${bytes}`)
    if (this.#bytesCommitted + bytes > this.bytesMax) return null
    this.#bytesCommitted += bytes
    this.#bytesUsed += bytes
    let released = false
    return {
      bytes,
      release: () => {
        assert(!released, 'a reservation was released twice')
        released = true
        this.#bytesCommitted -= bytes
        this.#bytesUsed -= bytes
      },
    }
  }

  /** Pieces of one arena, or null when no arena has room for all. */
  allocateTogether<Sizes extends readonly number[]>(
    sizes: readonly [...Sizes],
  ): { [Index in keyof Sizes]: Allocation } | null {
    const allocateIn = (arena: ArenaHandle): { [Index in keyof Sizes]: Allocation } | null => {
      const pieces: Allocation[] = []
      for (const bytes of sizes) {
        const piece = this.allocate(bytes, arena)
        if (piece === null) {
          for (const other of pieces) other.free()
          return null
        }
        pieces.push(piece)
      }
      return pieces as { [Index in keyof Sizes]: Allocation }
    }
    for (const { handle } of this.#arenas) {
      const pieces = allocateIn(handle)
      if (pieces !== null) return pieces
    }
    const added = this.#addArena(sizes.reduce((sum, bytes) => sum + roundUp(bytes, alignment), 0))
    return added === null ? null : allocateIn(added.handle)
  }

  /** Extends the last gap (or adds one) to at least `wanted` bytes. */
  #grow(arena: Arena, wanted: number): boolean {
    const last = arena.gaps.at(-1)
    const tail = last !== undefined && last.offset + last.bytes === arena.committedBytes ? last : null
    const growth = roundUp(wanted - (tail?.bytes ?? 0), pageBytes)
    if (this.#bytesCommitted + growth > this.bytesMax || arena.committedBytes + growth > this.#arenaBytesMax)
      return false
    arena.handle.memory.grow(growth / pageBytes)
    if (tail === null) arena.gaps.push({ offset: arena.committedBytes, bytes: growth })
    else tail.bytes += growth
    arena.committedBytes += growth
    this.#bytesCommitted += growth
    return true
  }

  #addArena(wanted: number): Arena | null {
    const start = roundUp(this.#reservedBytes, alignment)
    const bytes = roundUp(start + wanted, pageBytes)
    if (this.#bytesCommitted + bytes > this.bytesMax || bytes > this.#arenaBytesMax) return null
    const maximum = Math.floor(Math.min(this.bytesMax, this.#arenaBytesMax) / pageBytes)
    const memory = createMemory(bytes / pageBytes, maximum)
    const arena: Arena = {
      handle: { id: nextArenaId++, memory },
      committedBytes: bytes,
      gaps: [{ offset: start, bytes: bytes - start }],
    }
    this.#arenas.push(arena)
    this.#bytesCommitted += bytes
    this.#bytesUsed += start
    return arena
  }

  #take(arena: Arena, index: number, bytes: number, taken: number): Allocation {
    const gap = arena.gaps[index]
    assert(gap !== undefined && gap.bytes >= taken)
    const offset = gap.offset
    gap.offset += taken
    gap.bytes -= taken
    if (gap.bytes === 0) arena.gaps.splice(index, 1)
    this.#bytesUsed += taken
    let freed = false
    const memory = arena.handle.memory
    return {
      arena: arena.handle,
      offset,
      bytes,
      u8: () => new Uint8Array(memory.buffer, offset, bytes),
      f32: () => new Float32Array(memory.buffer, offset, bytes >>> 2),
      u32: () => new Uint32Array(memory.buffer, offset, bytes >>> 2),
      free: () => {
        assert(!freed, 'an allocation was freed twice')
        freed = true
        this.#bytesUsed -= taken
        giveBack(arena.gaps, { offset, bytes: taken })
      },
    }
  }
}

/** Puts a gap back in order and joins it with its neighbours. */
function giveBack(gaps: Gap[], gap: Gap): void {
  let index = gaps.findIndex((other) => other.offset > gap.offset)
  if (index === -1) index = gaps.length
  const next = gaps[index]
  if (next !== undefined && gap.offset + gap.bytes === next.offset) {
    gap.bytes += next.bytes
    gaps.splice(index, 1)
  }
  const previous = gaps[index - 1]
  if (previous !== undefined && previous.offset + previous.bytes === gap.offset) previous.bytes += gap.bytes
  else gaps.splice(index, 0, gap)
}

function createMemory(initial: number, maximum: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial, maximum, shared: true })
  } catch (cause) {
    throw new GatewayError(
      'LG_OVER_BUDGET',
      `the operating system refused a memory of ${initial * pageBytes} bytes: lower cache.memory or free memory on this machine`,
      { cause },
    )
  }
}
