/** Every Parquet fixture through the real server: row counts, ids, and top-10 for l2, cosine and dot. */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LakegateProcess, startLakegate } from '../lakegate-process.js'
import { haveShared, sharedPath } from '../shared-fixtures.js'

interface Ranking {
  readonly ids: readonly string[]
  readonly scores: readonly number[]
}

interface Dataset {
  readonly path: string
  readonly id_column: string
  readonly id_kind: 'int' | 'string'
  readonly vector_column: string
  readonly dim: number
  readonly query_vectors?: readonly (readonly number[])[]
  readonly state: {
    readonly row_count: number
    readonly ids_sha256: string
    readonly vectors: { readonly usable: number }
    readonly ids_without_usable_vector?: readonly string[]
    readonly top10: Readonly<Partial<Record<Metric, readonly Ranking[]>>>
  }
}

interface Reply {
  readonly results: readonly { readonly id: string; readonly distance: number }[]
  readonly receipt: {
    readonly complete: boolean
    readonly certificate: { readonly kind: string }
    readonly sources: readonly { readonly rows: number }[]
  }
}

type Metric = 'l2' | 'cosine' | 'dot'
const metrics: readonly Metric[] = ['l2', 'cosine', 'dot']

const read = <T>(name: string): T => JSON.parse(readFileSync(sharedPath(`fixtures/parquet/${name}`), 'utf8')) as T
const datasets = haveShared ? Object.entries(read<{ datasets: Record<string, Dataset> }>('expected.json').datasets) : []
const queries = haveShared ? read<{ queries: readonly (readonly number[])[] }>('queries.json').queries : []

const sourceName = (dataset: number, metric: Metric): string => `set${dataset}-${metric}`

/** Ids keep their digits: a reply is read with every id as text. */
const parseReply = (text: string): Reply => JSON.parse(text.replace(/"id":(-?\d+)/g, '"id":"$1"')) as Reply

const compareIds = (kind: 'int' | 'string') => (a: string, b: string) =>
  kind === 'int' ? (BigInt(a) < BigInt(b) ? -1 : 1) : Buffer.compare(Buffer.from(a), Buffer.from(b))

describe.runIf(haveShared)('every Parquet fixture', () => {
  let directory: string
  let server: LakegateProcess

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'lakegate-fixtures-'))
    const sources = datasets.flatMap(([, dataset], index) =>
      metrics.map(
        (metric) => `[[source]]
name = "${sourceName(index, metric)}"
kind = "parquet"
uri = ${JSON.stringify(sharedPath(`fixtures/parquet/${dataset.path}`))}
id = ${JSON.stringify(dataset.id_column)}
vector = ${JSON.stringify(dataset.vector_column)}
metric = "${metric}"
on_bad_row = "skip"
`,
      ),
    )
    const config = join(directory, 'lakegate.toml')
    writeFileSync(config, `[cache]\ndir = ${JSON.stringify(join(directory, 'cache'))}\n${sources.join('\n')}`)
    server = await startLakegate(['--config', config])
  })

  afterAll(async () => {
    await server?.stop()
    rmSync(directory, { recursive: true, force: true })
  })

  const ask = async (name: string, vector: readonly number[], k: number): Promise<Reply> => {
    const response = await fetch(`${server.url}/v1/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ vector, k, collections: [`${name}/*`] }),
    })
    const text = await response.text()
    expect(response.status, text).toBe(200)
    return parseReply(text)
  }

  test.each(datasets.map(([name], index) => [name, index] as const))('%s', async (_, index) => {
    const dataset = datasets[index]![1]
    const vectors = dataset.query_vectors ?? queries
    for (const metric of metrics) {
      for (const [i, ranking] of (dataset.state.top10[metric] ?? []).entries()) {
        const reply = await ask(sourceName(index, metric), vectors[i]!, 10)
        expect(reply.receipt.complete).toBe(true)
        expect(reply.receipt.certificate.kind).toBe('proven')
        expect(reply.receipt.sources[0]!.rows).toBe(dataset.state.vectors.usable)
        const sign = metric === 'dot' ? -1 : 1
        expect(reply.results.length).toBe(ranking.ids.length)
        for (const [rank, result] of reply.results.entries()) {
          const expected = sign * ranking.scores[rank]!
          const tolerance = 1e-4 * Math.max(1e-3, Math.abs(expected))
          expect(Math.abs(result.distance - expected)).toBeLessThanOrEqual(tolerance)
          if (result.id === ranking.ids[rank]) continue
          // Only rows that tie within the tolerance may stand elsewhere (or beyond the tenth place).
          const at = ranking.ids.indexOf(result.id)
          const score = at === -1 ? ranking.scores.at(-1)! : ranking.scores[at]!
          expect(Math.abs(sign * score - expected)).toBeLessThanOrEqual(tolerance)
        }
      }
    }
    if (dataset.state.row_count > 10_000) return // more rows than the largest k
    const all = await ask(sourceName(index, 'l2'), vectors[0]!, 10_000)
    const ids = [...all.results.map((result) => result.id), ...(dataset.state.ids_without_usable_vector ?? [])]
    if (dataset.state.vectors.usable !== 0 || dataset.state.row_count === 0) {
      expect(ids.length).toBe(dataset.state.row_count)
      const joined = ids.sort(compareIds(dataset.id_kind)).join('\n')
      expect(createHash('sha256').update(joined).digest('hex')).toBe(dataset.state.ids_sha256)
    }
  })
})
