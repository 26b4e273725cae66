/** Throughput over HTTP from another process: JSON and raw queries beside a constant answer of equal size. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Dataset, row } from './dataset.js'
import { type HttpConnection, openConnection, requestBytes } from './http-client.js'
import type { HttpServerRequest } from './http-server.js'
import { bruteForce, countHits } from './recall.js'
import { refusal } from './refusal.js'
import { type ReportRow, round } from './report.js'
import type { DatasetSuite } from './suite.js'
import { datasetRequest } from './suite.js'
import { measureThroughput, rateRow, type Variant } from './throughput.js'

const connectionCounts = [8, 16]

/** One way of asking: what is sent for each query, and what a good reply to it is. */
interface Way {
  readonly label: string
  readonly requests: readonly Buffer[]
}

export const httpSuite: DatasetSuite = async (dataset, options, say) => {
  const { k, seed, seconds } = options
  say('starting the server')
  // As many worker threads as `serve` would start.
  const server = await startServer({ dataset: datasetRequest(options), seed, workers: 1 })
  try {
    const connections: HttpConnection[] = []
    for (let i = 0; i < Math.max(...connectionCounts); i++) connections.push(await openConnection(server.url))
    const raw = rawWay(dataset, k)
    say('recall of the raw answers')
    const { recall, bytes } = await checkAnswers(connections[0]!, raw, dataset, k)
    const ways = [raw, jsonWay(dataset, k), constantWay(dataset, bytes)]
    const rows: ReportRow[] = []
    for (const count of connectionCounts) {
      say(`${count} connections`)
      const variants = ways.map((way) => variantOf(way, connections.slice(0, count), dataset))
      const measured = await measureThroughput(dataset, variants, { inFlight: count, seconds: seconds / 2 })
      for (const [i, result] of measured.entries())
        rows.push(
          rateRow(`http ${result.label}, ${count} connections`, result, {
            engine: ways[i]!.label === 'constant' ? 'constant answer' : 'lakegate',
            settings: `replies of about ${bytes} bytes`,
            recall_at_k: ways[i]!.label === 'constant' ? 0 : recall,
          }),
        )
    }
    for (const connection of connections) connection.close()
    return { rows, not_run: [] }
  } finally {
    await server.stop()
  }
}

const eachQuery = (dataset: Dataset, make: (query: Float32Array) => Buffer): Buffer[] =>
  Array.from({ length: dataset.queryCount }, (_, q) => make(row(dataset.queries, dataset.dimension, q)))

const octets = 'application/octet-stream'

const bytesOf = (query: Float32Array): Uint8Array => new Uint8Array(query.buffer, query.byteOffset, query.byteLength)

const rawWay = (dataset: Dataset, k: number): Way => ({
  label: 'raw f32',
  requests: eachQuery(dataset, (query) => requestBytes(`/v1/query?k=${k}`, octets, bytesOf(query))),
})

const jsonWay = (dataset: Dataset, k: number): Way => ({
  label: 'JSON',
  requests: eachQuery(dataset, (query) =>
    requestBytes('/v1/query', 'application/json', JSON.stringify({ vector: Array.from(query), k })),
  ),
})

const constantWay = (dataset: Dataset, bytes: number): Way => ({
  label: 'constant',
  requests: eachQuery(dataset, (query) => requestBytes(`/constant/${bytes}`, octets, bytesOf(query))),
})

function variantOf(way: Way, connections: readonly HttpConnection[], dataset: Dataset): Variant {
  const idle = [...connections]
  return {
    label: way.label,
    async search(query) {
      const connection = idle.pop()!
      const index = (query.byteOffset - dataset.queries.byteOffset) / (4 * dataset.dimension)
      const { status, body } = await connection.send(way.requests[index]!)
      if (status !== 200) throw new Error(`${way.label}: ${status} ${body.toString()}`)
      idle.push(connection)
    },
  }
}

/** Recall of one pass over all queries, and the mean size of a reply's body. */
async function checkAnswers(
  connection: HttpConnection,
  way: Way,
  dataset: Dataset,
  k: number,
): Promise<{ readonly recall: number; readonly bytes: number }> {
  const truth = bruteForce(dataset, k)
  let hits = 0
  let bytes = 0
  for (const [q, request] of way.requests.entries()) {
    const { status, body } = await connection.send(request)
    if (status !== 200) throw new Error(`${way.label}: ${status} ${body.toString()}`)
    const { results } = JSON.parse(body.toString()) as { readonly results: readonly { readonly id: number }[] }
    hits += countHits(
      dataset,
      truth,
      q,
      results.map(({ id }) => id),
    )
    bytes += body.length
  }
  return { recall: round(hits / (k * way.requests.length), 5), bytes: Math.round(bytes / way.requests.length) }
}

async function startServer(asked: HttpServerRequest): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const program = fileURLToPath(new URL('./http-server.js', import.meta.url))
  const child = spawn(process.execPath, [program, JSON.stringify(asked)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const line = once(createInterface({ input: child.stdout }), 'line')
  const first = await Promise.race([line, ended.then(() => null)])
  if (first === null) throw refusal('http: the server could not start')
  return {
    url: String(first[0]),
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}
