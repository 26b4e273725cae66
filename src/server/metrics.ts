import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { GatewayError } from '../core/errors.js'
import type { Answer } from '../federation/answer.js'
import type { AuditStatistics, ContractAudit } from '../federation/audit.js'
import type { Gateway } from '../federation/gateway.js'
import type { ConnectionCounts } from './connections.js'

export interface Metrics {
  readonly registry: Registry
  request(route: string, method: string, status: number, seconds: number): void
  answered(answer: Answer): void
  failed(error: GatewayError): void
}

/** Sums of other metrics of prom-client's, gauges with the suffix of counters. */
const misnamedTotals = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/** Prometheus metrics of one server. @param registry the server's own when it is given none */
export function createMetrics(gateway: Gateway, connections: ConnectionCounts, registry = new Registry()): Metrics {
  collectDefaultMetrics({ register: registry })
  for (const name of misnamedTotals) registry.removeSingleMetric(name)
  const registers = [registry]
  const requests = new Histogram({
    name: 'lakegate_http_request_duration_seconds',
    help: 'Time from the request head to the end of the reply.',
    labelNames: ['route', 'method', 'status'] as const,
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
    collect: () => requestPending.hand(),
  })
  const queries = new Counter({
    name: 'lakegate_queries_total',
    help: 'Queries by outcome: complete, partial, or the code of the error.',
    labelNames: ['outcome'] as const,
    registers,
    collect: () => queryPending.hand(),
  })
  const certificates = new Counter({
    name: 'lakegate_certificates_total',
    help: 'Answers by the kind of their certificate.',
    labelNames: ['kind'] as const,
    registers,
    collect: () => certificatePending.hand(),
  })
  const sources = new Counter({
    name: 'lakegate_source_outcomes_total',
    help: 'Shards of answers by backend and what became of them.',
    labelNames: ['backend', 'status'] as const,
    registers,
    collect: () => sourcePending.hand(),
  })
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
  }
  gauge('lakegate_cache_memory_bytes', 'Bytes of segments and graphs in memory.', () => gateway.cache().memoryBytes)
  gauge('lakegate_cache_memory_limit_bytes', 'The memory budget.', () => gateway.cache().memoryBytesMax)
  gauge('lakegate_cache_disk_bytes', 'Bytes of segment and graph files.', () => gateway.cache().diskBytes)
  gauge('lakegate_cache_disk_limit_bytes', 'The disk budget.', () => gateway.cache().diskBytesMax)
  gauge('lakegate_cache_arenas', 'Shared WebAssembly memories in the pool.', () => gateway.cache().arenas)
  gauge('lakegate_http_connections', 'Open connections of the HTTP server.', () => connections.open)
  new Counter({
    name: 'lakegate_http_connections_refused_total',
    help: 'Connections refused because server.connections_max were open.',
    registers,
    collect() {
      this.reset()
      this.inc(connections.refused)
    },
  })
  gauge('lakegate_cache_graphs', 'HNSW graphs in memory.', () => gateway.cache().graphs.ready)
  gauge('lakegate_cache_graph_bytes', 'Bytes of graphs in memory.', () => gateway.cache().graphs.bytes)
  new Counter({
    name: 'lakegate_graph_queries_total',
    help: 'Queries for a target recall of collections with a graph: answered by it, or left to the scan.',
    labelNames: ['outcome'],
    registers,
    collect() {
      const { answered, left } = gateway.cache().graphs
      this.reset()
      this.inc({ outcome: 'answered' }, answered)
      this.inc({ outcome: 'left' }, left)
    },
  })
  gauge('lakegate_ready', '1 when every source has been listed once.', () => (gateway.ready() ? 1 : 0))
  if (gateway.auditStatistics() !== null) auditMetrics(gateway, registers)
  const requestPending = new PendingMetrics()
  const queryPending = new PendingMetrics()
  const certificatePending = new PendingMetrics()
  const sourcePending = new PendingMetrics()
  const requestChildren = childrenOf((route: string) =>
    childrenOf((method: string) =>
      childrenOf((status: number) => requestPending.durations(requests.labels(route, method, String(status)))),
    ),
  )
  const queryChildren = childrenOf((outcome: string) => queryPending.count(queries.labels(outcome)))
  const certificateChildren = childrenOf((kind: string) => certificatePending.count(certificates.labels(kind)))
  const sourceChildren = childrenOf((backend: string) =>
    childrenOf((status: string) => sourcePending.count(sources.labels(backend, status))),
  )
  return {
    registry,
    request: (route, method, status, seconds) => requestChildren(route)(method)(status).observe(seconds),
    answered(answer) {
      if (answer.receipt === null) {
        queryChildren('unreported').inc()
        return
      }
      queryChildren(answer.receipt.complete ? 'complete' : 'partial').inc()
      certificateChildren(answer.receipt.certificate.kind).inc()
      for (const source of answer.receipt.sources) sourceChildren(source.backend)(source.status).inc()
    },
    failed: (error) => queryChildren(error.code).inc(),
  }
}

