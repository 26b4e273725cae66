/** The rest of RVF over HTTP. Its messages name no collection: they mean the gateway's one writable collection. */
import type { FastifyInstance } from 'fastify'
import type { ServerContext } from './context.js'
import { ingestRows, parseDelete, parseIngest } from './rvf-write.js'

export function rvfRoutes(context: ServerContext) {
  const { gateway, cancellation } = context
  return async (app: FastifyInstance): Promise<void> => {
    app.post('/v1/ingest', async (request, reply) =>
      ingestRows(gateway, parseIngest(request.body), { signal: cancellation.signalOf(reply) }),
    )

    app.post('/v1/delete', async (request, reply) =>
      gateway.delete(parseDelete(request.body), { signal: cancellation.signalOf(reply) }),
    )

    app.get('/v1/status', async (_request, reply) => {
      const status = await gateway.writableStatus({ signal: cancellation.signalOf(reply) })
      return {
        total_vectors: status.totalVectors,
        total_segments: status.totalSegments,
        file_size: status.fileSize,
        current_epoch: status.currentEpoch,
        profile_id: 0,
        dead_space_ratio: status.deadSpaceRatio,
        read_only: status.readOnly,
      }
    })

    app.get('/v1/health', async () => ({ status: 'ok' }))
  }
}
