/** Time and randomness come in from outside so that tests decide them. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds from an arbitrary start, never going back. */
  monotonicMs(): number
}

export const systemClock: Clock = { now: () => Date.now(), monotonicMs: () => performance.now() }

/** Calls `task` once when `delayMs` have passed; the function it returns takes that back. */
export type Timer = (delayMs: number, task: () => void) => () => void

/** Does not keep the process alive. */
export const systemTimer: Timer = (delayMs, task) => {
  const timer = setTimeout(task, delayMs)
  timer.unref()
  return () => clearTimeout(timer)
}

/** Uniform in [0, 1). */
export type Random = () => number

/** Mulberry32 (public domain, Tommy Ettinger): small and seeded; for rotations, samples and tests, never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
