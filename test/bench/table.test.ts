import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { performancePages } from '../../bench/performance-page.js'
import type { ReportRow } from '../../bench/report.js'
import { judgeTable, readTable, type TableRun } from '../../bench/table.js'
import { tableRows } from '../../bench/table-rows.js'
import { runLakegate } from '../cli/run-lakegate.js'
import { reportWith, rowWith } from './reports.js'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-test-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const runWith = (rows: readonly ReportRow[]): TableRun => ({ command: 'lakegate bench', ...reportWith(rows) })

const proven = { kind: 'proven', claimed: 0, violations: 0, queries: 5 }

/** Every bar of `clustered-100k` reached by the given factor. */
const clustered = (factor: number): TableRun =>
  runWith([
    rowWith({ qps: 40_000 * factor, build_ms: 100, bytes_per_vector: 270, certificate: proven }),
    rowWith({ engine: 'rabitq', mode: 'recall >= 0.999', qps: 1000 }),
    rowWith({ engine: 'usearch', mode: 'recall >= 0.99', qps: 5000, bytes_per_vector: 600 }),
    rowWith({ engine: 'hnswlib', mode: 'recall >= 0.999', qps: 6000, build_ms: 6000 }),
  ])

function write(name: string, runs: Readonly<Record<string, TableRun>>): string {
  const path = join(directory, name)
  writeFileSync(path, JSON.stringify({ suite: 'table', runs }))
  return path
}

test('bars are judged by ratios; a row that a bar needs and does not find is no pass', () => {
  const verdicts = (report: TableRun) =>
    judgeTable({ suite: 'table', runs: { 'clustered-100k': report } }).map(({ passed }) => passed)
  expect(verdicts(clustered(1.01))).toEqual([true, true, true, true, true, true, true])
  expect(verdicts(clustered(0.7))).toEqual([false, false, false, true, true, true, true])
  const { rows } = clustered(1.01)
  expect(verdicts(runWith(rows.filter(({ engine }) => engine !== 'hnswlib')))).toEqual([
    ...[true, true, false, false, true, true, true],
  ])
  const heavy = rows.map((row) => (row.engine === 'lakegate' ? { ...row, bytes_per_vector: 700 } : row))
  expect(verdicts(runWith(heavy)).slice(4)).toEqual([true, false, true])
  const wrong = rows.map((row) => ({ ...row, certificate: { ...proven, violations: 1 } }))
  expect(verdicts(runWith(wrong)).at(-1)).toBe(false)
})

test('rows have distinct names, suites that exist, and at least one bar', async () => {
  expect(new Set(tableRows.map(({ name }) => name)).size).toBe(tableRows.length)
  const { stderr } = await runLakegate(['bench', 'nothing'])
  for (const { args, bars } of tableRows) {
    expect(stderr).toContain(args[0])
    expect(bars.length).toBeGreaterThan(0)
  }
})

test('bench table runs what its report lacks, prints every bar, and fails when one is missed', async () => {
  const runs = Object.fromEntries(tableRows.map(({ name }) => [name, runWith([])]))
  const path = write('table.json', { ...runs, 'clustered-100k': clustered(1.01) })
  const before = readFileSync(path, 'utf8')
  const { code, stdout, stderr } = await runLakegate(['bench', 'table', '--json', path])
  expect(stderr).toBe('')
  expect(readFileSync(path, 'utf8')).toBe(before)
  expect(stdout).toMatch(/clustered-100k +exact +rabitq at recall >= 0.999 +40.40 times +at least 40 times +pass/)
  expect(stdout).toMatch(/clustered-1m +exact +our own f32 brute force +not run +at least 150 times +FAIL/)
  expect(code).toBe(1)
})

test('bench table --against names what fell behind the earlier table', async () => {
  const runs = Object.fromEntries(tableRows.map(({ name }) => [name, runWith([])]))
  const earlier = write('earlier.json', { ...runs, 'clustered-100k': clustered(2) })
  const now = write('now.json', { ...runs, 'clustered-100k': clustered(1.01) })
  const { stdout } = await runLakegate(['bench', 'table', '--json', now, '--against', earlier])
  expect(stdout).toMatch(/^behind: clustered-100k: lakegate exact: 5[01] % of its earlier speed/m)
})

test('a row or an earlier report that is none is one line', async () => {
  const path = join(directory, 'search.json')
  writeFileSync(path, JSON.stringify(reportWith([])))
  for (const args of [
    ['--rows', 'glove'],
    ['--json', path],
    ['--against', path],
  ]) {
    const { code, stderr } = await runLakegate(['bench', 'table', ...args])
    expect(code).toBe(2)
    expect(stderr).toMatch(/^lakegate: .*expected .*, found .*\n$/)
  }
})

test('docs/performance.md and its plots are what the recorded table makes', () => {
  const root = new URL('../../', import.meta.url)
  const pages = performancePages(readTable(new URL('bench/reports/table.json', root).pathname))
  expect(pages.size).toBeGreaterThan(1)
  for (const [path, content] of pages) {
    expect(content, path).not.toMatch(/NaN|Infinity|undefined/)
    expect(readFileSync(new URL(`docs/${path}`, root), 'utf8'), `${path}: npm run docs:performance`).toBe(content)
  }
})
