/** One search request, from anything to a Query: for HTTP, batches, the command line and `verify`. */
import type { Consistency, RecallContract } from '../core/contract.js'
import { GatewayError } from '../core/errors.js'
import { backendId, type CollectionRef, formatCollection } from '../core/generation.js'
import { parseJson } from '../core/json.js'
import { limits } from '../core/limits.js'
import { type Predicate, parsePredicate, predicateToJson } from '../core/predicate.js'
import { parsePredicateText } from '../core/predicate-text.js'
import type { AsOf, CollectionPattern, Query, QueryVector } from '../federation/query.js'
import {
  type Fields,
  invalid,
  malformed,
  readArray,
  readBoolean,
  readId,
  readObject,
  readText,
  readVector,
  readVectorBytes,
  readWhole,
  refusal,
  refuseUnknown,
} from './request-fields.js'

/** What configuration decides about queries. */
export interface QueryRules {
  readonly kMax: number
  /** For queries that name no deadline. */
  readonly deadlineMs: number
}

const queryFields: ReadonlySet<string> = new Set([
  'vector',
  'text',
  'row',
  'k',
  'ef_search',
  'collections',
  'fusion',
  'filter',
  'select',
  'include_vectors',
  'recall',
  'max_distance',
  'consistency',
  'as_of',
  'deadline_ms',
  'require_complete',
  'max_cost',
  'receipt',
])

/**
 * @param body a request body, parsed so that integers past 2^53 are bigint; `vector` may also be a Float32Array
 * @param prefix what comes before field names in messages, e.g. `queries[3].`
 * Throws LG_UNKNOWN_FIELD, LG_MALFORMED_REQUEST, LG_INVALID_REQUEST, LG_TOO_LARGE, LG_UNSUPPORTED.
 */
export function parseQuery(body: unknown, rules: QueryRules, prefix = ''): Query {
  const fields = readObject(body, prefix === '' ? 'body' : prefix.slice(0, -1))
  refuseUnknown(fields, queryFields, prefix)
  const target = parseTarget(fields, prefix)
  const k = parseK(fields.k, `${prefix}k`, rules.kMax)
  if (fields.ef_search !== undefined)
    readWhole(fields.ef_search, `${prefix}ef_search`, { min: 0, max: 2 ** 32 - 1, limit: 'ef_search' })
  const filter = fields.filter === undefined ? null : parseFilter(fields.filter, `${prefix}filter`)
  return {
    target,
    k,
    collections: fields.collections === undefined ? null : parsePatterns(fields.collections, `${prefix}collections`),
    fusion: fields.fusion === undefined ? null : parseFusion(fields.fusion, `${prefix}fusion`),
    filter,
    select: fields.select === undefined ? null : parseSelect(fields.select, `${prefix}select`),
    includeVectors: optionalBoolean(fields.include_vectors, `${prefix}include_vectors`),
    recall: fields.recall === undefined ? { kind: 'exact' } : parseRecall(fields.recall, `${prefix}recall`),
    distanceMax:
      fields.max_distance === undefined ? Infinity : parseDistance(fields.max_distance, `${prefix}max_distance`),
    consistency: fields.consistency === undefined ? null : parseConsistency(fields.consistency, `${prefix}consistency`),
    asOf: fields.as_of === undefined ? [] : parseAsOf(fields.as_of, `${prefix}as_of`),
    deadlineMs:
      fields.deadline_ms === undefined
        ? rules.deadlineMs
        : readWhole(fields.deadline_ms, `${prefix}deadline_ms`, {
            min: 1,
            max: limits.deadlineMsMax,
            limit: 'deadlineMsMax',
          }),
    requireComplete: optionalBoolean(fields.require_complete, `${prefix}require_complete`),
    costBytesMax: fields.max_cost === undefined ? Infinity : parseMaxCost(fields.max_cost, `${prefix}max_cost`),
    receipt: fields.receipt === undefined ? 'summary' : parseReceipt(fields.receipt, `${prefix}receipt`),
    canonical: () => canonicalRequest(fields, target, k, filter),
  }
}

/**
 * A vector as little-endian float32 bytes, with the other fields in the query string: lists comma-separated or repeated,
 * objects as JSON, a filter as JSON or text.
 */
export function parseRawQuery(bytes: Uint8Array, parameters: Fields, rules: QueryRules): Query {
  if (parameters.vector !== undefined)
    throw refusal('LG_INVALID_REQUEST', 'vector', 'expected in the body only, found in the query string too')
  const fields: Record<string, unknown> = { vector: readVectorBytes(bytes, 'vector') }
  for (const [name, value] of Object.entries(parameters)) fields[name] = readParameter(name, value)
  return parseQuery(fields, rules)
}

