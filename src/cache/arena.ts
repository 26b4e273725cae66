import assert from 'node:assert'
import { setImmediate } from 'node:timers/promises'
import { GatewayError } from '../core/errors.js'
import { collectGarbage } from './collect-garbage.js'
import type { ArenaHandle } from './executor.js'
import { arenaScratchAt, scratchBytes } from './kernel/layout.js'

const pageBytes = 65_536
const alignment = 64
/** One page less than what 32-bit offsets can address, so that the end of an arena is an offset too. */
const arenaBytesLimit = 65_535 * pageBytes
/** An arena that nothing has needed for so long is given back. */
const emptyMsMax = 1000
/** Something on the stack may still refer to a memory when garbage is collected first. */
const collectionsMax = 3

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
  /** Free pieces below the end, ascending, never adjacent. */
  readonly gaps: Gap[]
  /** Allocations, without companions. */
  pieces: number
  /** What to call when the last piece goes. */
  readonly companions: Set<() => void>
  readonly remains: Remains
  /** Set while threads are told to forget it; cleared by whoever needs it again. */
  leaving: symbol | null
}

/** What is known of an arena without referring to it. */
interface Remains {
  committedBytes: number
  /** Its memory and the memory's buffers (each growth makes another) that garbage collection has not taken. */
  references: number
}

export interface ArenaPoolOptions {
  /** Committed bytes of all arenas, and reserved ones, never exceed this. */
  readonly bytesMax: number
  /** Threads that may scan at once: the calling one (slot 0) and every worker. Each has a scratch area in every arena. */
  readonly scratchSlots: number
  /** Upper limit of one arena; default: what 32-bit offsets reach. */
  readonly arenaBytesMax?: number
  /** Resolves when no other thread refers to the arena; default: none ever does. */
  readonly forget?: (arenaId: number) => Promise<void>
}

/**
 * Shared WebAssembly memories under one exact byte budget. Arenas grow by whole pages as needed and are reused first-fit.
 * One that stays empty is given back: V8 frees a shared memory only after every thread has collected garbage, so its
 * bytes count until this thread's collector has taken it and the other threads' have been seen to run.
 */
