import { setMaxListeners } from 'node:events'
import { shuttingDown } from '../core/errors.js'

interface Waiter {
  give(slot: number): void
  fail(reason: unknown): void
}

/**
 * Scratch areas, given to jobs and not to threads: a slot outlives the thread that used it. Slots from 1 are for tasks
 * on threads, `tasksPerThread` each, first come first served, training last; with no workers, slot 0 is always free for one synchronous turn.
 */
export class Slots {
  readonly #free: number[]
  readonly #waiting: Waiter[] = []
  /** Served when nobody else waits. */
  readonly #waitingInBackground: Waiter[] = []
  readonly #workers: number
  readonly #tasksPerThread: number
  #closed = false

  constructor(workers: number, tasksPerThread: number) {
    this.#workers = workers
    this.#tasksPerThread = tasksPerThread
    const count = tasksPerThread * workers
    this.#free = Array.from({ length: count }, (_, index) => count - index)
  }

  /** Threads without a task, at least: tasks go to the thread that has fewest. */
  get idleThreads(): number {
    return Math.max(0, this.#free.length - (this.#tasksPerThread - 1) * this.#workers)
  }

  take(signal: AbortSignal, background: boolean): Promise<number> {
    if (this.#closed) return Promise.reject(shuttingDown())
    if (this.#workers === 0) return Promise.resolve(0)
    const slot = this.#free.pop()
    if (slot !== undefined) return Promise.resolve(slot)
    const waiting = background ? this.#waitingInBackground : this.#waiting
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        waiting.splice(waiting.indexOf(waiter), 1)
        reject(signal.reason)
      }
      const waiter = {
        give(given: number): void {
          signal.removeEventListener('abort', leave)
          resolve(given)
        },
        fail(reason: unknown): void {
          signal.removeEventListener('abort', leave)
          reject(reason)
        },
      }
      waiting.push(waiter)
      // Any number of queries of one batch may share a signal.
      setMaxListeners(0, signal)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  give(slot: number): void {
    if (this.#workers === 0) return
    const waiter = this.#waiting.shift() ?? this.#waitingInBackground.shift()
    if (waiter === undefined) this.#free.push(slot)
    else waiter.give(slot)
  }

  close(): void {
    this.#closed = true
    for (const waiter of [...this.#waiting.splice(0), ...this.#waitingInBackground.splice(0)])
      waiter.fail(shuttingDown())
  }
}
