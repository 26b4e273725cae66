import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError, toGatewayError } from '../core/errors.js'
import type { JsonValue } from '../core/json.js'
import { limits } from '../core/limits.js'
import type { Answer } from '../federation/answer.js'
import type { QueryPlan } from '../federation/gateway.js'
import type { Query } from '../federation/query.js'
import { answerJson } from './answer-json.js'
import type { ServerContext } from './context.js'
import { errorBody, unsupportedMediaType } from './error-reply.js'
import { utf8 } from './json-bytes.js'
import { parseQuery, parseRawQuery, type QueryRules } from './parse-query.js'
import { type Fields, readArray, readObject, readText, refusal, refuseUnknown } from './request-fields.js'
import { createTurns } from './turns.js'

const json = 'application/json; charset=utf-8'
const arrowMediaType = 'application/vnd.apache.arrow.stream'

export function queryRoutes(context: ServerContext) {
  const { gateway, rules, metrics, cancellation } = context

  /** A raw vector comes as bytes with everything else in the query string. */
  const requestedQuery = (request: FastifyRequest): Query => {
    if (Buffer.isBuffer(request.body)) return parseRawQuery(request.body, request.query as Fields, rules)
    if (request.body === undefined) throw unsupportedMediaType(request, 'application/json or application/octet-stream')
    refuseUnknown(request.query as Fields, noParameters, 'query string: ')
    return parseQuery(request.body, rules)
  }

  const turns = createTurns()
  const together = (): Promise<void> => turns.next()
  const search = (query: Query, reply: FastifyReply): Promise<Answer> =>
    gateway.search(query, { signal: cancellation.signalOf(reply), together }).then(answered, failed)
  const answered = (answer: Answer): Answer => {
    metrics.answered(answer)
    return answer
  }
  const failed = (error: unknown): never => {
    metrics.failed(toGatewayError(error))
    throw error
  }

  return async (app: FastifyInstance): Promise<void> => {
    app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, body),
    )

    app.post('/v1/query', { config: { parameters: 'own' } }, async (request, reply) => {
      const answer = await search(requestedQuery(request), reply)
      if (request.headers.accept?.includes(arrowMediaType)) {
        const { arrowStream } = await import('./arrow-answer.js')
        return reply.type(arrowMediaType).send(arrowStream(answer))
      }
      const body = answerJson(answer)
      // All replies of a turn are written before the first is sent: a client that was woken finds the next before it is asleep again.
      await null
      return reply.type(json).send(body)
    })

    app.post('/v1/explain', { config: { parameters: 'own' } }, async (request, reply) => {
      const plan = await gateway.explain(requestedQuery(request), {
        signal: cancellation.signalWithin(reply, rules.deadlineMs),
      })
      return planBody(plan)
    })
  }
}

const noParameters: ReadonlySet<string> = new Set()

export function batchRoutes(context: ServerContext) {
  const { gateway, rules, metrics, cancellation } = context
  return async (app: FastifyInstance): Promise<void> => {
    app.post('/v1/query/batch', async (request, reply) => {
      const queries = parseBatch(request.body, rules)
      const answers = await gateway.searchBatch(queries, { signal: cancellation.signalOf(reply) })
      const pieces: Uint8Array[] = []
      for (const answer of answers) {
        pieces.push(pieces.length === 0 ? answersMember : comma)
        if (answer instanceof GatewayError) {
          metrics.failed(answer)
          pieces.push(utf8(JSON.stringify(errorBody(answer))))
        } else {
          metrics.answered(answer)
          pieces.push(answerJson(answer))
        }
      }
      pieces.push(answersEnd)
      return reply.type(json).send(Buffer.concat(pieces))
    })

    app.post('/v1/verify', async (request, reply) => {
      const receipt = parseReceipt(request.body)
      return gateway.verify(receipt, (value) => parseQuery(value, rules, 'request.'), {
        signal: cancellation.signalOf(reply),
      })
    })
  }
}

const answersMember = utf8('{"answers":[')
const answersEnd = utf8(']}')
const comma = utf8(',')

function parseBatch(body: unknown, rules: QueryRules): readonly Query[] {
  const { queries, ...shared } = readObject(body, 'body')
  const wanted = readArray(queries, 'queries', 'queries')
  if (wanted.length === 0) throw refusal('LG_INVALID_REQUEST', 'queries', 'expected at least one query, found none')
  if (wanted.length > limits.batchQueriesMax)
    throw refusal(
      'LG_TOO_LARGE',
      'queries',
      `expected at most ${limits.batchQueriesMax} queries (the limit batchQueriesMax), found ${wanted.length}`,
    )
  return wanted.map((query, i) =>
    parseQuery({ ...shared, ...readObject(query, `queries[${i}]`) }, rules, `queries[${i}].`),
  )
}

/** A full receipt, or the whole reply that it came in. */
function parseReceipt(body: unknown): Parameters<ServerContext['gateway']['verify']>[0] {
  const outer = readObject(body, 'body')
  const receipt = outer.receipt === undefined ? outer : readObject(outer.receipt, 'receipt')
  const prefix = outer.receipt === undefined ? '' : 'receipt.'
  return {
    request: readObject(receipt.request, `${prefix}request`, 'the request (ask for it with "receipt": "full")'),
    digest: readText(receipt.digest, `${prefix}digest`, 128),
    sources: readArray(receipt.sources, `${prefix}sources`, 'sources'),
  }
}

const planBody = (plan: QueryPlan): JsonValue => ({
  contract: plan.contract,
  deadline_ms: plan.deadlineMs,
  shards: plan.shards.map((shard) => ({
    backend: shard.ref.backend,
    collection: shard.ref.collection,
    route: shard.route,
    reason: shard.reason,
    state: shard.state,
    consistency: shard.consistency,
    rows: shard.rows,
    dimension: shard.dimension,
    metric: shard.metric,
    parts_missing: shard.partsMissing,
    stages: shard.stages,
  })),
})
