import type { Generation } from '../core/generation.js'
import type { Parts } from './parts.js'
import type { Segment } from './segment.js'
import { drop, hold, type Version } from './versions.js'

/** Versions kept for `as_of` besides the current one. */
const versionsMax = 8

/**
 * The versions of one collection, made of the same parts. They keep their segments from leaving memory with their last pin;
 * a version that goes takes along the parts that no other has. Every change is made at once, between two queries.
 */
export class HeldVersions {
  readonly #parts: Parts
  #current: Version | null = null
  #list: readonly Version[] = []

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** What answers unless another is asked for: the first of the list. */
  get current(): Version | null {
    return this.#current
  }

  /** The current one and older ones, newest first. A list does not change: another one takes its place. */
  get list(): readonly Version[] {
    return this.#list
  }

  find(generation: Generation): Version | null {
    return this.#list.find((version) => version.generation === generation) ?? null
  }

  /** Takes versions of an earlier process, newest first. */
  recall(versions: readonly Version[]): void {
    this.#change(versions)
    this.#current = versions[0] ?? null
  }

  /**
   * Enters a version in place of another of its generation, in front when it is to be the current one (or that other was), and
   * lets go of the oldest. False when that changed nothing.
   */
  enter(version: Version, isCurrent: boolean): boolean {
    if (isCurrent || this.#current?.generation === version.generation) this.#current = version
    const others = this.#list.filter((other) => other.generation !== version.generation)
    const [first, ...rest] = others
    const kept = version === this.#current || first === undefined ? [version, ...others] : [first, version, ...rest]
    if (kept.length === this.#list.length && kept.every((one, i) => one === this.#list[i])) return false
    this.#change(kept.slice(0, versionsMax + 1))
    this.#parts.retain(new Set(this.#list.flatMap(({ parts }) => parts.map(({ part }) => part))))
    return true
  }

  /** Gives every version the successors of its segments; who has pinned one keeps what it was. */
  replace(successors: ReadonlyMap<Segment, Segment>): void {
    const renewed = this.#parts.replace(successors)
    const renew = (version: Version): Version => {
      const parts = version.parts.map(({ part, mask }) => ({ part: renewed.get(part) ?? part, mask }))
      return { ...version, parts, segments: this.#parts.mask(parts, version.dimension) }
    }
    const list = this.#list.map(renew)
    if (this.#current !== null) this.#current = list[this.#list.indexOf(this.#current)]!
    this.#change(list)
  }

  /** Lets go of all of them. */
  clear(): void {
    this.#current = null
    this.#change([])
  }

  #change(versions: readonly Version[]): void {
    const before = this.#list
    this.#list = versions
    for (const version of versions) hold(version)
    for (const version of before) drop(version)
  }
}
