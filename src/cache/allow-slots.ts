import { bitmapWords } from './row-bitmap.js'

/** A bitmap in a segment's arena that says which rows a scan may return. Release exactly once. */
export interface AllowBitmap {
  /** Byte offset in the arena. */
  readonly offset: number
  /** How many rows it allows. */
  readonly count: number
  release(): void
}

interface Slot {
  readonly offset: number
  readonly words: Uint32Array
  key: string | null
  users: number
  /** How many rows it allows; null while it is being filled. */
  count: number | null
  filled: Promise<number>
}

/** Slots a segment: as many different filters and masks are remembered, and may be scanned with at the same time. */
export const allowSlotCount = 8

export const allowBytes = (rows: number): number => allowSlotCount * slotBytes(rows)
const slotBytes = (rows: number): number => Math.ceil(rows / 128) * 16

/**
 * The bitmaps of one segment, least recently used last to be kept. They live beside the segment's block, because a scan
 * reads both from one arena, so that a filter seen before costs nothing and a new one never lacks space.
 */
export class AllowSlots {
  /** Least recently used first. */
  readonly #slots: Slot[]
  readonly #waiting: (() => void)[] = []

  /** `offset`: of allowBytes(rows) bytes in the arena, a multiple of 16. */
  constructor(memory: SharedArrayBuffer, offset: number, rows: number) {
    this.#slots = Array.from({ length: allowSlotCount }, (_, index) => {
      const at = offset + index * slotBytes(rows)
      new Uint8Array(memory, at, slotBytes(rows)).fill(0) // past the last row bits stay 0
      const words = new Uint32Array(memory, at, bitmapWords(rows))
      return { offset: at, words, key: null, users: 0, count: null, filled: Promise.resolve(0) }
    })
  }

  /** The bitmap called `key` when it is there; else undefined. */
  acquireAtOnce(key: string): AllowBitmap | undefined {
    const slot = this.#slots.find((one) => one.key === key && one.count !== null)
    if (slot === undefined) return undefined
    this.#use(slot)
    return this.#bitmap(slot, slot.count!)
  }

  /** The bitmap called `key`; `fill` writes it when it is not there (zeroed words) and answers how many rows it allows. */
  async acquire(key: string, fill: (words: Uint32Array) => Promise<number>): Promise<AllowBitmap> {
    for (;;) {
      const slot = this.#slots.find((one) => one.key === key) ?? this.#slots.find((one) => one.users === 0)
      if (slot === undefined) {
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
        continue
      }
      this.#use(slot)
      if (slot.key !== key) {
        slot.key = key
        slot.count = null
        slot.words.fill(0)
        slot.filled = fill(slot.words).catch((error: unknown) => {
          slot.key = null
          throw error
        })
      }
      try {
        slot.count = await slot.filled
        return this.#bitmap(slot, slot.count)
      } catch (error) {
        this.#release(slot)
        throw error
      }
    }
  }

  #use(slot: Slot): void {
    if (slot !== this.#slots.at(-1)) this.#slots.push(...this.#slots.splice(this.#slots.indexOf(slot), 1))
    slot.users++
  }

  #bitmap(slot: Slot, count: number): AllowBitmap {
    return { offset: slot.offset, count, release: () => this.#release(slot) }
  }

  #release(slot: Slot): void {
    slot.users--
    this.#waiting.shift()?.()
  }
}
