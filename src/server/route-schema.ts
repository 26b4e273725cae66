/**
 * What /openapi.json and /docs say of a route, and the pieces that many of them share. The parsers beside the routes decide;
 * test/server/schemas.test.ts checks that both accept and refuse the same requests.
 */

import { errorTable } from '../core/errors.js'
import { limits } from '../core/limits.js'
import { type Schema, Type } from './json-schema.js'

export const closed = (properties: Readonly<Record<string, Schema>>, options = {}): Schema =>
  Type.Object(properties, { additionalProperties: false, ...options })

export const nullable = (schema: Schema): Schema => Type.Union([schema, Type.Null()])

export const words = (...values: readonly string[]) => Type.Union(values.map((value) => Type.Literal(value)))

export const whole = (minimum: number, maximum = Number.MAX_SAFE_INTEGER, options = {}) =>
  Type.Integer({ minimum, maximum, ...options })

export const rowId = Type.Union(
  [Type.Integer({ minimum: -(2 ** 63), exclusiveMaximum: 2 ** 64 }), Type.String({ maxLength: limits.idBytesMax })],
  {
    description: 'A 64-bit integer, written in full, or a string. 5 and "5" are different ids.',
  },
)

const float32Max = 3.4028234663852886e38

export const vector = Type.Array(Type.Number({ minimum: -float32Max, maximum: float32Max }), {
  minItems: 1,
  maxItems: limits.dimensionMax,
  description: 'Rounded to float32.',
})

export const metric = words('l2', 'cosine', 'dot')

export const metadata = Type.Record(Type.Unknown())

const errors = (...statuses: readonly number[]): Record<number, Schema> =>
  Object.fromEntries(
    [...new Set(statuses)].map((status) => [status, Type.Ref('Error#', { description: titlesOf(status) })]),
  )

const titlesOf = (status: number): string =>
  Object.entries(errorTable)
    .filter(([, entry]) => entry.status === status)
    .map(([code, entry]) => `${code}: ${entry.title}`)
    .join(' ')

export const bodyErrors = [400, 413, 415, 422, 503] as const

const noQuery = closed({})

export const collectionParams = Type.Object({ backend: Type.String(), collection: Type.String() })

interface RouteDoc {
  readonly summary: string
  readonly tag: string
  readonly ok: Schema
  readonly status?: number
  readonly errors: readonly number[]
  readonly body?: Schema
  readonly params?: Schema
  readonly querystring?: Schema
  readonly description?: string
}

/** A Fastify route schema. */
export function route(doc: RouteDoc) {
  return {
    summary: doc.summary,
    tags: [doc.tag],
    ...(doc.description === undefined ? {} : { description: doc.description }),
    ...(doc.body === undefined ? {} : { body: doc.body }),
    ...(doc.params === undefined ? {} : { params: doc.params }),
    querystring: doc.querystring ?? noQuery,
    response: { [doc.status ?? 200]: doc.ok, ...errors(403, 500, 503, ...doc.errors) },
  }
}

export const binary = Type.String({ format: 'binary' })

export const ofContent = (schemas: Readonly<Record<string, Schema>>, description: string) => ({
  description,
  content: Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }])),
})

export const noContent = Type.Null({ description: 'Done.' })

export const errorSeen = nullable(Type.Object({ code: Type.String(), message: Type.String(), at: Type.String() }))
