import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runLakegate } from '../cli/run-lakegate.js'
import { reportWith } from './reports.js'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-test-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const small = ['--n', '2000', '--query-count', '10', '--seconds', '1']

async function report(
  args: readonly string[],
): Promise<{ rows: { [key: string]: unknown }[]; [key: string]: unknown }> {
  const path = join(directory, 'report.json')
  const { code, stderr } = await runLakegate(['bench', ...args, '--json', path])
  expect(code, stderr).toBe(0)
  return JSON.parse(readFileSync(path, 'utf8')) as never
}

test('bench search: the report has every field of the interface, and exact means recall 1', async () => {
  const found = await report([
    'search',
    ...small,
    '--dim',
    '32',
    '--modes',
    'exact,certified,0.9,brute',
    '--peers',
    'duckdb',
  ])
  expect(Object.keys(found)).toEqual([...['suite', 'machine', 'commit', 'seed', 'dataset', 'rows', 'not_run']])
  expect(found.dataset).toEqual({ name: 'clustered', n: 2000, dim: 32, metric: 'l2', queries: 10, k: 10 })
  const [brute, ...rows] = found.rows
  expect(brute).toMatchObject({ engine: 'lakegate', mode: 'brute', recall_at_k: 1 })
  expect(rows.map((row) => `${row.engine} ${row.mode}`)).toEqual([
    'lakegate exact',
    'lakegate certified',
    'lakegate 0.9',
    'duckdb exact',
  ])
  for (const row of found.rows)
    expect(Object.keys(row).sort()).toEqual(
      [
        ...[
          'engine',
          'mode',
          'settings',
          'qps_spread',
          'threads',
          'recall_at_k',
          'qps',
          'p50_us',
          'p95_us',
          'p99_us',
          'build_ms',
          'first_query_ms',
        ],
        ...['bytes_per_vector', 'certificate'],
      ].sort(),
    )
  expect(rows[0]).toMatchObject({
    recall_at_k: 1,
    certificate: { kind: 'proven', claimed: 0, violations: 0, queries: 10 },
  })
  expect(rows[3]).toMatchObject({ recall_at_k: 1, certificate: null })
})

test('bench search reads raw f32 files', async () => {
  const values = Float32Array.from({ length: 500 * 7 }, (_, i) => Math.sin(i * i))
  writeFileSync(join(directory, 'base.f32'), new Uint8Array(values.buffer))
  const found = await report([
    'search',
    '--base',
    join(directory, 'base.f32'),
    '--dim',
    '7',
    '--metric',
    'cosine',
    ...small,
  ])
  expect(found.dataset).toMatchObject({ n: 500, dim: 7, metric: 'cosine', queries: 10 })
  expect(found.rows[0]).toMatchObject({ engine: 'lakegate', mode: 'exact', recall_at_k: 1 })
})

test('bench filters and federation run', async () => {
  const filters = await report(['filters', ...small, '--dim', '16'])
  expect(filters.rows.map((row) => [row.mode, row.recall_at_k])).toEqual([
    ['exact, no filter', 1],
    ['exact, filter 1 %', 1],
    ['exact, filter 10 %', 1],
    ['exact, filter 50 %', 1],
  ])
  const federation = await report(['federation', ...small, '--dim', '16'])
  expect(federation.rows).toHaveLength(8)
})

test('what is not known is one line', async () => {
  for (const args of [
    ['sort'],
    ['search', '--dataset', 'glove'],
    ['search', ...small, '--peers', 'faiss'],
    ['search', ...small, '--peers', 'duckdb@1.5'],
    ['search', ...small, '--modes', 'certified@2'],
    ['search', '--modes', 'fast', ...small],
  ]) {
    const { code, stderr } = await runLakegate(['bench', ...args])
    expect(code).toBe(2)
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^lakegate: .*expected .*, found /)
    expect(stderr).not.toMatch(/^\s+at /m)
  }
})

test('bench micro: one row a hot function, in the same form', async () => {
  const found = await report(['micro', ...small, '--dim', '8'])
  expect(found.rows.map((row) => row.mode)).toEqual([
    'search exact, 2000 rows',
    'search certified, 2000 rows',
    'filter vectorised, 2000 rows',
    'filter reference, 2000 rows',
    'merge 4 lists of 10',
    'parse JSON query, 8 numbers',
    'parse raw query, 8 numbers',
    'answer to JSON, k = 10',
  ])
  for (const row of found.rows) expect(row.p50_us).toBeGreaterThan(0)
})

