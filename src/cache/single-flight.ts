/** Waits for shared work without owning it: when `signal` aborts, this caller leaves and the work goes on. */
export function waitFor<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason)
    if (signal.aborted) leave()
    signal.addEventListener('abort', leave, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}

/**
 * Shares runs of a task among callers that need one which starts after they arrive: whoever comes while a run is under
 * way waits for the next, and all who wait for the next share it.
 */
export class FreshFlight<T> {
  readonly #run: () => Promise<T>
  #running: Promise<T> | null = null
  #next: Promise<T> | null = null

  constructor(run: () => Promise<T>) {
    this.#run = run
  }

  /** A run that has not started yet; it starts in a microtask, or when the one under way ends. */
  join(): Promise<T> {
    this.#next ??= (this.#running ?? Promise.resolve()).then(
      () => this.#start(),
      () => this.#start(),
    )
    return this.#next
  }

  #start(): Promise<T> {
    const run = this.#run()
    this.#running = run
    this.#next = null
    const done = (): void => {
      if (this.#running === run) this.#running = null
    }
    run.then(done, done)
    return run
  }
}