export class ArenaPool {
  readonly bytesMax: number
  readonly scratchSlots: number
  readonly #arenaBytesMax: number
  /** Where pieces may begin. */
  readonly #scratchEnd: number
  readonly #forget: (arenaId: number) => Promise<void>
  readonly #arenas: Arena[] = []
  readonly #collected = new FinalizationRegistry((remains: Remains) => {
    if (--remains.references > 0) return
    this.#bytesCommitted -= remains.committedBytes
    this.#bytesUsed -= remains.committedBytes
  })
  #bytesCommitted = 0
  #bytesUsed = 0
  #emptyTimer: NodeJS.Timeout | null = null

  constructor(options: ArenaPoolOptions) {
    this.bytesMax = options.bytesMax
    this.scratchSlots = options.scratchSlots
    this.#arenaBytesMax = Math.min(options.arenaBytesMax ?? arenaBytesLimit, arenaBytesLimit)
    this.#scratchEnd = roundUp(arenaScratchAt + options.scratchSlots * scratchBytes, alignment)
    this.#forget = options.forget ?? (async () => {})
  }

  /** Bytes of all arenas, those that are being given back included, and what is reserved beside them: what the budget counts. */
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
    let largest = Math.min(growth, this.#arenaBytesMax) - this.#scratchEnd
    for (const { gaps, remains } of this.#arenas) {
      const { committedBytes } = remains
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
    return Math.floor(arenaBytes / pageBytes) * pageBytes - this.#scratchEnd
  }

  /**
   * A piece of `bytes`, or null when the budget has no room: the caller evicts and tries again. With `arena`, only there.
   * The bytes are whatever was there before.
   */
  allocate(bytes: number, arena?: ArenaHandle): Allocation | null {
    const piece = this.#allocateIn(this.#candidates(arena), bytes, null)
    if (piece !== null || arena !== undefined) return piece
    const added = this.#addArena(roundUp(bytes, alignment))
    return added === null ? null : this.#allocateIn([added], bytes, null)
  }

  /**
   * A piece of `arena` that is of use to others there only: when the last of those goes, `leave` is called and has to free it.
   */
  allocateCompanion(bytes: number, arena: ArenaHandle, leave: () => void): Allocation | null {
    return this.#allocateIn(this.#candidates(arena), bytes, leave)
  }

  #candidates(arena: ArenaHandle | undefined): readonly Arena[] {
    return arena === undefined ? this.#arenas : this.#arenas.filter(({ handle }) => handle.id === arena.id)
  }

  #allocateIn(candidates: readonly Arena[], bytes: number, leave: (() => void) | null): Allocation | null {
    assert(Number.isSafeInteger(bytes) && bytes > 0, `allocate: expected a positive byte count, got ${bytes}`)
    const wanted = roundUp(bytes, alignment)
    for (const candidate of candidates) {
      const index = candidate.gaps.findIndex((gap) => gap.bytes >= wanted)
      if (index !== -1) return this.#take(candidate, index, bytes, leave)
    }
    for (const candidate of candidates) {
      if (this.#grow(candidate, wanted)) return this.#take(candidate, candidate.gaps.length - 1, bytes, leave)
    }
    return null
  }

  /** How many pieces are in an arena, companions not counted, and whether the rest of it is more than they and another arena cost. */
  contentOf({ id }: ArenaHandle): { readonly pieces: number; readonly sparse: boolean } {
    const arena = this.#arenas.find(({ handle }) => handle.id === id)
    assert(arena !== undefined, 'an arena in which something is, is in the pool')
    const free = arena.gaps.reduce((sum, gap) => sum + gap.bytes, 0)
    const bytes = arena.remains.committedBytes - this.#scratchEnd - free
    return { pieces: arena.pieces, sparse: free > bytes + this.#scratchEnd }
  }

  /**
   * Gives back the arenas that are empty. Resolves when their bytes are free, or something turns out to refer to them still.
   * Rejects when a thread cannot collect garbage: then they stay.
   */
  async giveBackEmpty(): Promise<void> {
    const remains = await this.#forgetEmpty()
    for (let run = 0; run < collectionsMax && remains.some(({ references }) => references > 0); run++) {
      collectGarbage()
      await setImmediate() // what was collected is told in a turn of its own
    }
  }

  /** Of the arenas that are referred to nowhere from then on but in garbage. */
  async #forgetEmpty(): Promise<readonly Remains[]> {
    const empty = this.#arenas.filter(({ pieces }) => pieces === 0)
    const leaving = Symbol('leaving')
    for (const arena of empty) arena.leaving = leaving
    await Promise.all(empty.map(({ handle }) => this.#forget(handle.id)))
    const gone = empty.filter((arena) => arena.leaving === leaving)
    for (const arena of gone) {
      this.#arenas.splice(this.#arenas.indexOf(arena), 1)
      this.#bytesUsed += arena.remains.committedBytes - this.#scratchEnd
    }
    return gone.map(({ remains }) => remains)
  }

  #isEmpty(arena: Arena): void {
    for (const leave of [...arena.companions]) leave()
    this.#emptyTimer ??= setTimeout(() => {
      // Tried again when the next arena empties, and after work on an index, whose failure is logged.
      this.giveBackEmpty().catch(() => {})
    }, emptyMsMax).unref()
    this.#emptyTimer.refresh()
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

  /** Pieces of one arena, or null when no arena has room for all; of none that `avoid` names. */
  allocateTogether<Sizes extends readonly number[]>(
    sizes: readonly [...Sizes],
    avoid: ReadonlySet<number> = new Set(),
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
      const pieces = avoid.has(handle.id) ? null : allocateIn(handle)
      if (pieces !== null) return pieces
    }
    const added = this.#addArena(sizes.reduce((sum, bytes) => sum + roundUp(bytes, alignment), 0))
    return added === null ? null : allocateIn(added.handle)
  }

  /** Extends the last gap (or adds one) to at least `wanted` bytes. */
  #grow(arena: Arena, wanted: number): boolean {
    const { committedBytes } = arena.remains
    const last = arena.gaps.at(-1)
    const tail = last !== undefined && last.offset + last.bytes === committedBytes ? last : null
    const growth = roundUp(wanted - (tail?.bytes ?? 0), pageBytes)
    if (this.#bytesCommitted + growth > this.bytesMax || committedBytes + growth > this.#arenaBytesMax) return false
    arena.handle.memory.grow(growth / pageBytes)
    this.#watch(arena.handle.memory.buffer, arena.remains)
    if (tail === null) arena.gaps.push({ offset: committedBytes, bytes: growth })
    else tail.bytes += growth
    arena.remains.committedBytes += growth
    this.#bytesCommitted += growth
    return true
  }

  #addArena(wanted: number): Arena | null {
    const start = this.#scratchEnd
    const bytes = roundUp(start + wanted, pageBytes)
    if (this.#bytesCommitted + bytes > this.bytesMax || bytes > this.#arenaBytesMax) return null
    const maximum = Math.floor(Math.min(this.bytesMax, this.#arenaBytesMax) / pageBytes)
    const memory = createMemory(bytes / pageBytes, maximum)
    const arena: Arena = {
      handle: { id: nextArenaId++, memory },
      gaps: [{ offset: start, bytes: bytes - start }],
      pieces: 0,
      companions: new Set(),
      remains: { committedBytes: bytes, references: 0 },
      leaving: null,
    }
    this.#watch(memory, arena.remains)
    this.#watch(memory.buffer, arena.remains)
    this.#arenas.push(arena)
    this.#bytesCommitted += bytes
    this.#bytesUsed += start
    return arena
  }

  #watch(object: WebAssembly.Memory | ArrayBufferLike, remains: Remains): void {
    remains.references++
    this.#collected.register(object, remains)
  }

  #take(arena: Arena, index: number, bytes: number, leave: (() => void) | null): Allocation {
    const gap = arena.gaps[index]
    const taken = roundUp(bytes, alignment)
    assert(gap !== undefined && gap.bytes >= taken)
    arena.leaving = null
    if (leave === null) arena.pieces++
    else arena.companions.add(leave)
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
        if (leave !== null) arena.companions.delete(leave)
        else if (--arena.pieces === 0) this.#isEmpty(arena)
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
