/**
 * The one error class and the one table of codes. docs/errors.md is checked against this table in both directions
 * (test/core/errors.test.ts).
 */

/** Whether the same request may succeed later without being changed. */
type Retry = 'no' | 'later' | 'after-refresh'

interface ErrorEntry {
  /** HTTP status. */
  readonly status: number
  /** Numeric `code` of an RVF error body. */
  readonly rvf: number
  readonly retry: Retry
  readonly title: string
}

export const errorTable = {
  LG_INVALID_REQUEST: { status: 400, rvf: 400, retry: 'no', title: 'A field has a value that is not allowed.' },
  LG_UNKNOWN_FIELD: {
    status: 400,
    rvf: 400,
    retry: 'no',
    title: 'The request has a field this endpoint does not know.',
  },
  LG_MALFORMED_REQUEST: { status: 422, rvf: 422, retry: 'no', title: 'A field is missing or has the wrong type.' },
  LG_DIMENSION_MISMATCH: {
    status: 400,
    rvf: 0x0200,
    retry: 'no',
    title: 'The query vector and the collection differ in dimension.',
  },
  LG_MIXED_SPACES: {
    status: 400,
    rvf: 400,
    retry: 'no',
    title: 'The collections differ in dimension, metric or model, so distances cannot be merged.',
  },
  LG_UNAUTHENTICATED: { status: 401, rvf: 401, retry: 'no', title: 'Credentials are missing or not valid.' },
  LG_FORBIDDEN: { status: 403, rvf: 403, retry: 'no', title: 'The caller may not do this.' },
  LG_READ_ONLY: {
    status: 403,
    rvf: 0x0305,
    retry: 'no',
    title: 'The collection cannot be written through this gateway.',
  },
  LG_NOT_FOUND: { status: 404, rvf: 404, retry: 'no', title: 'There is no such route.' },
  LG_COLLECTION_NOT_FOUND: { status: 404, rvf: 0x0106, retry: 'no', title: 'There is no such collection.' },
  LG_ROW_NOT_FOUND: { status: 404, rvf: 404, retry: 'no', title: 'The collection has no row with this id.' },
  LG_METHOD_NOT_ALLOWED: { status: 405, rvf: 405, retry: 'no', title: 'The route exists, but not for this method.' },
  LG_REQUEST_TIMEOUT: { status: 408, rvf: 408, retry: 'later', title: 'The request did not arrive in time.' },
  LG_CONFLICT: { status: 409, rvf: 409, retry: 'no', title: 'The change contradicts what exists.' },
  LG_LOCK_HELD: { status: 409, rvf: 0x0300, retry: 'later', title: 'Another process holds the lock.' },
  LG_GENERATION_EXPIRED: {
    status: 409,
    rvf: 409,
    retry: 'after-refresh',
    title: 'The generation asked for is no longer (or not yet) readable.',
  },
  LG_TOO_LARGE: { status: 413, rvf: 413, retry: 'no', title: 'A named limit on size was passed.' },
  LG_UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    rvf: 415,
    retry: 'no',
    title: 'The content type is not one this endpoint reads.',
  },
  LG_UNSUPPORTED: {
    status: 422,
    rvf: 422,
    retry: 'no',
    title: 'The request is well formed, but this source or column cannot do it.',
  },
  LG_BAD_ROW: { status: 422, rvf: 422, retry: 'no', title: 'A part holds a row whose vector or id is not usable.' },
  LG_RATE_LIMITED: { status: 429, rvf: 429, retry: 'later', title: 'Too many requests.' },
  LG_HEADERS_TOO_LARGE: { status: 431, rvf: 431, retry: 'no', title: 'Request line and headers are too long.' },
  LG_CANCELLED: { status: 499, rvf: 499, retry: 'no', title: 'The caller went away before the answer was ready.' },
  LG_INTERNAL: { status: 500, rvf: 500, retry: 'no', title: 'A defect in lakegate.' },
  LG_CERTIFICATE_VIOLATED: {
    status: 500,
    rvf: 500,
    retry: 'no',
    title: 'An audit found an answer that its certificate rules out. Only in the log and on /ws/live.',
  },
  LG_CORRUPT: {
    status: 500,
    rvf: 500,
    retry: 'later',
    title: 'Bytes failed their verification and could not be repaired from the source.',
  },
  LG_OVER_BUDGET: {
    status: 503,
    rvf: 503,
    retry: 'no',
    title: 'The collection does not fit the memory or disk budget.',
  },
  LG_OVERLOADED: { status: 503, rvf: 503, retry: 'later', title: 'The gateway is busy or shutting down.' },
  LG_PRIMING: { status: 503, rvf: 503, retry: 'later', title: 'The first pull of the collection is still running.' },
  LG_SOURCE_UNAVAILABLE: { status: 503, rvf: 503, retry: 'later', title: 'The source could not be read.' },
  LG_INCOMPLETE: {
    status: 503,
    rvf: 503,
    retry: 'later',
    title: 'A complete answer was demanded and a collection could not answer.',
  },
  LG_DEADLINE_EXCEEDED: {
    status: 504,
    rvf: 504,
    retry: 'later',
    title: 'The deadline passed before an answer was ready.',
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof errorTable

interface ErrorOptions {
  /** Request or configuration field at fault, as the caller spells it, e.g. `vector` or `filter.and[1]`. */
  readonly field?: string
  /** When to try again, milliseconds; becomes Retry-After. */
  readonly retryAfterMs?: number
  readonly cause?: unknown
}

/** Every failure a caller may see. The message says what was expected, what was found and what to do. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly code: ErrorCode
  readonly field: string | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.field = options.field
    this.retryAfterMs = options.retryAfterMs
  }

  get status(): number {
    return errorTable[this.code].status
  }

  get rvfCode(): number {
    return errorTable[this.code].rvf
  }

  get retry(): Retry {
    return errorTable[this.code].retry
  }
}

/** The refusal of what is asked of a gateway that is closing, or was under way when it closed. */
export const shuttingDown = (options: ErrorOptions = {}): GatewayError =>
  new GatewayError('LG_OVERLOADED', 'the gateway is shutting down', options)

/** Wraps what is not ours: aborts become LG_CANCELLED or LG_DEADLINE_EXCEEDED, anything else is a defect (LG_INTERNAL). */
export function toGatewayError(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  if (error instanceof Error && error.name === 'TimeoutError')
    return new GatewayError('LG_DEADLINE_EXCEEDED', 'the deadline passed before an answer was ready', { cause: error })
  if (error instanceof Error && error.name === 'AbortError')
    return new GatewayError('LG_CANCELLED', 'the request was cancelled', { cause: error })
  return new GatewayError('LG_INTERNAL', 'internal error', { cause: error })
}