test('every peer that was asked for is in the report: measured, or not run with its reason', async () => {
  const peers =
    'usearch@0.9,usearch@0.99,usearch-exact,hnswlib,rabitq,lancedb,sqlite-vec,faiss-hnsw,faiss-ivf,faiss-rabitq,faiss-ivf-rabitq'
  const found = await report(['search', ...small, '--dim', '16', '--modes', 'exact', '--seeds', '2', '--peers', peers])
  const notRun = found.not_run as { engine: string; reason: string }[]
  const engines = new Set([...found.rows.map((row) => row.engine), ...notRun.map(({ engine }) => engine)])
  expect([...engines].sort()).toEqual([...new Set(['lakegate', ...peers.replaceAll(/@[\d.]+/g, '').split(',')])].sort())
  for (const { engine, reason } of notRun) expect(reason, engine).not.toBe('')
  const ours = found.rows.filter((row) => row.engine === 'lakegate')
  expect(ours).toHaveLength(1)
  expect(ours[0]).toMatchObject({ recall_at_k: 1, certificate: { violations: 0, queries: 20 } })
  for (const row of found.rows.filter((row) => String(row.mode).startsWith('recall >= ')))
    expect(row.recall_at_k, String(row.settings)).toBeGreaterThan(0.8)
})

test('a peer that cannot run is named with its reason, and the others are measured', async () => {
  const path = join(directory, 'dot.json')
  const args = ['search', ...small, '--dim', '8', '--metric', 'dot', '--modes', 'exact', '--peers', 'sqlite-vec,duckdb']
  const { code, stdout } = await runLakegate(['bench', ...args, '--json', path])
  expect(code).toBe(0)
  expect(stdout).toMatch(/^not run: sqlite-vec: (it knows l2 and cosine only|not installed)/m)
  const found = JSON.parse(readFileSync(path, 'utf8')) as Awaited<ReturnType<typeof report>>
  expect(found.not_run).toEqual([
    { engine: 'sqlite-vec', reason: expect.stringMatching(/l2 and cosine|not installed/) },
  ])
  expect(found.rows.map((row) => [row.engine, row.recall_at_k])).toEqual([
    ['lakegate', 1],
    ['duckdb', 1],
  ])
})

test('bench build: the first answer is right, and comes before the index is settled', async () => {
  const found = await report(['build', '--n', '5000', '--dim', '16', '--peers', 'duckdb,sqlite-vec'])
  const [ready, settled] = found.rows as { mode: string; build_ms: number; recall_at_k: number }[]
  expect([ready!.mode, settled!.mode]).toEqual(['ready to answer', 'index settled'])
  expect(ready).toMatchObject({ recall_at_k: 1 })
  expect(settled!.build_ms).toBeGreaterThan(ready!.build_ms)
  expect(found.rows.find((row) => row.engine === 'duckdb')).toMatchObject({ mode: 'built', bytes_per_vector: 68 })
})

test('bench http: raw and JSON queries beside a constant answer, from another process', async () => {
  const found = await report(['http', ...small, '--dim', '16'])
  expect(found.rows.map((row) => [row.engine, row.mode, row.recall_at_k])).toEqual(
    [8, 16].flatMap((connections) => [
      ['lakegate', `http raw f32, ${connections} connections`, 1],
      ['lakegate', `http JSON, ${connections} connections`, 1],
      ['constant answer', `http constant, ${connections} connections`, 0],
    ]),
  )
  for (const row of found.rows) expect(row.qps).toBeGreaterThan(0)
})

test('bench restart: right answers from Parquet and from the cache directory that this left', async () => {
  const found = await report(['restart', '--n', '5000', '--dim', '16', '--seconds', '1'])
  expect(found.rows.map((row) => row.mode)).toEqual(['start, building from Parquet', 'start, from the cache'])
  for (const row of found.rows) expect(row.p50_us).toBeGreaterThan(0)
})

test('bench --against: the report of another suite is refused', async () => {
  const path = join(directory, 'earlier.json')
  writeFileSync(path, JSON.stringify(reportWith([])))
  const { code, stderr } = await runLakegate(['bench', 'micro', ...small, '--against', path])
  expect({ code, stderr }).toEqual({
    code: 2,
    stderr: `lakegate: ${path}: expected a report of bench micro, found suite "search"\n`,
  })
})

test('bench scale: files are drawn one by one, answers over HTTP are right, and resident memory is told', async () => {
  const found = await report(['scale', '--n', '5000', '--dim', '16', '--query-count', '5'])
  expect(found.rows.map((row) => [row.mode, row.recall_at_k])).toEqual([
    ['exact, over HTTP', 1],
    ['0.99, over HTTP', expect.closeTo(1, 1)],
  ])
  expect(found.rows[0]).toMatchObject({ certificate: { kind: 'proven', violations: 0, queries: 5 } })
  expect(found.rows[0]!.bytes_per_vector).toBeGreaterThan(1000)
})
