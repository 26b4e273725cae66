/** Schemas of collections, their rows and what the cache holds of them. */
import Type from 'typebox'
import {
  bodyErrors,
  closed,
  collectionParams,
  errorSeen,
  metadata,
  metric,
  nullable,
  route,
  rowId,
  words,
} from './route-schema.js'

const collectionTuning = Type.Object(
  {
    tuned_at: Type.String(),
    rows: Type.Integer({ description: 'Live rows of the collection then.' }),
    queries: Type.Integer({ description: 'Held-out rows that were searched for.' }),
    first_stages: Type.Array(Type.Object({ first: words('bits', 'cells', 'prefix', 'bytes'), us: Type.Number() }), {
      description:
        'What a scan may read first, the cheapest before the others; mean microseconds of a scan that nothing disturbs.',
    }),
    targets: Type.Array(Type.Object({ recall: Type.Number(), gap: nullable(Type.Number()) }), {
      description:
        'How much farther than the nearest centroid, in squared distance, those of clusters may be that a target of 10 neighbours looks at (dot: how far behind the best the products of rows may usually be, for a query of length 1); null: any.',
    }),
  },
  { description: 'How contracts are answered with the least work, measured on rows of the collection.' },
)

const collectionIndex = Type.Object(
  {
    kind: words('flat', 'training', 'clustered'),
    started_at: Type.Optional(Type.String({ description: 'training: since when.' })),
    centroids: Type.Optional(Type.Integer({ description: 'clustered' })),
    trained_at: Type.Optional(
      Type.String({ description: 'clustered; flat: when clusters were tried, and ruled out too little to be kept.' }),
    ),
    trained_rows: Type.Optional(Type.Integer({ description: 'Rows of the collection then.' })),
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

/** Others refer to it by name. */
export const collectionSummary = Type.Object(
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
