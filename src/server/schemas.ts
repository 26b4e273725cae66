/**
 * What /openapi.json and /docs say of every route. The parsers beside the routes decide; test/server/schemas.test.ts checks
 * that both accept and refuse the same requests.
 */
import Type, { type TObject, type TProperties, type TSchema } from 'typebox'
import { errorTable } from '../core/errors.js'
import { limits } from '../core/limits.js'

const closed = <P extends TProperties>(properties: P, options = {}): TObject<P> =>
  Type.Object(properties, { additionalProperties: false, ...options })

const nullable = <S extends TSchema>(schema: S) => Type.Union([schema, Type.Null()])
const words = (...values: readonly string[]) => Type.Union(values.map((value) => Type.Literal(value)))
const whole = (minimum: number, maximum = Number.MAX_SAFE_INTEGER, options = {}) =>
  Type.Integer({ minimum, maximum, ...options })

const rowId = Type.Union(
  [Type.Integer({ minimum: -(2 ** 63), exclusiveMaximum: 2 ** 64 }), Type.String({ maxLength: limits.idBytesMax })],
  {
    description: 'A 64-bit integer, written in full, or a string. 5 and "5" are different ids.',
  },
)

const collectionName = Type.String({ pattern: '^[^/]+/.+$', description: '"backend/collection"' })

const float32Max = 3.4028234663852886e38
const vector = Type.Array(Type.Number({ minimum: -float32Max, maximum: float32Max }), {
  minItems: 1,
  maxItems: limits.dimensionMax,
  description: 'Rounded to float32.',
})

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
    Type.Array(collectionName, { minItems: 1, description: '"backend/collection" or "backend/*". Default: all.' }),
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

const metric = words('l2', 'cosine', 'dot')

const metadata = Type.Record(Type.String(), Type.Unknown())

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

