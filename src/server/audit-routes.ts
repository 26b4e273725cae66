import type { FastifyInstance } from 'fastify'
import { type JsonValue, stringifyJson } from '../core/json.js'
import type { AuditReport } from '../federation/gateway.js'
import { recallJson } from '../federation/reproducer.js'
import type { ServerContext } from './context.js'
import { parseQuery } from './parse-query.js'

export function auditRoutes(context: ServerContext) {
  const { gateway, rules, cancellation } = context
  return async (app: FastifyInstance): Promise<void> => {
    app.post('/v1/audit', async (request, reply) => {
      const query = parseQuery(request.body, rules)
      const reports = await gateway.audit(query, { signal: cancellation.signalOf(reply) })
      const body = { broken: reports.some(({ isBroken }) => isBroken), collections: reports.map(reportBody) }
      return reply.type('application/json; charset=utf-8').send(stringifyJson(body))
    })
  }
}

const reportBody = ({ ref, generation, contract, found, checked, isBroken }: AuditReport): JsonValue => ({
  backend: ref.backend,
  collection: ref.collection,
  generation,
  claimed: recallJson(contract),
  broken: isBroken,
  rows_read: checked.rowsRead,
  missed: checked.missed,
  wrong: checked.wrong.map(({ hit, reason }) => ({ hit, reason })),
  expected: checked.expected.map(({ id, distance }) => ({ id, distance })),
  found: found.map(({ id, distance }) => ({ id, distance })),
  codebooks: [...new Set(checked.segments.flatMap(({ codebook }) => codebook ?? []))],
})
