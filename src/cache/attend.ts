/**
 * Waiting for a source that may hang. A call that is not answered in time, or whose result is no longer wanted, is left
 * behind even when it ignores its signal: otherwise everybody who asks after it would wait for it too.
 */
import { GatewayError } from '../core/errors.js'
import { waitFor } from './single-flight.js'

interface Attention {
  /** How the error calls what was waited for. */
  readonly name: string
  readonly silenceMsMax: number
  /** Ends the waiting with its reason. */
  readonly lifetime: AbortSignal
}

/** What `call` answers. Throws LG_SOURCE_UNAVAILABLE when it is silent for too long. */
export async function attend<T>(attention: Attention, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const watch = startWatch(attention)
  try {
    return await watch.wait(call(watch.signal))
  } finally {
    watch.end()
  }
}

/** The items of `open`, each of which must come in time; how long the consumer takes does not count. */
export async function* attendEach<T>(
  attention: Attention,
  open: (signal: AbortSignal) => AsyncIterable<T>,
): AsyncGenerator<T, void> {
  const watch = startWatch(attention)
  const items = open(watch.signal)[Symbol.asyncIterator]()
  let done = false
  try {
    for (;;) {
      const next = await watch.wait(items.next())
      if (next.done === true) {
        done = true
        return
      }
      yield next.value
    }
  } finally {
    watch.end()
    if (!done) {
      const closing = Promise.resolve(items.return?.())
      closing.catch(() => {}) // why it ended is being thrown already
      if (!watch.signal.aborted) await closing
    }
  }
}

function startWatch({ name, silenceMsMax, lifetime }: Attention) {
  const controller = new AbortController()
  const { signal } = controller
  const leave = (): void => controller.abort(lifetime.reason)
  if (lifetime.aborted) leave()
  else lifetime.addEventListener('abort', leave, { once: true })
  return {
    signal,
    async wait<T>(work: Promise<T>): Promise<T> {
      const silent = (): void =>
        controller.abort(
          new GatewayError('LG_SOURCE_UNAVAILABLE', `${name}: the source did not answer within ${silenceMsMax} ms`),
        )
      const timer = setTimeout(silent, silenceMsMax)
      try {
        return await waitFor(work, signal)
      } finally {
        clearTimeout(timer)
      }
    },
    end: (): void => lifetime.removeEventListener('abort', leave),
  }
}
