/** Schemas of searches: requests, answers, receipts. */
import Type, { type TSchema } from 'typebox'
import { errorTable } from '../core/errors.js'
import { limits } from '../core/limits.js'
import {
  binary,
  bodyErrors,
  closed,
  metadata,
  metric,
  nullable,
  ofContent,
  route,
  rowId,
  vector,
  whole,
  words,
} from './route-schema.js'

const collectionName = Type.String({ pattern: '^[^/]+/(?!\\*$).+$', description: '"backend/collection"' })
const collectionPattern = Type.String({ pattern: '^[^/]+/.+$' })

const predicate = Type.Union([Type.Object({}), Type.String()], {
  description:
    'A predicate over metadata columns: {"col": value}; {"col": {"eq"|"ne"|"lt"|"le"|"gt"|"ge": v, "in": […], "between": [a, b], "is_null": bool, "contains": v, "starts_with": s, "like": s}}; {"and"|"or": […]}; {"not": {…}}. Or the same as text: section = \'net\' AND size < 1000.',
})

const asOf = Type.Union(
  [Type.String({ minLength: 1 }), Type.Record(Type.String(), Type.Union([Type.String(), Type.Integer()]))],
  {
    description: 'An RFC 3339 time, or {"backend/collection" or "backend/*": generation or time}.',
  },
)

const queryProperties = {
  vector: Type.Optional(vector),
  text: Type.Optional(Type.String({ description: 'Needs an embedding model; without one it is refused.' })),
  row: Type.Optional(
    closed(
      { collection: collectionName, id: rowId },
      { description: 'Nearest to an existing row, which is part of the answer.' },
    ),
  ),
  k: whole(1, limits.kMax, { default: 10, description: 'How many results. Required.' }),
  ef_search: Type.Optional(whole(0, 2 ** 32 - 1, { description: 'Accepted for RVF clients; changes nothing.' })),
  collections: Type.Optional(
    Type.Array(collectionPattern, { minItems: 1, description: '"backend/collection" or "backend/*". Default: all.' }),
  ),
  fusion: Type.Optional(Type.Literal('rrf')),
  filter: Type.Optional(predicate),
  select: Type.Optional(
    Type.Array(Type.String(), { description: 'Metadata columns to return. Default: all; [] for none.' }),
  ),
  include_vectors: Type.Optional(Type.Boolean({ default: false })),
  recall: Type.Optional(
    Type.Union(
      [
        Type.Literal('exact'),
        closed({ certified: Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 }) }),
        Type.Number({ exclusiveMinimum: 0, maximum: 1 }),
      ],
      { default: 'exact' },
    ),
  ),
  max_distance: Type.Optional(Type.Number()),
  consistency: Type.Optional(Type.Union([words('fresh', 'frozen'), closed({ ttl_ms: whole(0, 365 * 86_400_000) })])),
  as_of: Type.Optional(asOf),
  deadline_ms: Type.Optional(whole(1, limits.deadlineMsMax)),
  require_complete: Type.Optional(Type.Boolean({ default: false })),
  max_cost: Type.Optional(
    closed(
      { bytes: whole(0) },
      { description: 'Bytes that sources may read for this query: what first pulls would read. More is refused.' },
    ),
  ),
  receipt: Type.Optional(Type.Union([Type.Boolean(), Type.Literal('full')], { default: true })),
}

export const queryBody = closed(queryProperties, {
  $id: 'Query',
  description: 'Exactly one of vector, text and row.',
  oneOf: [{ required: ['vector'] }, { required: ['text'] }, { required: ['row'] }],
  examples: [
    { vector: [0.25, -0.5], k: 3 },
    {
      row: { collection: 'local/default', id: 1 },
      k: 2,
      filter: { size: { lt: 1000 } },
      select: ['size'],
      include_vectors: true,
      recall: { certified: 1e-6 },
      consistency: { ttl_ms: 5000 },
      receipt: 'full',
    },
    {
      vector: [1, 0],
      k: 10,
      collections: ['local/*'],
      filter: "name = 'x' OR size IS NULL",
      recall: 0.95,
      max_distance: 2,
    },
  ],
})

const certificate = Type.Object(
  {
    kind: words('proven', 'certified', 'target', 'fused'),
    miss_probability: Type.Optional(Type.Number()),
    recall_target: Type.Optional(Type.Number()),
    recall_expected: Type.Optional(
      Type.Number({
        description: 'target: share of the true neighbours expected, by held-out rows of the collection.',
      }),
    ),
  },
  { $id: 'Certificate' },
)

const sourceReceipt = Type.Object({
  backend: Type.String(),
  collection: Type.String(),
  status: words('ok', 'failed', 'skipped', 'priming'),
  code: Type.Optional(Type.String()),
  reason: Type.Optional(Type.String()),
  retry_after_ms: Type.Optional(Type.Integer()),
  generation: Type.Optional(Type.String()),
  witness: Type.Optional(Type.String()),
  rows: Type.Optional(Type.Integer()),
  route: Type.Optional(words('cache', 'pushdown')),
  metric: Type.Optional(metric),
  certificate: Type.Optional(Type.Ref('Certificate#')),
  freshness: Type.Optional(Type.Object({ checked_at: Type.String(), age_ms: Type.Number(), policy: Type.String() })),
  search_ms: Type.Optional(Type.Number()),
  wait_ms: Type.Optional(Type.Number()),
  bytes_scanned: Type.Optional(Type.Integer()),
})

const receipt = Type.Object(
  {
    complete: Type.Boolean(),
    metric: Type.Optional(metric),
    k: Type.Integer(),
    certificate: Type.Ref('Certificate#'),
    sources: Type.Array(sourceReceipt),
    request: Type.Optional(Type.Object({}, { description: 'The canonical request; with "receipt": "full".' })),
    digest: Type.Optional(
      Type.String({
        description: 'sha256 of the canonical JSON (RFC 8785) of request, generations, ids and distances.',
      }),
    ),
  },
  { $id: 'Receipt' },
)

