/** Ingest and delete as RVF clients send them, over HTTP and TCP. */
import { GatewayError } from '../core/errors.js'
import type { RowId } from '../core/id.js'
import type { Gateway } from '../federation/gateway.js'
import {
  type Fields,
  malformed,
  readArray,
  readId,
  readObject,
  readVector,
  readWhole,
  refuseUnknown,
} from './request-fields.js'

/** Rows as they came: their vectors may differ in dimension. */
export interface IngestRows {
  readonly ids: readonly RowId[]
  /** float32, one a row. */
  readonly vectors: readonly Float32Array[]
  /** Column to JSON value, one object a row. */
  readonly metadata: readonly Fields[] | null
}

interface IngestReply {
  readonly accepted: number
  readonly rejected: number
  readonly epoch: number
}

const ingestFields: ReadonlySet<string> = new Set(['vectors', 'ids', 'metadata'])

export function parseIngest(body: unknown): IngestRows {
  const fields = readObject(body, 'body')
  refuseUnknown(fields, ingestFields)
  const vectors = readArray(fields.vectors, 'vectors', 'vectors')
  const ids = readArray(fields.ids, 'ids', 'ids')
  const metadata =
    fields.metadata === undefined || fields.metadata === null ? null : readArray(fields.metadata, 'metadata', 'entries')
  // An RVF server's words.
  if (vectors.length !== ids.length)
    throw new GatewayError('LG_INVALID_REQUEST', 'vectors and ids must have the same length', { field: 'ids' })
  if (metadata !== null && metadata.length !== ids.length)
    throw new GatewayError('LG_INVALID_REQUEST', 'metadata: expected one entry a vector', { field: 'metadata' })
  return {
    ids: ids.map((id, i) => readId(id, `ids[${i}]`)),
    vectors: vectors.map((vector, i) => readVector(vector, `vectors[${i}]`)),
    metadata: metadata?.map((entry, i) => readEntry(entry, `metadata[${i}]`)) ?? null,
  }
}

/** One row's metadata: RVF's { field_id, value }, several of them, an object of columns, or null. */
function readEntry(entry: unknown, field: string): Fields {
  if (entry === null) return {}
  if (Array.isArray(entry))
    return Object.assign({}, ...entry.map((item, i) => readField(readObject(item, `${field}[${i}]`), `${field}[${i}]`)))
  const object = readObject(entry, field, '{"field_id", "value"} or an object of columns')
  return 'field_id' in object ? readField(object, field) : object
}

const entryFields: ReadonlySet<string> = new Set(['field_id', 'value'])

function readField(object: Fields, field: string): Fields {
  refuseUnknown(object, entryFields, `${field}.`)
  const number = readWhole(object.field_id, `${field}.field_id`, { min: 0, max: 65_535, limit: 'u16' })
  const value = object.value
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'bigint')
    throw malformed(`${field}.value`, 'a number or a string', value)
  return { [`field_${number}`]: value }
}

const deleteFields: ReadonlySet<string> = new Set(['ids'])

export function parseDelete(body: unknown): readonly RowId[] {
  const fields = readObject(body, 'body')
  refuseUnknown(fields, deleteFields)
  const ids = readArray(fields.ids, 'ids', 'ids')
  // An RVF server's words.
  if (ids.length === 0) throw new GatewayError('LG_INVALID_REQUEST', 'ids must not be empty', { field: 'ids' })
  return ids.map((id, i) => readId(id, `ids[${i}]`))
}

/**
 * Writes the rows whose dimension is the collection's (the first row's while there is none) in one step; the others are
 * counted as rejected, as an RVF server does.
 */
export async function ingestRows(
  gateway: Gateway,
  rows: IngestRows,
  options: { readonly signal: AbortSignal },
): Promise<IngestReply> {
  const status = await gateway.writableStatus(options)
  const dimension = status.dimension ?? rows.vectors[0]?.length ?? 0
  const fitting = rows.vectors.flatMap((vector, i) => (vector.length === dimension ? [i] : []))
  const vectors = new Float32Array(fitting.length * dimension)
  for (const [at, i] of fitting.entries()) vectors.set(rows.vectors[i]!, at * dimension)
  const { metadata } = rows
  const reply = await gateway.ingest(
    {
      ids: fitting.map((i) => rows.ids[i]!),
      vectors,
      dimension,
      metadata: metadata === null ? null : fitting.map((i) => metadata[i]!),
    },
    options,
  )
  const misfits = rows.vectors.length - fitting.length
  return { accepted: reply.accepted, rejected: reply.rejected + misfits, epoch: reply.epoch }
}
