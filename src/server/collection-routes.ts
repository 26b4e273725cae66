import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ColumnType } from '../core/column.js'
import type { Consistency } from '../core/contract.js'
import { GatewayError } from '../core/errors.js'
import { backendId, type CollectionRef, formatCollection } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Result } from '../federation/answer.js'
import type { BundleVerdict, CollectionSummary } from '../federation/gateway.js'
import { idJson, rowJson } from './answer-json.js'
import type { ServerContext } from './context.js'
import { type Fields, malformed, readId, readObject, refuseUnknown } from './request-fields.js'

type Statistics = CollectionSummary['statistics']

/** Names come percent-decoded from the path and are only ever looked up in the gateway's list. */
function requestedCollection(request: FastifyRequest): CollectionRef {
  const { backend, collection } = request.params as { backend: string; collection: string }
  return { backend: backendId(backend), collection }
}

export function collectionRoutes(context: ServerContext) {
  const { gateway, rules, cancellation } = context
  const base = '/v1/collections/:backend/:collection'
  return async (app: FastifyInstance): Promise<void> => {
    app.get('/v1/collections', async (_request, reply) => {
      const signal = cancellation.signalWithin(reply, rules.deadlineMs)
      return { collections: (await gateway.collections({ signal })).map(summaryBody) }
    })

    app.get(base, async (request, reply) => {
      const signal = cancellation.signalWithin(reply, rules.deadlineMs)
      return summaryBody(await gateway.collection(requestedCollection(request), { signal }))
    })

    app.get(`${base}/rows/:id`, { config: { parameters: ['include_vector'] } }, async (request, reply) => {
      const signal = cancellation.signalWithin(reply, rules.deadlineMs)
      const want = { includeVector: readFlag(request.query as Fields, 'include_vector') }
      const ref = requestedCollection(request)
      const row = await firstRow(pathIds((request.params as { id: string }).id), ref, (id) =>
        gateway.row(ref, id, want, { signal }),
      )
      return reply.type('application/json; charset=utf-8').send(rowJson(row))
    })

    app.post(`${base}/refresh`, async (request, reply) => {
      refuseBody(request)
      const outcome = await gateway.refresh(requestedCollection(request), { signal: cancellation.signalOf(reply) })
      return { generation: outcome.generation, changed: outcome.changed, parts_pulled: outcome.partsPulled }
    })

    app.post(`${base}/invalidate`, async (request, reply) => {
      refuseBody(request)
      await gateway.invalidate(requestedCollection(request), { signal: cancellation.signalOf(reply) })
      return { invalidated: true }
    })

    app.get(`${base}/bundle`, async (request, reply) => {
      const signal = cancellation.signalWithin(reply, rules.deadlineMs)
      return { verdict: bundleVerdicts[await gateway.checkBundle(requestedCollection(request), { signal })] }
    })

    app.post(`${base}/bundle`, async (request, reply) => {
      refuseBody(request)
      return gateway.publishBundle(requestedCollection(request), { signal: cancellation.signalOf(reply) })
    })

    app.get(`${base}/history`, async (request, reply) => {
      const signal = cancellation.signalWithin(reply, rules.deadlineMs)
      const held = await gateway.history(requestedCollection(request), { signal })
      return {
        generations: held.map((generation) => ({
          generation: generation.generation,
          witness: generation.witness,
          first_seen: new Date(generation.firstSeenMs).toISOString(),
          last_seen: new Date(generation.lastSeenMs).toISOString(),
          rows: generation.rows,
          parts: generation.parts,
          held: generation.held,
        })),
      }
    })

    app.get('/v1/cache', async (_request, reply) => {
      const signal = cancellation.signalWithin(reply, rules.deadlineMs)
      return cacheBody(gateway.cache(), await gateway.collections({ signal }))
    })
  }
}

/** ruLake's words. */
const bundleVerdicts = {
  'up-to-date': 'UpToDate',
  invalidated: 'Invalidated',
  'bundle-missing': 'BundleMissing',
} as const satisfies Record<BundleVerdict, string>

/** No body, or an empty object. */
function refuseBody(request: FastifyRequest): void {
  if (request.body !== undefined) refuseUnknown(readObject(request.body, 'body'), new Set())
}

function readFlag(query: Fields, name: string): boolean {
  const value = query[name]
  if (value === undefined || value === 'false') return false
  if (value === 'true' || value === '') return true
  throw malformed(name, 'true or false', value)
}

/** An id in a path: what it may mean, most likely first. In double quotes it is a string. */
export function pathIds(text: string): readonly RowId[] {
  if (text.length > 1 && text.startsWith('"') && text.endsWith('"')) return [readId(text.slice(1, -1), 'id')]
  if (!/^-?\d{1,20}$/.test(text)) return [readId(text, 'id')]
  const integer = BigInt(text)
  const fits = integer >= -(2n ** 63n) && integer < 2n ** 64n && String(integer) === text
  return fits ? [integer, text] : [text]
}

async function firstRow(
  ids: readonly RowId[],
  ref: CollectionRef,
  read: (id: RowId) => Promise<Result>,
): Promise<Result> {
  for (const id of ids) {
    try {
      return await read(id)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'LG_ROW_NOT_FOUND') throw error
    }
  }
  throw new GatewayError(
    'LG_ROW_NOT_FOUND',
    `${formatCollection(ref)}: no row has the id ${ids.map(idJson).join(' or ')}`,
    {
      field: 'id',
    },
  )
}

