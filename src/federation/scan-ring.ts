/**
 * Short scans passed from the main thread to another through shared memory: a message there and back costs as much of the
 * main thread's time as the scan itself (docs/adr/0017).
 */
import type { ScanRange, ScanWork } from '../cache/kernel.js'
import { type Hits, noHits } from '../cache/scan-hits.js'

/** Scans that may be under way. */
export const entriesMax = 16
const dimensionMax = 2048
const rangesMax = 8
const hitsMax = 256

/* States of an entry. The main thread takes it from free to queued, from queued back to free, and from done to free; the other from queued to running to done. */
const free = 0
const queued = 1
const running = 2
const done = 3

/* Control words. */
/** Counts what the other thread should look at. */
const newsAt = 0
const asleepAt = 1
const closedAt = 2
/** Whether more may come soon. */
const expectingAt = 3
const controlBytes = 64

/* An entry, in words of 32 bits. */
const stateAt = 0
const orderAt = 1
const arenaAt = 2
const codebookAt = 3
const metricAt = 4
const dimensionAt = 5
const kAt = 6
const stageAt = 7
const rangeCountAt = 8
/** -1: the scan failed, or has more hits than fit. */
const hitCountAt = 9
const rangesAt = 10
const rangeWords = 7
/* In words of 64 bits. */
const distanceMaxAt = 40
const tailAt = 41
const gapAt = 42
const lostAt = 43
const bytesReadAt = 44
const msAt = 45
const distancesAt = 46
/* In words of 32 bits again. */
const blocksAt = 2 * (distancesAt + hitsMax)
const rowsAt = blocksAt + hitsMax
const queryAt = rowsAt + hitsMax
const entryBytes = 4 * (queryAt + dimensionMax)

export const ringBytes: number = controlBytes + entriesMax * entryBytes

/** A scan as another thread finds it. `work.query` is only valid until it is finished. */
export interface FoundScan {
  readonly entry: number
  readonly arenaId: number
  readonly work: ScanWork
}

/** One side's view of the shared memory. Every method is synchronous. */
export class ScanRing {
  readonly #control: Int32Array
  readonly #words: Int32Array
  readonly #unsigned: Uint32Array
  readonly #floats: Float32Array
  readonly #doubles: Float64Array

  constructor(memory: SharedArrayBuffer) {
    this.#control = new Int32Array(memory, 0, controlBytes / 4)
    this.#words = new Int32Array(memory, controlBytes)
    this.#unsigned = new Uint32Array(memory, controlBytes)
    this.#floats = new Float32Array(memory, controlBytes)
    this.#doubles = new Float64Array(memory, controlBytes)
  }

  /* Of the main thread. */

  /** Queues a scan; answers its entry, or null when it does not fit or none is free. */
  queue(arenaId: number, order: number, work: ScanWork): number | null {
    if (work.query.length > dimensionMax || work.ranges.length > rangesMax || work.k > hitsMax) return null
    const words = this.#words
    let entry = 0
    while (entry < entriesMax && Atomics.load(words, (entry * entryBytes) / 4 + stateAt) !== free) entry++
    if (entry === entriesMax) return null
    const at = (entry * entryBytes) / 4
    words[at + orderAt] = order
    words[at + arenaAt] = arenaId
    words[at + codebookAt] = work.codebook
    words[at + metricAt] = work.metric
    words[at + dimensionAt] = work.query.length
    words[at + kAt] = work.k
    words[at + stageAt] = work.stage
    words[at + rangeCountAt] = work.ranges.length
    for (let i = 0; i < work.ranges.length; i++) {
      const range = work.ranges[i]!
      const to = at + rangesAt + i * rangeWords
      words[to] = range.index
      words[to + 1] = range.block
      words[to + 2] = range.vectors
      words[to + 3] = range.allow
      words[to + 4] = range.from
      words[to + 5] = range.to
      words[to + 6] = range.rowBytes
    }
    const double = at / 2
    this.#doubles[double + distanceMaxAt] = work.distanceMax
    this.#doubles[double + tailAt] = work.tail
    this.#doubles[double + gapAt] = work.gap
    this.#floats.set(work.query, at + queryAt)
    Atomics.store(words, at + stateAt, queued)
    return entry
  }

