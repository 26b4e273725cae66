/**
 * What /openapi.json and /docs say of a route, and the pieces that many of them share. The parsers beside the routes decide;
 * test/server/schemas.test.ts checks that both accept and refuse the same requests.
 */
import Type, { type TObject, type TProperties, type TSchema } from 'typebox'
import { errorTable } from '../core/errors.js'
import { limits } from '../core/limits.js'

export const closed = <P extends TProperties>(properties: P, options = {}): TObject<P> =>
  Type.Object(properties, { additionalProperties: false, ...options })

export const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()])

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

export const metadata = Type.Record(Type.String(), Type.Unknown())

const errors = (...statuses: readonly number[]): Record<number, TSchema> =>
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
  readonly ok: TSchema
  readonly status?: number
  readonly errors: readonly number[]
  readonly body?: TSchema
  readonly params?: TSchema
  readonly querystring?: TSchema
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

export const ofContent = (schemas: Readonly<Record<string, TSchema>>, description: string) => ({
  description,
  content: Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }])),
})

export const noContent = Type.Null({ description: 'Done.' })

export const errorSeen = nullable(Type.Object({ code: Type.String(), message: Type.String(), at: Type.String() }))