const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())

function summaryBody(summary: CollectionSummary) {
  const { ref, info, statistics } = summary
  return {
    backend: ref.backend,
    collection: ref.collection,
    kind: summary.kind,
    metric: info.metric,
    model: info.model,
    writable: info.writable,
    consistency: consistencyText(summary.defaultConsistency),
    state: statistics.state,
    generation: statistics.generation,
    witness: statistics.witness,
    checked_at: time(statistics.checkedAtMs),
    dimension: statistics.dimension,
    rows: statistics.rows,
    parts: statistics.parts,
    bytes: statistics.memoryBytes,
    disk_bytes: statistics.diskBytes,
    index: indexBody(statistics.index),
    graph: graphBody(statistics.graph),
    id_column: statistics.idColumn,
    vector_column: statistics.vectorColumn,
    columns: statistics.columns.map((column) => ({ name: column.name, type: typeText(column.type) })),
    skipped: {
      null_vector: statistics.skipped.nullVector,
      null_id: statistics.skipped.nullId,
      bad_vector: statistics.skipped.badVector,
    },
    audit: summary.audit,
    last_error: errorBody(statistics.lastError),
  }
}

function indexBody(index: Statistics['index']) {
  const common = { segments: index.segments, tuning: tuningBody(index.tuning), last_error: errorBody(index.lastError) }
  switch (index.kind) {
    case 'flat':
      return {
        kind: index.kind,
        ...(index.tried !== null && { trained_at: time(index.tried.atMs), trained_rows: index.tried.rows }),
        ...common,
      }
    case 'training':
      return { kind: index.kind, started_at: time(index.startedAtMs), ...common }
    case 'clustered':
      return {
        kind: index.kind,
        centroids: index.centroids,
        trained_at: time(index.trainedAtMs),
        trained_rows: index.trainedRows,
        mean_radius: index.meanRadius,
        retraining: index.retraining,
        ...common,
      }
  }
}

const tuningBody = (tuning: Statistics['index']['tuning']) =>
  tuning === null
    ? null
    : {
        tuned_at: time(tuning.atMs),
        rows: tuning.rows,
        queries: tuning.queries,
        first_stages: tuning.costs,
        targets: tuning.gaps.map(({ recall, gap }) => ({ recall, gap: Number.isFinite(gap) ? gap : null })),
      }

function graphBody(graph: Statistics['graph']) {
  if (graph === null) return null
  const { state, rows, building, bytes, buildMs, calibration, answered, left } = graph
  return {
    state,
    rows,
    building: building === null ? null : { rows: building.rows, rows_total: building.rowsTotal },
    bytes,
    built_at: time(graph.builtAtMs),
    build_ms: buildMs,
    held_out: calibration?.queries ?? null,
    recall: (calibration?.points ?? []).map(({ candidates, depth, recall, recallAtLeast }) => ({
      candidates,
      k: depth,
      mean: recall,
      at_least: recallAtLeast,
    })),
    answered,
    left,
    last_error: errorBody(graph.lastError),
  }
}

const errorBody = (error: Statistics['lastError']) =>
  error === null ? null : { code: error.code, message: error.message, at: time(error.atMs) }

const consistencyText = (consistency: Consistency): string =>
  consistency.kind === 'ttl' ? `ttl ${consistency.ttlMs} ms` : consistency.kind

function typeText(type: ColumnType): string {
  switch (type.kind) {
    case 'decimal':
      return `decimal(${type.scale})`
    case 'timestamp':
      return type.utc ? 'timestamp(utc)' : 'timestamp'
    case 'list':
      return `list<${typeText(type.element)}>`
    default:
      return type.kind
  }
}

function countsBody(all: readonly Statistics[]) {
  const sum = (read: (statistics: Statistics) => number): number =>
    all.reduce((total, statistics) => total + read(statistics), 0)
  return {
    hits: sum((s) => s.hits),
    misses: sum((s) => s.misses),
    primes: sum((s) => s.primes),
    refreshes: sum((s) => s.refreshes),
    invalidations: sum((s) => s.invalidations),
    evictions: sum((s) => s.evictions),
    parts_pulled: sum((s) => s.partsPulled),
    segments_restored: sum((s) => s.segmentsRestored),
    segments_discarded: sum((s) => s.segmentsDiscarded),
    segments_resident: sum((s) => s.segmentsResident),
    bytes: sum((s) => s.memoryBytes),
    disk_bytes: sum((s) => s.diskBytes),
  }
}

function cacheBody(cache: ReturnType<ServerContext['gateway']['cache']>, all: readonly CollectionSummary[]) {
  const backends = new Set(all.map((summary) => summary.ref.backend))
  return {
    ...countsBody(all.map((summary) => summary.statistics)),
    bytes: cache.memoryBytes,
    bytes_max: cache.memoryBytesMax,
    disk_bytes: cache.diskBytes,
    disk_bytes_max: cache.diskBytesMax,
    arenas: cache.arenas,
    by_backend: Object.fromEntries(
      Array.from(backends, (backend) => [
        backend,
        countsBody(all.filter((summary) => summary.ref.backend === backend).map((summary) => summary.statistics)),
      ]),
    ),
    by_collection: Object.fromEntries(
      all.map((summary) => [formatCollection(summary.ref), countsBody([summary.statistics])]),
    ),
  }
}