const result = Type.Object(
  {
    id: rowId,
    distance: Type.Number({ description: 'Smaller is nearer: l2 squared, 1 - cosine, -inner product.' }),
    backend: Type.String(),
    collection: Type.String(),
    metadata: Type.Optional(metadata),
    vector: Type.Optional(Type.Array(Type.Number())),
  },
  { $id: 'Result' },
)

export const answer = Type.Object(
  { results: Type.Array(Type.Ref('Result#')), receipt: Type.Optional(Type.Ref('Receipt#')) },
  { $id: 'Answer' },
)

const errorReply = Type.Object(
  {
    error: Type.String({ description: 'What was expected, what was found, what to do.' }),
    code: Type.Integer({ description: 'RVF code.' }),
    lg_code: words(...Object.keys(errorTable)),
    field: Type.Optional(Type.String()),
    retry: words('no', 'later', 'after-refresh'),
    retry_after_ms: Type.Optional(Type.Integer()),
    docs: Type.String(),
  },
  { $id: 'Error' },
)

/** Schemas that others refer to by name. */
export const searchSchemas: TSchema[] = [queryBody, certificate, receipt, result, answer, errorReply]

const { vector: _inBody, text: _text, row: _row, ...rawParameters } = queryProperties

/** Query-string forms for a raw vector: lists comma-separated, objects as JSON text. */
const rawQuery = closed(
  Object.fromEntries(
    Object.entries(rawParameters).map(([name, schema]) => [
      name,
      Type.Optional(
        Type.String({
          description: `With application/octet-stream only: ${(schema as { description?: string }).description ?? `as ${name} in JSON`}`,
        }),
      ),
    ]),
  ),
)

const queryContent = ofContent(
  { 'application/json': Type.Ref('Query#'), 'application/octet-stream': binary },
  'JSON, or a little-endian float32 vector with every other field in the query string.',
)

export const query = route({
  summary: 'Search',
  tag: 'search',
  description: 'Nearest rows over one, many or all collections, with a receipt. An RVF query is a subset.',
  body: queryContent as unknown as TSchema,
  querystring: rawQuery,
  ok: ofContent(
    { 'application/json': Type.Ref('Answer#'), 'application/vnd.apache.arrow.stream': binary },
    'The answer; one Arrow IPC stream when Accept asks for it.',
  ) as unknown as TSchema,
  errors: [...bodyErrors, 404, 409, 504],
})

export const batch = route({
  summary: 'Many searches over the same generations',
  tag: 'search',
  body: Type.Object(
    { queries: Type.Array(Type.Object({}), { minItems: 1, maxItems: limits.batchQueriesMax }) },
    { description: 'Each query as in Search; fields beside "queries" are shared by all.' },
  ),
  ok: Type.Object({ answers: Type.Array(Type.Union([Type.Ref('Answer#'), Type.Ref('Error#')])) }),
  errors: [...bodyErrors, 404, 409, 504],
})

export const explain = route({
  summary: 'How a search would be answered, without running it',
  tag: 'search',
  body: queryContent as unknown as TSchema,
  querystring: rawQuery,
  ok: Type.Object({
    contract: Type.String(),
    deadline_ms: Type.Integer(),
    shards: Type.Array(
      Type.Object({
        backend: Type.String(),
        collection: Type.String(),
        route: words('cache', 'pushdown'),
        reason: Type.String(),
        state: Type.String(),
        consistency: Type.String(),
        rows: nullable(Type.Integer()),
        dimension: nullable(Type.Integer()),
        metric: Type.String(),
        parts_missing: nullable(Type.Integer()),
        stages: Type.Array(Type.String()),
      }),
    ),
  }),
  errors: [...bodyErrors, 404, 409, 504],
})

export const verify = route({
  summary: 'Run a full receipt again at its generations and compare digests',
  tag: 'search',
  body: Type.Object({}, { description: 'A full receipt, or the whole reply it came in.' }),
  ok: Type.Object({
    matches: Type.Boolean(),
    digest: Type.String(),
    expected: Type.String(),
    reason: nullable(Type.String()),
  }),
  errors: [...bodyErrors, 404, 409, 504],
})

const auditedHits = Type.Array(Type.Object({ id: rowId, distance: Type.Number() }))

export const audit = route({
  summary: 'Run a query and compare the answer with brute force over every row',
  tag: 'search',
  description:
    'Reads all rows of the collections searched, after everything else that waits for a thread; one audit runs at a time, others get 503. A certified answer may miss without being broken.',
  body: closed(queryProperties),
  ok: Type.Object({
    broken: Type.Boolean({ description: 'Whether an answer breaks what it claims.' }),
    collections: Type.Array(
      Type.Object({
        backend: Type.String(),
        collection: Type.String(),
        generation: Type.String(),
        claimed: Type.Union([Type.Literal('exact'), Type.Object({ certified: Type.Number() }), Type.Number()]),
        broken: Type.Boolean(),
        rows_read: Type.Integer(),
        missed: Type.Integer({ description: 'True nearest rows that the answer lacks.' }),
        wrong: Type.Array(
          Type.Object(
            { hit: Type.Integer(), reason: Type.String() },
            { description: 'Hits that are not what they say.' },
          ),
        ),
        expected: auditedHits,
        found: auditedHits,
        codebooks: Type.Array(Type.String({ description: 'Versions that the rows have codes of.' })),
      }),
    ),
  }),
  errors: [...bodyErrors, 404, 409, 504],
})
