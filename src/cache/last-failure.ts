import type { Clock } from '../core/clock.js'
import { type GatewayError, shuttingDown, toGatewayError } from '../core/errors.js'
import type { CollectionRef } from '../core/generation.js'
import type { CacheEvent, ErrorSeen } from './vector-cache.js'

interface FailureOptions {
  readonly ref: CollectionRef
  readonly clock: Clock
  readonly emit: (event: CacheEvent) => void
  /** Aborts when the cache closes: what fails then says nothing of the source. */
  readonly lifetime: AbortSignal
}

/** Why a collection's source could not be checked or read last, until it could again. */
export class LastFailure {
  readonly #options: FailureOptions
  #failure: { readonly error: GatewayError; readonly atMs: number } | null = null

  constructor(options: FailureOptions) {
    this.#options = options
  }

  get seen(): ErrorSeen | null {
    if (this.#failure === null) return null
    const { error, atMs } = this.#failure
    return { code: error.code, message: error.message, atMs }
  }

  /** Answers what callers are to be told. */
  note(error: unknown): GatewayError {
    const { clock, lifetime, ref, emit } = this.#options
    if (lifetime.aborted) return shuttingDown({ cause: error })
    const failure = toGatewayError(error)
    if (failure === this.#failure?.error) return failure // a check's failure that became its job's
    this.#failure = { error: failure, atMs: clock.now() }
    emit({ kind: 'failed', ref, code: failure.code, message: failure.message })
    return failure
  }

  clear(): void {
    this.#failure = null
  }
}