  /** Takes a queued scan back; false when another thread has it. */
  takeBack(entry: number): boolean {
    const at = (entry * entryBytes) / 4 + stateAt
    return Atomics.compareExchange(this.#words, at, queued, free) === queued
  }

  isDone(entry: number): boolean {
    return Atomics.load(this.#words, (entry * entryBytes) / 4 + stateAt) === done
  }

  /** Frees an entry that is done; null when its scan failed. */
  collect(entry: number): { readonly hits: Hits; readonly ms: number } | null {
    const at = (entry * entryBytes) / 4
    const double = at / 2
    const count = this.#words[at + hitCountAt]!
    const reply =
      count < 0
        ? null
        : {
            hits: {
              distances: this.#doubles.slice(double + distancesAt, double + distancesAt + count),
              blocks: this.#unsigned.slice(at + blocksAt, at + blocksAt + count),
              rows: this.#unsigned.slice(at + rowsAt, at + rowsAt + count),
              lost: this.#doubles[double + lostAt]!,
              bytesRead: this.#doubles[double + bytesReadAt]!,
              survivors: noHits.survivors,
              unread: noHits.unread,
            },
            ms: this.#doubles[double + msAt]!,
          }
    Atomics.store(this.#words, at + stateAt, free)
    return reply
  }

  /** Has the other thread look again. */
  tell(): void {
    Atomics.add(this.#control, newsAt, 1)
    if (Atomics.load(this.#control, asleepAt) === 1) Atomics.notify(this.#control, newsAt)
  }

  /** Whether more may come so soon that the other thread had better not fall asleep. */
  expect(more: boolean): void {
    Atomics.store(this.#control, expectingAt, Number(more))
  }

  close(): void {
    Atomics.store(this.#control, closedAt, 1)
    this.tell()
  }

  /** Ends what a thread that is no more had begun. */
  failRunning(): void {
    Atomics.store(this.#control, asleepAt, 0)
    for (let entry = 0; entry < entriesMax; entry++) {
      const at = (entry * entryBytes) / 4
      if (Atomics.load(this.#words, at + stateAt) === running) this.#finish(at, -1)
    }
  }

  /* Of the other thread. */

  get isClosed(): boolean {
    return Atomics.load(this.#control, closedAt) === 1
  }

  /** Changes whenever there is something to look at. */
  get news(): number {
    return Atomics.load(this.#control, newsAt)
  }

  /**
   * Waits until the news are no longer `seen`: awake as long as more are expected, but no longer than `awakeMs`, and then asleep.
   * False when there were none for `asleepMs`.
   */
  wait(seen: number, { awakeMs, asleepMs }: { readonly awakeMs: number; readonly asleepMs: number }): boolean {
    const until = performance.now() + awakeMs
    while (Atomics.load(this.#control, expectingAt) === 1 && performance.now() < until)
      if (this.news !== seen) return true
    Atomics.store(this.#control, asleepAt, 1)
    const outcome = Atomics.wait(this.#control, newsAt, seen, asleepMs)
    Atomics.store(this.#control, asleepAt, 0)
    return outcome !== 'timed-out'
  }

  /** Takes the scan that was queued first. */
  take(): FoundScan | null {
    for (;;) {
      let first = -1
      for (let entry = 0; entry < entriesMax; entry++) {
        const at = (entry * entryBytes) / 4
        if (Atomics.load(this.#words, at + stateAt) !== queued) continue
        // Orders wrap around; their difference does not.
        if (first < 0 || ((this.#words[at + orderAt]! - this.#words[(first * entryBytes) / 4 + orderAt]!) | 0) < 0)
          first = entry
      }
      if (first < 0) return null
      const state = (first * entryBytes) / 4 + stateAt
      if (Atomics.compareExchange(this.#words, state, queued, running) === queued) return this.#found(first)
    }
  }

  finish(entry: number, hits: Hits | null, ms: number): void {
    const at = (entry * entryBytes) / 4
    const count = hits === null || hits.distances.length > hitsMax ? -1 : hits.distances.length
    if (hits !== null && count >= 0) {
      const double = at / 2
      this.#doubles.set(hits.distances, double + distancesAt)
      this.#words.set(hits.blocks, at + blocksAt)
      this.#words.set(hits.rows, at + rowsAt)
      this.#doubles[double + lostAt] = hits.lost
      this.#doubles[double + bytesReadAt] = hits.bytesRead
      this.#doubles[double + msAt] = ms
    }
    this.#finish(at, count)
  }

  #finish(at: number, count: number): void {
    this.#words[at + hitCountAt] = count
    Atomics.store(this.#words, at + stateAt, done)
  }

  #found(entry: number): FoundScan {
    const at = (entry * entryBytes) / 4
    const double = at / 2
    const unsigned = (word: number): number => this.#unsigned[at + word]!
    const ranges = Array.from({ length: unsigned(rangeCountAt) }, (_, i): ScanRange => {
      const from = rangesAt + i * rangeWords
      return {
        index: unsigned(from),
        block: unsigned(from + 1),
        vectors: unsigned(from + 2),
        allow: unsigned(from + 3),
        from: unsigned(from + 4),
        to: unsigned(from + 5),
        rowBytes: unsigned(from + 6),
      }
    })
    return {
      entry,
      arenaId: unsigned(arenaAt),
      work: {
        codebook: unsigned(codebookAt),
        metric: unsigned(metricAt),
        query: this.#floats.subarray(at + queryAt, at + queryAt + unsigned(dimensionAt)),
        ranges,
        k: unsigned(kAt),
        distanceMax: this.#doubles[double + distanceMaxAt]!,
        stage: unsigned(stageAt),
        tail: this.#doubles[double + tailAt]!,
        gap: this.#doubles[double + gapAt]!,
        before: noHits.distances,
      },
    }
  }
}
