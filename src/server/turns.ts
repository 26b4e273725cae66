/** Requests that arrive together, worked on a step at a time. */
export interface Turns {
  /** Resolves when the requests that can be read now have been read, for all of them together and in order. */
  next(): Promise<void>
}

/** Requests that wait for each other at most: the first of them waits for all before it is answered. */
export const requestsTogetherMax = 16

/**
 * One step for every request and then the next step finds its code and data in the processor's caches more often than all
 * steps for one request after the other do; alone, a request waits for nothing.
 */
export function createTurns(): Turns {
  let turn: { readonly promise: Promise<void>; readonly end: () => void; requests: number } | null = null
  const begin = (): NonNullable<typeof turn> => {
    let resolve!: () => void
    const promise = new Promise<void>((resolved) => {
      resolve = resolved
    })
    const begun = {
      promise,
      requests: 0,
      end: () => {
        if (turn === begun) turn = null
        resolve()
      },
    }
    setImmediate(begun.end)
    return begun
  }
  return {
    next() {
      turn ??= begin()
      const { promise, end } = turn
      turn.requests += 1
      if (turn.requests === requestsTogetherMax) end()
      return promise
    },
  }
}