/** Parameters that are text; of all others, what reads as JSON is JSON. */
const listParameters: ReadonlySet<string> = new Set(['collections', 'select'])

function readParameter(name: string, value: unknown): unknown {
  if (listParameters.has(name)) {
    const texts = Array.isArray(value) ? value : [value]
    return texts.flatMap((text: string) => (text === '' ? [] : text.split(',')))
  }
  if (typeof value !== 'string') throw invalid(name, 'one value', value)
  if (value.startsWith('{')) return parseJson(value, name)
  if (name === 'filter' || name === 'fusion' || name === 'as_of') return value
  if (value === 'true') return true
  if (value === 'false') return false
  return /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(value) ? parseJson(value, name) : value
}

function parseTarget(fields: Fields, prefix: string): QueryVector {
  const given = targetFields.filter((name) => fields[name] !== undefined)
  if (given.length > 1)
    throw refusal(
      'LG_INVALID_REQUEST',
      `${prefix}${given[1]}`,
      `expected only one of vector, text and row, found ${given.join(' and ')}`,
    )
  switch (given[0]) {
    case 'vector':
      return { kind: 'vector', vector: readVector(fields.vector, `${prefix}vector`) }
    case 'row':
      return parseRowTarget(fields.row, `${prefix}row`)
    case 'text':
      readText(fields.text, `${prefix}text`, limits.bodyBytesMax)
      throw refusal('LG_UNSUPPORTED', `${prefix}text`, 'this gateway has no embedding model; send a vector or a row')
    default:
      throw malformed(`${prefix}vector`, 'an array of numbers (or a row)', undefined)
  }
}

const targetFields = ['vector', 'text', 'row'] as const

const rowFields: ReadonlySet<string> = new Set(['collection', 'id'])

function parseRowTarget(value: unknown, field: string): QueryVector {
  const row = readObject(value, field, 'an object with collection and id')
  refuseUnknown(row, rowFields, `${field}.`)
  const collection = parseCollection(row.collection, `${field}.collection`)
  if (collection.collection === '*')
    throw invalid(`${field}.collection`, 'the one collection that has the row, "backend/collection"', row.collection)
  return {
    kind: 'row',
    collection,
    id: readId(row.id, `${field}.id`),
  }
}

function parseK(value: unknown, field: string, kMax: number): number {
  // An RVF server's words.
  if (value === 0) throw new GatewayError('LG_INVALID_REQUEST', 'k must be > 0', { field })
  return readWhole(value, field, { min: 1, max: kMax, limit: 'query.k_max' })
}

/** `backend/collection`; the collection's name may hold more slashes. */
function parseCollection(value: unknown, field: string): CollectionRef {
  const name = readText(value, field, limits.collectionNameBytesMax * 2 + 1)
  const slash = name.indexOf('/')
  if (slash < 1 || slash === name.length - 1) throw invalid(field, '"backend/collection"', name)
  return { backend: backendId(name.slice(0, slash)), collection: name.slice(slash + 1) }
}

/** `backend/collection` or `backend/*`. */
function parsePattern(value: unknown, field: string): CollectionPattern {
  return parseCollection(value, field)
}

function parsePatterns(value: unknown, field: string): readonly CollectionPattern[] {
  const names = readArray(value, field, '"backend/collection" or "backend/*"')
  if (names.length === 0) throw invalid(field, 'at least one collection (leave it out to search all)', value)
  if (names.length > limits.filterListMax)
    throw refusal('LG_TOO_LARGE', field, `expected at most ${limits.filterListMax} collections, found ${names.length}`)
  return names.map((name, i) => parsePattern(name, `${field}[${i}]`))
}

function parseFusion(value: unknown, field: string): 'rrf' {
  if (value !== 'rrf') throw unlisted(field, '"rrf"', value)
  return value
}

function parseFilter(value: unknown, field: string): Predicate {
  return typeof value === 'string' ? parsePredicateText(value, field) : parsePredicate(value, field)
}

function parseSelect(value: unknown, field: string): readonly string[] {
  return readArray(value, field, 'column names').map((name, i) => {
    if (typeof name !== 'string') throw malformed(`${field}[${i}]`, 'a column name', name)
    return name
  })
}

