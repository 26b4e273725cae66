import { GatewayError } from '../core/errors.js'

/** One request's end: the caller goes away, or its time is up. Close exactly once. */
export interface Deadline {
  /** Aborts with a GatewayError: LG_CANCELLED, or LG_DEADLINE_EXCEEDED. */
  readonly signal: AbortSignal
  readonly state: 'running' | 'expired' | 'cancelled'
  /** Settles as `work` does, or rejects with the signal's reason as soon as that aborts; `work` itself goes on. */
  race<T>(work: Promise<T>): Promise<T>
  /**
   * Stops the timer.
   * @param busy something still runs for this request: let it know that nobody waits
   */
  close(busy: boolean): void
}

/** @param ms from now until the deadline */
export const openDeadline = (caller: AbortSignal, ms: number): Deadline => new RequestDeadline(caller, ms)

/** What somebody who waits needs: made for the first, because most requests are answered before anybody does. */
interface Watch {
  readonly controller: AbortController
  /** Cheaper than a listener each; they live no longer than the request. */
  readonly waiters: ((reason: GatewayError) => void)[]
  readonly timer: NodeJS.Timeout
}

class RequestDeadline implements Deadline {
  readonly #caller: AbortSignal
  readonly #ms: number
  readonly #openedMs = performance.now()
  #state: Deadline['state'] = 'running'
  #watch: Watch | null = null

  constructor(caller: AbortSignal, ms: number) {
    this.#caller = caller
    this.#ms = ms
  }

  get signal(): AbortSignal {
    return this.#watched().controller.signal
  }

  get state(): Deadline['state'] {
    if (this.#watch === null && (this.#caller.aborted || this.#leftMs() <= 0)) this.#watched()
    return this.#state
  }

  race<T>(work: Promise<T>): Promise<T> {
    const { controller, waiters } = this.#watched()
    return new Promise((resolve, reject) => {
      if (controller.signal.aborted) reject(controller.signal.reason)
      else waiters.push(reject)
      work.then(resolve, reject)
    })
  }

  close(busy: boolean): void {
    if (this.#watch === null) return // nobody waited, so nothing is under way
    clearTimeout(this.#watch.timer)
    this.#caller.removeEventListener('abort', this.#onCancelled)
    if (busy && this.#state === 'running')
      this.#watch.controller.abort(new GatewayError('LG_CANCELLED', 'the request is over'))
  }

  #watched(): Watch {
    if (this.#watch !== null) return this.#watch
    const leftMs = this.#leftMs()
    const timer = setTimeout(() => this.#end('expired', exceeded(this.#ms)), leftMs)
    this.#watch = { controller: new AbortController(), waiters: [], timer }
    if (this.#caller.aborted) this.#onCancelled()
    else this.#caller.addEventListener('abort', this.#onCancelled)
    if (leftMs <= 0) this.#end('expired', exceeded(this.#ms))
    return this.#watch
  }

  #leftMs(): number {
    return this.#ms - (performance.now() - this.#openedMs)
  }

  readonly #onCancelled = (): void => this.#end('cancelled', cancelled(this.#caller.reason))

  #end(to: Deadline['state'], reason: GatewayError): void {
    if (this.#state !== 'running') return
    this.#state = to
    const { controller, waiters } = this.#watched()
    controller.abort(reason)
    for (const waiter of waiters) waiter(reason)
  }
}

const exceeded = (ms: number): GatewayError =>
  new GatewayError('LG_DEADLINE_EXCEEDED', `no answer within ${ms} ms; raise deadline_ms or ask again`, {
    field: 'deadline_ms',
  })

/** A reason that is ours (a shutdown says LG_OVERLOADED) is kept. */
const cancelled = (reason: unknown): GatewayError =>
  reason instanceof GatewayError
    ? reason
    : new GatewayError('LG_CANCELLED', 'the request was cancelled before the answer was ready', { cause: reason })
