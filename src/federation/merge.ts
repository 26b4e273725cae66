import { compareHits, type Hit } from '../core/hit.js'

/**
 * The k first hits of all lists under law 3's total order.
 * @param lists each ascending by compareHits; borrowed. Their order does not matter.
 */
export function mergeTopK<T extends Hit>(lists: readonly (readonly T[])[], k: number): readonly T[] {
  const filled = lists.filter((list) => list.length > 0)
  if (filled.length === 0) return []
  if (filled.length === 1) return filled[0]!.length <= k ? filled[0]! : filled[0]!.slice(0, k)
  const heap = new CursorHeap(filled)
  const merged: T[] = []
  while (merged.length < k && !heap.empty) merged.push(heap.next())
  return merged
}

interface Cursor<T> {
  readonly list: readonly T[]
  at: number
}

/** Cursors into ascending lists, the one with the first hit on top. */
class CursorHeap<T extends Hit> {
  readonly #cursors: Cursor<T>[]

  constructor(lists: readonly (readonly T[])[]) {
    this.#cursors = lists.map((list) => ({ list, at: 0 }))
    for (let i = (this.#cursors.length >> 1) - 1; i >= 0; i--) this.#sink(i)
  }

  get empty(): boolean {
    return this.#cursors.length === 0
  }

  /** Takes the first hit. */
  next(): T {
    const top = this.#cursors[0]!
    const hit = top.list[top.at]!
    top.at += 1
    if (top.at === top.list.length) {
      const last = this.#cursors.pop()!
      if (this.#cursors.length > 0) this.#cursors[0] = last
    }
    this.#sink(0)
    return hit
  }

  #sink(from: number): void {
    const cursors = this.#cursors
    let i = from
    for (;;) {
      const left = 2 * i + 1
      if (left >= cursors.length) return
      const child = left + 1 < cursors.length && this.#before(left + 1, left) ? left + 1 : left
      if (!this.#before(child, i)) return
      const swapped = cursors[i]!
      cursors[i] = cursors[child]!
      cursors[child] = swapped
      i = child
    }
  }

  #before(a: number, b: number): boolean {
    const x = this.#cursors[a]!
    const y = this.#cursors[b]!
    return compareHits(x.list[x.at]!, y.list[y.at]!) < 0
  }
}

/** Cormack, Clarke, Buettcher 2009: the constant that keeps one list's first ranks from deciding everything. */
const rankOffset = 60

/**
 * Reciprocal rank fusion: the k hits with the highest 1 / (60 + rank). Equal ranks are ordered by name, never by distance,
 * which means nothing across spaces.
 * @param rankings one a space, each ascending by compareHits, with no row in two of them; borrowed
 */
export function fuseRanks<T extends Hit>(rankings: readonly (readonly T[])[], k: number): readonly T[] {
  return rankings
    .flatMap((ranking) => ranking.map((hit, i) => ({ hit, score: 1 / (rankOffset + i + 1) })))
    .sort((a, b) => b.score - a.score || compareNames(a.hit, b.hit))
    .slice(0, k)
    .map((ranked) => ranked.hit)
}

/** The total order without distance. */
const compareNames = (a: Hit, b: Hit): number => compareHits({ ...a, distance: 0 }, { ...b, distance: 0 })