const answer = Type.Object(
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
export const sharedSchemas: TSchema[] = [queryBody, certificate, receipt, result, answer, errorReply]

const errors = (...statuses: readonly number[]): Record<number, TSchema> =>
  Object.fromEntries(
    [...new Set(statuses)].map((status) => [status, Type.Ref('Error#', { description: titlesOf(status) })]),
  )

const titlesOf = (status: number): string =>
  Object.entries(errorTable)
    .filter(([, entry]) => entry.status === status)
    .map(([code, entry]) => `${code}: ${entry.title}`)
    .join(' ')

const bodyErrors = [400, 413, 415, 422, 503] as const
const noQuery = closed({})
const collectionParams = Type.Object({ backend: Type.String(), collection: Type.String() })

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
function route(doc: RouteDoc) {
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

const binary = Type.String({ format: 'binary' })

const ofContent = (schemas: Readonly<Record<string, TSchema>>, description: string) => ({
  description,
  content: Object.fromEntries(Object.entries(schemas).map(([type, schema]) => [type, { schema }])),
})

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

const noContent = Type.Null({ description: 'Done.' })

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

const rvfEntry = Type.Object({ field_id: whole(0, 65_535), value: Type.Union([Type.String(), Type.Number()]) })

export const ingest = route({
  summary: 'Write rows to the writable collection (RVF)',
  tag: 'rvf',
  body: closed({
    vectors: Type.Array(vector),
    ids: Type.Array(rowId),
    metadata: Type.Optional(
      nullable(
        Type.Array(Type.Union([rvfEntry, Type.Array(rvfEntry), Type.Object({}), Type.Null()]), {
          description: "One entry a vector: RVF's {field_id, value}, several of them, or an object of columns.",
        }),
      ),
    ),
  }),
  ok: Type.Object({ accepted: Type.Integer(), rejected: Type.Integer(), epoch: Type.Integer() }),
  errors: [...bodyErrors, 409],
})

export const deleteRows = route({
  summary: 'Delete rows of the writable collection (RVF)',
  tag: 'rvf',
  body: closed({ ids: Type.Array(rowId, { minItems: 1 }) }),
  ok: Type.Object({ deleted: Type.Integer(), epoch: Type.Integer() }),
  errors: [...bodyErrors, 409],
})

export const status = route({
  summary: 'State of the writable collection (RVF)',
  tag: 'rvf',
  ok: Type.Object({
    total_vectors: Type.Integer(),
    total_segments: Type.Integer(),
    file_size: Type.Integer(),
    current_epoch: Type.Integer(),
    profile_id: Type.Integer(),
    dead_space_ratio: Type.Number(),
    read_only: Type.Boolean(),
  }),
  errors: [400],
})

export const health = route({
  summary: 'Health (RVF)',
  tag: 'rvf',
  ok: Type.Object({ status: Type.Literal('ok') }),
  errors: [400],
})

const errorSeen = nullable(Type.Object({ code: Type.String(), message: Type.String(), at: Type.String() }))

const collectionTuning = Type.Object(
  {
    tuned_at: Type.String(),
    rows: Type.Integer({ description: 'Of the collection then.' }),
    queries: Type.Integer({ description: 'Held-out rows that were searched for.' }),
    first_stages: Type.Array(Type.Object({ first: words('bits', 'cells', 'prefix', 'bytes'), us: Type.Number() }), {
      description: 'What a scan may read first, the cheapest before the others; microseconds of a median scan.',
    }),
    targets: Type.Array(Type.Object({ recall: Type.Number(), probing: Type.Number() }), {
      description: 'The share of the threshold within which a target of 10 neighbours looks at clusters; 1 is proven.',
    }),
  },
  { description: 'How contracts are answered with the least work, measured on rows of the collection.' },
)

const collectionIndex = Type.Object(
  {
    kind: words('flat', 'training', 'clustered'),
    started_at: Type.Optional(Type.String({ description: 'training: since when.' })),
    centroids: Type.Optional(Type.Integer({ description: 'clustered' })),
    trained_at: Type.Optional(Type.String({ description: 'clustered' })),
    trained_rows: Type.Optional(Type.Integer({ description: 'clustered: rows of the collection then.' })),
    mean_radius: Type.Optional(
      nullable(Type.Number({ description: 'clustered: mean distance of a row from its centroid then.' })),
    ),
    retraining: Type.Optional(Type.Boolean({ description: 'clustered' })),
    segments: Type.Object(
      { clustered: Type.Integer(), flat: Type.Integer(), plain: Type.Integer() },
      { description: 'In memory: sorted by cluster, with codes alone, too small for codes.' },
    ),
    tuning: nullable(collectionTuning),
    last_error: errorSeen,
  },
  { description: 'How rows are laid out for search: it decides the speed of answers, not the answers.' },
)

const contractAudit = Type.Object({
  expected: Type.Integer({ description: 'True nearest rows of complete audits.' }),
  missed: Type.Integer({ description: 'Those of them that the answers lacked.' }),
  violations: Type.Integer(),
})

const collectionAudit = Type.Object(
  {
    outcomes: Type.Object({
      complete: Type.Integer(),
      partial: Type.Integer(),
      dropped: Type.Integer(),
      gone: Type.Integer(),
      failed: Type.Integer(),
    }),
    contracts: Type.Object({ exact: contractAudit, certified: contractAudit, target: contractAudit }),
  },
  { description: 'Answers compared with brute force since the process started; null when none are.' },
)

const collectionGraph = Type.Object(
  {
    state: words('none', 'building', 'ready'),
    rows: Type.Integer({ description: 'In the graph that answers; 0 while none does.' }),
    building: nullable(
      Type.Object(
        { rows: Type.Integer(), rows_total: Type.Integer() },
        { description: 'Rows added, of those being added.' },
      ),
    ),
    bytes: Type.Integer({ description: 'Native memory, which counts against cache.memory.' }),
    built_at: nullable(Type.String()),
    build_ms: nullable(Type.Number()),
    held_out: nullable(Type.Integer({ description: 'Rows that recall was measured with before they were added.' })),
    recall: Type.Array(
      Type.Object({
        candidates: Type.Integer({ description: 'Rows that a search looks at.' }),
        k: Type.Integer(),
        mean: Type.Number({ description: 'Share of the k nearest that was found.' }),
        at_least: Type.Number({
          description: 'What that is at least, with 95 % confidence: what targets are held to.',
        }),
      }),
      { description: 'Measured against brute force.' },
    ),
    answered: Type.Integer({ description: 'Queries for a target recall that the graph answered.' }),
    left: Type.Integer({ description: 'Those that it left to the scan.' }),
    last_error: errorSeen,
  },
  { description: 'The HNSW graph, where index = "hnsw" asked for one: it answers target recalls and nothing else.' },
)

const collectionSummary = Type.Object(
  {
    backend: Type.String(),
    collection: Type.String(),
    kind: Type.String(),
    metric,
    model: nullable(Type.String()),
    writable: Type.Boolean(),
    consistency: Type.String(),
    state: words('cold', 'priming', 'ready', 'refreshing', 'failed'),
    generation: nullable(Type.String()),
    witness: nullable(Type.String()),
    checked_at: nullable(Type.String()),
    dimension: nullable(Type.Integer()),
    rows: nullable(Type.Integer()),
    parts: nullable(Type.Integer()),
    bytes: Type.Integer({ description: 'In memory.' }),
    disk_bytes: Type.Integer(),
    index: collectionIndex,
    graph: nullable(collectionGraph),
    id_column: nullable(Type.String()),
    vector_column: nullable(Type.String()),
    columns: Type.Array(Type.Object({ name: Type.String(), type: Type.String() })),
    skipped: Type.Object({ null_vector: Type.Integer(), null_id: Type.Integer(), bad_vector: Type.Integer() }),
    audit: nullable(collectionAudit),
    last_error: errorSeen,
  },
  { $id: 'Collection' },
)
sharedSchemas.push(collectionSummary)

export const collections = route({
  summary: 'Every collection',
  tag: 'collections',
  ok: Type.Object({ collections: Type.Array(Type.Ref('Collection#')) }),
  errors: [400, 504],
})

export const collection = route({
  summary: 'One collection',
  tag: 'collections',
  params: collectionParams,
  ok: Type.Ref('Collection#'),
  errors: [400, 404, 504],
})

export const row = route({
  summary: 'One row',
  tag: 'collections',
  description:
    'An id that reads as an integer is tried as one first, then as a string; in double quotes it is a string.',
  params: Type.Object({ backend: Type.String(), collection: Type.String(), id: Type.String() }),
  querystring: closed({ include_vector: Type.Optional(Type.Boolean()) }),
  ok: Type.Object({
    id: rowId,
    backend: Type.String(),
    collection: Type.String(),
    metadata: Type.Optional(metadata),
    vector: Type.Optional(Type.Array(Type.Number())),
  }),
  errors: [400, 404, 409, 413, 422, 504],
})

export const refresh = route({
  summary: 'Check the source now and pull what is new',
  tag: 'collections',
  params: collectionParams,
  ok: Type.Object({ generation: Type.String(), changed: Type.Boolean(), parts_pulled: Type.Integer() }),
  errors: [...bodyErrors, 404, 409, 504],
})

export const invalidate = route({
  summary: 'Drop the collection from the cache; its next query primes again',
  tag: 'collections',
  params: collectionParams,
  ok: Type.Object({ invalidated: Type.Literal(true) }),
  errors: [...bodyErrors, 404, 504],
})

export const bundle = route({
  summary: 'Whether the table.rulake.json beside the source names what is cached',
  tag: 'collections',
  description: 'Invalidated: it names another version, or nothing is cached yet. Asks neither source nor query.',
  params: collectionParams,
  ok: Type.Object({ verdict: words('UpToDate', 'Invalidated', 'BundleMissing') }),
  errors: [400, 404, 422, 504],
})

export const publishBundle = route({
  summary: 'Refresh, and write table.rulake.json beside the source',
  tag: 'collections',
  params: collectionParams,
  ok: Type.Object({ generation: Type.String(), witness: Type.String() }),
  errors: [...bodyErrors, 404, 409, 504],
})

export const history = route({
  summary: 'Generations the cache holds or remembers, newest first',
  tag: 'collections',
  params: collectionParams,
  ok: Type.Object({
    generations: Type.Array(
      Type.Object({
        generation: Type.String(),
        witness: Type.String(),
        first_seen: Type.String(),
        last_seen: Type.String(),
        rows: Type.Integer(),
        parts: Type.Integer(),
        held: Type.Boolean({ description: 'Whether as_of can still answer from it.' }),
      }),
    ),
  }),
  errors: [400, 404, 504],
})

const cacheCounts = {
  hits: Type.Integer(),
  misses: Type.Integer(),
  primes: Type.Integer(),
  refreshes: Type.Integer(),
  invalidations: Type.Integer(),
  evictions: Type.Integer(),
  parts_pulled: Type.Integer(),
  segments_restored: Type.Integer(),
  segments_discarded: Type.Integer(),
  segments_resident: Type.Integer(),
  bytes: Type.Integer(),
  disk_bytes: Type.Integer(),
}

export const cache = route({
  summary: 'Cache statistics',
  tag: 'operations',
  ok: Type.Object({
    ...cacheCounts,
    bytes_max: Type.Integer(),
    disk_bytes_max: Type.Integer(),
    arenas: Type.Integer(),
    by_backend: Type.Record(Type.String(), Type.Object(cacheCounts)),
    by_collection: Type.Record(Type.String(), Type.Object(cacheCounts)),
  }),
  errors: [400, 504],
})

const sourceSummary = Type.Object(
  {
    name: Type.String(),
    kind: Type.String(),
    uri: nullable(Type.String()),
    prime: words('first_query', 'eager'),
    refresh_ms: nullable(Type.Integer()),
    error: nullable(Type.Object({ code: Type.String(), message: Type.String() })),
  },
  { $id: 'Source' },
)
sharedSchemas.push(sourceSummary)

export const sources = route({
  summary: 'Every source',
  tag: 'sources',
  ok: Type.Object({ sources: Type.Array(Type.Ref('Source#')) }),
  errors: [400],
})

export const addSource = route({
  summary: 'Add a source',
  tag: 'sources',
  body: Type.Object(
    {
      name: Type.String({ minLength: 1, maxLength: 255 }),
      kind: Type.Optional(Type.String({ minLength: 1, description: 'Detected from the uri when left out.' })),
      uri: Type.Optional(Type.String()),
    },
    {
      description:
        "Fields of [[source]] in the configuration: name, kind, uri, prime, refresh_ms, index and the kind's own options.",
    },
  ),
  status: 201,
  ok: Type.Ref('Source#'),
  errors: [...bodyErrors, 404, 409, 504],
})

export const removeSource = route({
  summary: 'Remove a source',
  tag: 'sources',
  params: Type.Object({ name: Type.String() }),
  status: 204,
  ok: noContent,
  errors: [...bodyErrors, 404, 409, 504],
})

const text = (type: string, description: string): TSchema =>
  ofContent({ [type]: Type.String() }, description) as unknown as TSchema

export const metrics = route({
  summary: 'Metrics for Prometheus',
  tag: 'operations',
  ok: text('text/plain', 'Prometheus text format.'),
  errors: [400],
})

export const alive = route({
  summary: 'The process is up',
  tag: 'operations',
  ok: Type.Object({ status: Type.Literal('ok') }),
  errors: [400],
})

export const ready = route({
  summary: 'Every source has been listed once, or has said why not; priming is not waited for',
  tag: 'operations',
  ok: Type.Object({ status: Type.Literal('ready') }),
  errors: [400],
})

export const openapi = route({
  summary: 'This description',
  tag: 'operations',
  ok: Type.Object({}),
  errors: [400],
})

export const docs = route({
  summary: 'This description for people',
  tag: 'operations',
  ok: text('text/html', 'A page.'),
  errors: [400],
})

export const live = route({
  summary: 'Events over a WebSocket',
  tag: 'operations',
  description: 'After the upgrade the server sends text messages {"event_type", "timestamp", "data"}.',
  status: 101,
  ok: Type.Null({ description: 'Switching protocols.' }),
  errors: [400],
})
