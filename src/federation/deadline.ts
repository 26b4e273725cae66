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
export function openDeadline(caller: AbortSignal, ms: number): Deadline {
  const controller = new AbortController()
  // Cheaper than a listener each; they live no longer than the request.
  const waiters: ((reason: GatewayError) => void)[] = []
  let state: Deadline['state'] = 'running'

  const end = (to: Deadline['state'], reason: GatewayError): void => {
    if (state !== 'running') return
    state = to
    controller.abort(reason)
    for (const waiter of waiters) waiter(reason)
  }
  const onCancelled = (): void => end('cancelled', cancelled(caller.reason))
  const timer = setTimeout(() => end('expired', exceeded(ms)), ms)
  if (caller.aborted) onCancelled()
  else caller.addEventListener('abort', onCancelled)

  return {
    signal: controller.signal,
    get state() {
      return state
    },
    race<T>(work: Promise<T>): Promise<T> {
      return new Promise((resolve, reject) => {
        if (controller.signal.aborted) reject(controller.signal.reason)
        else waiters.push(reject)
        work.then(resolve, reject)
      })
    },
    close(busy) {
      clearTimeout(timer)
      caller.removeEventListener('abort', onCancelled)
      if (busy && state === 'running') controller.abort(new GatewayError('LG_CANCELLED', 'the request is over'))
    },
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
