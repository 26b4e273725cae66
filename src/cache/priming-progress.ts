import type { Part } from '../adapters/adapter.js'
import type { Clock } from '../core/clock.js'

const retryMsMin = 50
const retryMsMax = 30_000
/** Before anything has arrived there is no rate to go by. */
const retryMsUnknown = 1000

/** How far a build has come, to tell callers when to ask again. */
export class PrimingProgress {
  readonly #clock: Clock
  readonly #startMs: number
  /** Weight still to come by part: rows where known, else bytes, else 1. */
  readonly #remaining = new Map<Part, number>()
  #total = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonicMs()
  }

  expect(parts: readonly Part[]): void {
    for (const part of parts) {
      const weight = part.rows ?? part.bytes ?? 1
      this.#remaining.set(part, weight)
      this.#total += weight
    }
  }

  advance(part: Part, rows: number): void {
    const before = this.#remaining.get(part)
    if (before !== undefined && part.rows !== null) this.#remaining.set(part, Math.max(0, before - rows))
  }

  finish(part: Part): void {
    this.#remaining.delete(part)
  }

  retryMs(): number {
    let remaining = 0
    for (const weight of this.#remaining.values()) remaining += weight
    const done = this.#total - remaining
    if (done === 0) return retryMsUnknown
    const elapsedMs = this.#clock.monotonicMs() - this.#startMs
    return Math.ceil(Math.min(retryMsMax, Math.max(retryMsMin, (elapsedMs / done) * remaining)))
  }
}
