/**
 * A server for `lakegate bench http`, in a process of its own: lakegate over the dataset, and beside it the route /constant,
 * which reads the body of a query and answers bytes that are always the same. Takes the dataset's request and the size of
 * the constant as JSON; prints its URL.
 */
import { type DatasetRequest, loadDataset } from './dataset.js'
import { createGatewayServer } from './gateway-server.js'
import { openGateway } from './lakegate.js'

export interface HttpServerRequest {
  readonly dataset: DatasetRequest
  readonly seed: number
  readonly workers: number
}

const { dataset, seed, workers } = JSON.parse(process.argv[2]!) as HttpServerRequest
const opened = await openGateway(await loadDataset(dataset), { workers, seed })
const server = createGatewayServer(opened)
server.register(async (scope) => {
  scope.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )
  const answers = new Map<number, string>()
  scope.post<{ Params: { bytes: string } }>('/constant/:bytes', async (request, reply) => {
    const bytes = Number(request.params.bytes)
    const answer = answers.get(bytes) ?? JSON.stringify('x'.repeat(bytes - 2))
    answers.set(bytes, answer)
    return reply.type('application/json; charset=utf-8').send(answer)
  })
})
process.stdout.write(`${await server.listen({ host: '127.0.0.1', port: 0 })}\n`)
process.once('SIGTERM', async () => {
  await server.close()
  await opened.close()
})
