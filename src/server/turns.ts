/** Requests that arrive together, worked on a step at a time. */
export interface Turns {
  /** Resolves when the requests that can be read now have been read, for all of them together and in order. */
  next(): Promise<void>
}

/** Requests that wait for each other at most: the first of them waits for all before it is answered. */
export const requestsTogetherMax = 16

/**
 * One step for every request and then the next step finds its code and data in the processor's caches more often than all
 * steps for one request after the other do, and a client that has fallen asleep is woken once for all replies; alone, a
 * request waits for nothing.
 */
export function createTurns(): Turns {
  let turn: Turn | null = null
  const end = (ended: Turn): void => {
    if (turn !== ended) return
    turn = null
    ended.resolve()
  }
  /** Clients send anew while the replies of the turn before are written and others are read: as long as some did, more may have. */
  const look = (looking: Turn, requestsBefore: number): void => {
    if (looking.requests === requestsBefore) end(looking)
    else setImmediate(look, looking, looking.requests)
  }
  return {
    next() {
      if (turn === null) {
        turn = beginTurn()
        setImmediate(look, turn, 1)
      }
      const joined = turn
      joined.requests += 1
      if (joined.requests === requestsTogetherMax) end(joined)
      return joined.promise
    },
  }
}

interface Turn {
  readonly promise: Promise<void>
  readonly resolve: () => void
  requests: number
}

function beginTurn(): Turn {
  let resolve!: () => void
  const promise = new Promise<void>((resolved) => {
    resolve = resolved
  })
  return { promise, resolve, requests: 0 }
}
