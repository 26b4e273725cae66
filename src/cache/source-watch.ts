import type { Clock } from '../core/clock.js'
import type { Generation } from '../core/generation.js'
import { Sightings } from './sightings.js'
import { FreshFlight } from './single-flight.js'

/** What a check of the source said last. */
interface Observation {
  readonly generation: Generation
  /** When the check began: the source was at least this new. */
  readonly atMs: number
}

/** One collection's checks of its source, one at a time, and what they saw. */
export class SourceWatch {
  readonly #ask: () => Promise<Generation>
  readonly #clock: Clock
  readonly #check: FreshFlight<Generation>
  #sightings = new Sightings([])
  #observed: Observation | null = null
  /** Rises when what was observed is to be forgotten, results under way included. */
  #epoch = 0

  constructor(ask: () => Promise<Generation>, clock: Clock) {
    this.#ask = ask
    this.#clock = clock
    this.#check = new FreshFlight(() => this.#run())
  }

  get observed(): Observation | null {
    return this.#observed
  }

  /** Whether a check that began at most so long ago saw the source at this generation. */
  seenWithin(ttlMs: number, generation: Generation): boolean {
    if (this.#observed?.generation !== generation) return false
    const ageMs = this.#clock.now() - this.#observed.atMs
    // A clock that was set back says nothing of the age.
    return ageMs >= 0 && ageMs <= ttlMs
  }

  get sightings(): Sightings {
    return this.#sightings
  }

  recall(sightings: Sightings): void {
    this.#sightings = sightings
  }

  /** The generation that a check saw which began after this call; shared with whoever else waits for it. */
  check(): Promise<Generation> {
    return this.#check.join()
  }

  /** A check that was over at once: the source is at this generation now. */
  confirm(generation: Generation): void {
    const nowMs = this.#clock.now()
    this.#observed = { generation, atMs: nowMs }
    this.#sightings.record(generation, { startMs: nowMs, endMs: nowMs })
  }

  forget(): void {
    this.#epoch++
    this.#observed = null
  }

  async #run(): Promise<Generation> {
    const startMs = this.#clock.now()
    const epoch = this.#epoch
    const generation = await this.#ask()
    if (epoch === this.#epoch) this.#observed = { generation, atMs: startMs }
    this.#sightings.record(generation, { startMs, endMs: this.#clock.now() })
    return generation
  }
}
