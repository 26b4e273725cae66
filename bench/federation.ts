/**
 * The federation tax (the same rows as 1, 2 and 4 collections; in process and through HTTP), and what worker threads give
 * queries that are CPU-bound.
 */
import { request } from 'undici'
import { createGatewayServer } from './gateway-server.js'
import { type OpenGateway, openGateway, searchFor } from './lakegate.js'
import { type ReportRow, round } from './report.js'
import type { DatasetSuite } from './suite.js'
import { measureThroughput, rateRow, type Throughput, type Variant } from './throughput.js'

const collectionCounts = [1, 2, 4]

export const federationSuite: DatasetSuite = async (dataset, options, say) => {
  const rows: ReportRow[] = []
  const { k, seed, seconds } = options

  say('federation: 1, 2 and 4 collections')
  const split: OpenGateway[] = []
  const served: Served[] = []
  for (const collectionCount of collectionCounts) {
    const opened = await openGateway(dataset, { workers: 0, seed, collectionCount })
    split.push(opened)
    served.push(await serve(opened))
  }
  const inProcess = collectionCounts.map((count, i) => gatewayVariant(`collections=${count}`, split[i]!, k))
  const overHttp = collectionCounts.map((count, i) => httpVariant(`http collections=${count}`, served[i]!.url, k))
  const alone = await measureThroughput(dataset, [...inProcess, ...overHttp], { inFlight: 1, seconds })
  for (const [i, result] of alone.entries()) rows.push(throughputRow(result, 1, split[i % split.length]!))
  for (const one of served) await one.close()
  for (const one of split) await one.close()

  // Flat, so that a query is long enough to be handed over, whatever the data.
  say(`threads: 1 and ${options.threads} workers, flat`)
  const counts = [1, options.threads]
  const threaded: OpenGateway[] = []
  for (const workers of counts) threaded.push(await openGateway(dataset, { workers, seed, index: 'flat' }))
  const variants = counts.map((workers, i) => gatewayVariant(`flat workers=${workers}`, threaded[i]!, k))
  const together = await measureThroughput(dataset, variants, { inFlight: 4 * options.threads, seconds })
  for (const [i, result] of together.entries()) rows.push(throughputRow(result, counts[i]!, threaded[i]!))
  for (const one of threaded) await one.close()
  return { rows, not_run: [] }
}

function gatewayVariant(label: string, opened: OpenGateway, k: number): Variant {
  const { signal } = new AbortController()
  return { label, search: (query) => opened.gateway.search(searchFor(query, k), { signal }) }
}

interface Served {
  readonly url: string
  close(): Promise<void>
}

async function serve(opened: OpenGateway): Promise<Served> {
  const server = createGatewayServer(opened)
  return { url: await server.listen({ host: '127.0.0.1', port: 0 }), close: () => server.close() }
}

function httpVariant(label: string, url: string, k: number): Variant {
  const headers = { 'content-type': 'application/json' }
  return {
    label,
    async search(query) {
      const body = JSON.stringify({ vector: Array.from(query), k, select: [] })
      const reply = await request(`${url}/v1/query`, { method: 'POST', headers, body })
      const text = await reply.body.text()
      if (reply.statusCode !== 200) throw new Error(`${label}: ${reply.statusCode} ${text}`)
    },
  }
}

function throughputRow(result: Throughput, threads: number, opened: OpenGateway): ReportRow {
  const { buildMs, bytesPerVector } = opened
  return rateRow(`exact ${result.label}`, result, {
    threads,
    build_ms: round(buildMs, 1),
    bytes_per_vector: round(bytesPerVector, 1),
  })
}