/** What audits found, read from the gateway when it is asked for. */
function auditMetrics(gateway: Gateway, registers: Registry[]): void {
  const counter = (name: string, help: string, label: string, read: (audits: AuditStatistics) => object): void => {
    new Counter({
      name,
      help,
      labelNames: [label],
      registers,
      collect() {
        this.reset()
        for (const [value, count] of Object.entries(read(gateway.auditStatistics()!)))
          this.inc({ [label]: value }, count)
      },
    })
  }
  const byContract = (name: string, help: string, read: (audit: ContractAudit) => number): void =>
    counter(name, help, 'contract', ({ contracts }) =>
      Object.fromEntries(Object.entries(contracts).map(([contract, audit]) => [contract, read(audit)])),
    )
  counter(
    'lakegate_audits_total',
    'Answers drawn for an audit by what became of it: complete, partial, dropped, gone or failed.',
    'outcome',
    ({ outcomes }) => outcomes,
  )
  byContract(
    'lakegate_audit_neighbours_total',
    'True nearest rows of completely audited answers.',
    ({ expected }) => expected,
  )
  byContract('lakegate_audit_neighbours_missed_total', 'Those of them that the answers lacked.', ({ missed }) => missed)
  byContract(
    'lakegate_audit_violations_total',
    'Audited answers that broke their certificate. Anything but 0 is a defect.',
    ({ violations }) => violations,
  )
  new Gauge({
    name: 'lakegate_audit_recall',
    help: 'Share of true nearest rows that completely audited answers had; absent before the first.',
    labelNames: ['contract'],
    registers,
    collect() {
      for (const [contract, { expected, missed }] of Object.entries(gateway.auditStatistics()!.contracts))
        if (expected > 0) this.set({ contract }, 1 - missed / expected)
    },
  })
}

/** Durations that are kept before prom-client is told of them. */
const durationsMax = 256

/**
 * What happened since prom-client was told. It hashes and checks labels for every event, which among the other work of a query
 * takes microseconds; it is told when it is asked.
 */
class PendingMetrics {
  readonly #handOvers: (() => void)[] = []

  hand(): void {
    for (const handOver of this.#handOvers) handOver()
  }

  count(child: { inc(count: number): void }): { inc(): void } {
    let count = 0
    this.#handOvers.push(() => {
      if (count > 0) child.inc(count)
      count = 0
    })
    return {
      inc: () => {
        count += 1
      },
    }
  }

  durations(child: { observe(seconds: number): void }): { observe(seconds: number): void } {
    const seen = new Float64Array(durationsMax)
    let count = 0
    const handOver = (): void => {
      for (let i = 0; i < count; i++) child.observe(seen[i]!)
      count = 0
    }
    this.#handOvers.push(handOver)
    return {
      observe: (seconds) => {
        seen[count++] = seconds
        if (count === durationsMax) handOver()
      },
    }
  }
}

function childrenOf<K, T>(make: (key: K) => T): (key: K) => T {
  const children = new Map<K, T>()
  return (key) => {
    let child = children.get(key)
    if (child === undefined) {
      child = make(key)
      children.set(key, child)
    }
    return child
  }
}