function parseRecall(value: unknown, field: string): RecallContract {
  if (value === 'exact') return { kind: 'exact' }
  if (typeof value === 'number') {
    if (value === 1) return { kind: 'exact' }
    if (!(value > 0 && value < 1)) throw invalid(field, 'a recall target between 0 and 1', value)
    return { kind: 'target', recall: value }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw unlisted(field, '"exact", {"certified": miss probability} or a recall target between 0 and 1', value)
  refuseUnknown(value as Fields, certifiedFields, `${field}.`)
  const missProbability = (value as Fields).certified
  if (typeof missProbability !== 'number')
    throw malformed(`${field}.certified`, 'a miss probability between 0 and 1', missProbability)
  if (!(missProbability > 0 && missProbability < 1))
    throw invalid(
      `${field}.certified`,
      'a miss probability between 0 and 1 (for none at all: "exact")',
      missProbability,
    )
  return { kind: 'certified', missProbability }
}

const certifiedFields: ReadonlySet<string> = new Set(['certified'])

function parseDistance(value: unknown, field: string): number {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw malformed(field, 'a number', value)
  const distance = Number(value)
  if (!Number.isFinite(distance)) throw invalid(field, 'a finite number', value)
  return distance
}

function parseConsistency(value: unknown, field: string): Consistency {
  if (value === 'fresh' || value === 'frozen') return { kind: value }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw unlisted(field, '"fresh", {"ttl_ms": n} or "frozen"', value)
  refuseUnknown(value as Fields, ttlFields, `${field}.`)
  const range = { min: 0, max: ttlMsMax, limit: 'ttl_ms' }
  return { kind: 'ttl', ttlMs: readWhole((value as Fields).ttl_ms, `${field}.ttl_ms`, range) }
}

const ttlFields: ReadonlySet<string> = new Set(['ttl_ms'])

/** A year. */
const ttlMsMax = 365 * 86_400_000

function parseAsOf(value: unknown, field: string): readonly AsOf[] {
  if (typeof value === 'string') {
    const atMs = parseTime(value)
    if (atMs === null)
      throw invalid(
        field,
        'an RFC 3339 time such as "2026-01-31T12:00:00Z" (or {"backend/collection": generation})',
        value,
      )
    return [{ pattern: null, at: { kind: 'time', atMs } }]
  }
  const entries = Object.entries(readObject(value, field, 'an RFC 3339 time or an object'))
  if (entries.length === 0) throw invalid(field, 'at least one collection', value)
  return entries.map(([name, at]) => ({ pattern: parsePattern(name, field), at: parseVersion(at, `${field}.${name}`) }))
}

function parseVersion(value: unknown, field: string): AsOf['at'] {
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return { kind: 'generation', generation: String(value) }
  const text = readText(value, field, limits.idBytesMax)
  const atMs = parseTime(text)
  return atMs === null ? { kind: 'generation', generation: text } : { kind: 'time', atMs }
}

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/

/** Milliseconds since the epoch; null when the text is no RFC 3339 time. */
function parseTime(text: string): number | null {
  if (!rfc3339.test(text)) return null
  const atMs = Date.parse(text.replace(' ', 'T').toUpperCase())
  return Number.isNaN(atMs) ? null : atMs
}

const costFields: ReadonlySet<string> = new Set(['bytes'])

/** Bytes. */
function parseMaxCost(value: unknown, field: string): number {
  const cost = readObject(value, field, 'an object with bytes')
  refuseUnknown(cost, costFields, `${field}.`)
  return readWhole(cost.bytes, `${field}.bytes`, { min: 0, max: Number.MAX_SAFE_INTEGER, limit: 'max_cost.bytes' })
}

function parseReceipt(value: unknown, field: string): Query['receipt'] {
  if (value === 'full') return 'full'
  if (typeof value !== 'boolean') throw unlisted(field, 'true, false or "full"', value)
  return value ? 'summary' : 'none'
}

const optionalBoolean = (value: unknown, field: string): boolean => value !== undefined && readBoolean(value, field)

/** A string that is none of the words is the right type but not allowed; anything else is the wrong type. */
const unlisted = (field: string, expected: string, found: unknown): GatewayError =>
  typeof found === 'string' ? invalid(field, expected, found) : malformed(field, expected, found)

/** Fields that `canonical` repeats as the caller wrote them; the others are spelled in one way or change no answer. */
const repeatedFields = [
  'collections',
  'fusion',
  'select',
  'include_vectors',
  'recall',
  'max_distance',
  'consistency',
  'as_of',
  'deadline_ms',
  'require_complete',
  'max_cost',
  'receipt',
] as const

function canonicalRequest(
  fields: Fields,
  target: QueryVector,
  k: number,
  filter: Predicate | null,
): ReturnType<Query['canonical']> {
  const canonical: Record<string, unknown> =
    target.kind === 'vector'
      ? { vector: Array.from(target.vector) }
      : { row: { collection: formatCollection(target.collection), id: target.id } }
  canonical.k = k
  if (filter !== null) canonical.filter = predicateToJson(filter)
  for (const name of repeatedFields) if (fields[name] !== undefined) canonical[name] = fields[name]
  return canonical
}
