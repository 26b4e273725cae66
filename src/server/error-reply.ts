/** Every failure as one JSON body: RVF's { error, code } and ours. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError, toGatewayError } from '../core/errors.js'

export interface ErrorBody {
  readonly error: string
  readonly code: number
  readonly lg_code: string
  readonly field?: string
  readonly retry: string
  readonly retry_after_ms?: number
  readonly docs: string
}

export function errorBody(error: GatewayError): ErrorBody {
  return {
    error: error.message,
    code: error.rvfCode,
    lg_code: error.code,
    ...(error.field === undefined ? {} : { field: error.field }),
    retry: error.retry,
    ...(error.retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(error.retryAfterMs) }),
    docs: `docs/errors.md#${error.code.toLowerCase()}`,
  }
}

/** What Fastify itself refuses, in our words. */
function refusedByFastify(error: FastifyError, request: FastifyRequest): GatewayError | null {
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new GatewayError(
        'LG_TOO_LARGE',
        `body: expected at most ${request.routeOptions.bodyLimit} bytes (the limit server.body_limit)`,
        { field: 'body' },
      )
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return unsupportedMediaType(request)
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new GatewayError('LG_INVALID_REQUEST', 'body: its length differs from the header Content-Length', {
        field: 'body',
      })
    // The body ended before its time: the client hung up or was too slow.
    case 'ECONNRESET':
      return new GatewayError('LG_CANCELLED', 'the client went away before its request was whole')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new GatewayError('LG_INVALID_REQUEST', 'path: expected a valid percent-encoded path', { field: 'path' })
    default:
      return null
  }
}

export const unsupportedEncoding = (found: string): GatewayError =>
  new GatewayError(
    'LG_UNSUPPORTED_MEDIA_TYPE',
    `content-encoding: expected none (bodies are read as they are), found ${JSON.stringify(found.slice(0, 40))}`,
    { field: 'content-encoding' },
  )

const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i

/** JSON is UTF-8 (RFC 8259); read as anything else its bytes would mean other text. */
export function refuseOtherCharset(request: FastifyRequest): void {
  const found = charset.exec(request.headers['content-type'] ?? '')?.[1]
  if (found === undefined || /^(utf-?8|us-ascii)$/i.test(found)) return
  throw new GatewayError(
    'LG_UNSUPPORTED_MEDIA_TYPE',
    `content-type: expected charset utf-8 (or none), found ${JSON.stringify(found.slice(0, 40))}`,
    { field: 'content-type' },
  )
}

export const unsupportedMediaType = (request: FastifyRequest, expected = 'application/json'): GatewayError =>
  new GatewayError(
    'LG_UNSUPPORTED_MEDIA_TYPE',
    `content-type: expected ${expected}, found ${request.headers['content-type'] ?? 'none'}`,
    { field: 'content-type' },
  )

export function sendError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const known = thrown instanceof GatewayError ? thrown : refusedByFastify(thrown as FastifyError, request)
  const error = known ?? toGatewayError(thrown)
  // A busy source or a passed deadline (503, 504) is an operator's news, but no defect.
  if (error.status >= 500)
    request.log[error.status === 500 ? 'error' : 'warn'](
      { reqId: request.id, err: error, cause: error.cause },
      error.code,
    )
  const body = errorBody(error)
  if (error.retryAfterMs !== undefined) reply.header('retry-after', Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
  // What went wrong inside is for the log, not for callers.
  const shown =
    error.code === 'LG_INTERNAL'
      ? { ...body, error: `internal error; the log tells more under request ${request.id}` }
      : body
  reply.code(error.status).type('application/json; charset=utf-8').send(JSON.stringify(shown))
}
