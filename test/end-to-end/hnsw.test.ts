/** index = "hnsw" as a user meets it: a configuration, HTTP, explain, metrics, a restart, and a platform without it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { runLakegate } from '../cli/run-lakegate.js'
import { writeGeneratedParquet } from '../generated-parquet.js'
import { type LakegateProcess, post, startLakegate } from '../lakegate-process.js'

const rows = 5000
let directory: string
let config: string

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'lakegate-hnsw-'))
  const parquet = join(directory, 'rows.parquet')
  await writeGeneratedParquet(parquet, { rows, dimension: 8 })
  config = join(directory, 'lakegate.toml')
  writeFileSync(
    config,
    `[cache]\ndir = ${JSON.stringify(join(directory, 'cache'))}\n[[source]]\nname = "rows"\nkind = "parquet"\nuri = ${JSON.stringify(parquet)}\nindex = "hnsw"\n`,
  )
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const target = { row: { collection: 'rows/rows', id: 7 }, k: 5, recall: 0.95 }
const read = async (url: string): Promise<never> => (await fetch(url)).json() as Promise<never>

interface Collection {
  readonly graph: {
    readonly state: string
    readonly answered: number
    readonly build_ms: number
    readonly recall: readonly unknown[]
  }
}

/** Primes the collection, and waits until its graph answers. */
async function graphReady(server: LakegateProcess): Promise<Collection['graph']> {
  expect(await post(`${server.url}/v1/query`, target)).toMatchObject({ status: 200 })
  const graph = async (): Promise<Collection['graph']> =>
    ((await read(`${server.url}/v1/collections/rows/rows`)) as Collection).graph
  await expect.poll(async () => (await graph()).state, { timeout: 60_000, interval: 50 }).toBe('ready')
  return graph()
}

test('targets are answered by a graph and say so; exact stays proven; a restart builds nothing', async () => {
  const server = await startLakegate(['--config', config])
  onTestFinished(async () => void (await server.stop()))
  const built = await graphReady(server)
  expect(built).toMatchObject({ answered: 0, held_out: 250, last_error: null })
  expect(built.recall.length).toBeGreaterThan(10)
  const answer = await post(`${server.url}/v1/query`, target)
  expect(answer.body).toMatchObject({
    results: [{ id: 7, distance: 0 }, {}, {}, {}, {}],
    receipt: { certificate: { kind: 'target', recall_target: 0.95 } },
  })
  const exact = await post(`${server.url}/v1/query`, { ...target, recall: 'exact' })
  expect(exact.body).toMatchObject({ receipt: { certificate: { kind: 'proven' } } })
  const half = { ...target, filter: { label: { in: ['label 1', 'label 3', 'label 5', 'label 7', 'label 9'] } } }
  const filtered = (await post(`${server.url}/v1/query`, half)).body as { results: { id: number }[] }
  expect(filtered.results.map(({ id }) => id % 2)).toEqual([1, 1, 1, 1, 1])

  const plan = (await post(`${server.url}/v1/explain`, target)).body as { shards: { stages: string[] }[] }
  expect(plan.shards[0]!.stages[1]).toMatch(
    /^search the graph of 5000 rows with \d+ candidates: recall \d\.\d{4} of 5 measured with 250 held-out rows; rerank$/,
  )
  const proof = (await post(`${server.url}/v1/explain`, { ...target, recall: 'exact' })).body as typeof plan
  expect(proof.shards[0]!.stages[1]).toBe('leave the graph aside: it cannot prove what exact asks for')
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  expect(metrics).toMatch(/^lakegate_graph_queries_total\{outcome="answered"\} [12]$/m)
  expect(metrics).toMatch(/^lakegate_cache_graphs 1$/m)
  expect(await server.stop()).toBe(0)

  const again = await startLakegate(['--config', config])
  onTestFinished(async () => void (await again.stop()))
  expect((await graphReady(again)).build_ms).toBe(built.build_ms)
  expect(((await post(`${again.url}/v1/query`, target)).body as { results: unknown }).results).toEqual(
    (answer.body as { results: unknown }).results,
  )
  expect(await again.stop()).toBe(0)
})

/** Where usearch has no build, importing it throws. */
const withoutUsearch = `data:text/javascript,${encodeURIComponent(`
  import { register } from 'node:module'
  register('data:text/javascript,' + encodeURIComponent(\`export async function resolve(name, context, next) {
    if (name === 'usearch') throw new Error('No native build was found')
    return next(name, context)
  }\`))`)}`

test('a platform without usearch: that source is refused by name, and everything else works', async () => {
  const environment = { NODE_OPTIONS: `--import ${withoutUsearch}` }
  const refused = await runLakegate(['serve', '--config', config, '--port', '0'], { environment })
  expect(refused.code).toBe(2)
  expect(refused.stderr.trim().split('\n').at(-1)).toBe(
    `lakegate: source "rows": index: "hnsw" needs the optional package usearch, which is not installed or has no build for ` +
      `${process.platform}-${process.arch}; install it, or use "auto", which needs no package and answers every contract`,
  )
  const served = await startLakegate([join(directory, 'rows.parquet'), '--cache-dir', join(directory, 'other')], {
    env: environment,
  })
  expect(await post(`${served.url}/v1/query`, target)).toMatchObject({ status: 200 })
  const added = await post(`${served.url}/v1/sources`, {
    name: 'graph',
    uri: join(directory, 'rows.parquet'),
    index: 'hnsw',
  })
  expect(added).toMatchObject({ status: 422, body: { field: 'index' } })
  expect(await served.stop()).toBe(0)
})

test('index is one of three words', async () => {
  const wrong = join(directory, 'wrong.toml')
  writeFileSync(wrong, '[[source]]\nname = "rows"\nkind = "parquet"\nuri = "rows.parquet"\nindex = "ivf"\n')
  const { code, stderr } = await runLakegate(['serve', '--config', wrong])
  expect(code).toBe(2)
  expect(stderr).toContain('wrong.toml:5: source[0].index: expected one of "auto", "flat", "hnsw", found "ivf"')
})
