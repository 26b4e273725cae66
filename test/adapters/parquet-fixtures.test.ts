/** Every dataset of the shared Parquet fixtures: rows, ids, counts, metadata and nearest neighbours as other tools see them. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { openParquet } from '../../src/adapters/parquet.js'
import { compareIds, type RowId } from '../../src/core/id.js'
import { type Metric, metrics } from '../../src/core/metric.js'
import { haveShared, sharedPath } from '../shared-fixtures.js'
import { nearest, type PulledCollection, type PulledRow, pullCollection } from './pulled-rows.js'

interface State {
  readonly row_count: number
  readonly ids_sha256: string
  readonly vectors: {
    readonly usable: number
    readonly null: number
    readonly wrong_dim: number
    readonly non_finite_or_null_element: number
  }
  readonly ids?: readonly string[]
  readonly ids_without_usable_vector?: readonly string[]
  readonly top10: Readonly<
    Partial<Record<Metric, readonly { readonly ids: readonly string[]; readonly scores: readonly number[] }[]>>
  >
}

interface Dataset {
  readonly path: string
  readonly id_column: string
  readonly id_kind: 'int' | 'string'
  readonly vector_column: string
  readonly dim: number
  readonly state: State
  readonly query_vectors?: readonly (readonly number[])[]
  readonly file_rows?: number
  readonly sample_rows?: readonly Readonly<Record<string, unknown>>[]
  readonly counts?: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly null_counts?: Readonly<Record<string, number>>
  readonly installed_size_sum?: string
  readonly partition_rows?: Readonly<Record<string, number>>
  readonly filtered?: { readonly row_count: number; readonly ids_sha256: string }
}

const readJson = (path: string) => JSON.parse(readFileSync(sharedPath(`fixtures/parquet/${path}`), 'utf8'))

const datasets: Readonly<Record<string, Dataset>> = haveShared ? readJson('expected.json').datasets : {}
const queries: readonly (readonly number[])[] = haveShared ? readJson('queries.json').queries : []

/** Options beyond the defaults; everything else must be detected. */
function optionsFor(name: string, dataset: Dataset): Record<string, unknown> {
  const { wrong_dim, non_finite_or_null_element } = dataset.state.vectors
  return {
    ...(wrong_dim + non_finite_or_null_element > 0 && { on_bad_row: 'skip' }),
    ...(dataset.id_column !== 'id' && { id: dataset.id_column }),
    ...(name.startsWith('types/two_vectors') && { vector: dataset.vector_column }),
  }
}

const open = (dataset: Dataset, options: Record<string, unknown>) =>
  openParquet({ name: 'fixture', uri: sharedPath(`fixtures/parquet/${dataset.path}`), options })

const sorted = (ids: readonly RowId[]): RowId[] => [...ids].sort(compareIds)
const idsHash = (ids: readonly RowId[]): string => createHash('sha256').update(sorted(ids).join('\n')).digest('hex')

describe.skipIf(!haveShared)('parquet fixtures', () => {
  it('has every dataset', () => {
    expect(Object.keys(datasets).length).toBeGreaterThan(50)
  })

  describe.each(Object.entries(datasets))('%s', (name, dataset) => {
    const { state } = dataset
    let pulled: Promise<PulledCollection> | undefined
    const pull = () => (pulled ??= pullCollection(open(dataset, optionsFor(name, dataset))))

    it('detects columns and dimension', async () => {
      const { manifest } = await pull()
      expect(manifest.vectorColumn).toBe(dataset.vector_column)
      expect(manifest.idColumn).toBe(dataset.id_column)
      expect(manifest.dimension).toBe(state.vectors.usable === 0 ? null : dataset.dim)
    })

    it('counts usable, null and bad rows', async () => {
      const { rows, skipped, manifest } = await pull()
      expect(rows.length).toBe(state.vectors.usable)
      expect(skipped).toEqual({
        nullVector: state.vectors.null,
        nullId: (dataset.file_rows ?? state.row_count) - state.row_count,
        badVector: state.vectors.wrong_dim + state.vectors.non_finite_or_null_element,
      })
      const known = manifest.parts.reduce((sum, part) => sum + part.rows!, 0)
      expect(known).toBe(dataset.file_rows ?? state.row_count)
    })

    it('has the ids', async () => {
      const { rows } = await pull()
      const missing = (state.ids_without_usable_vector ?? []).map((id) => (dataset.id_kind === 'int' ? BigInt(id) : id))
      const ids = [...rows.map(({ id }) => id), ...missing]
      expect(ids.every((id) => typeof id === (dataset.id_kind === 'int' ? 'bigint' : 'string'))).toBe(true)
      // Of a file whose vectors are all null the fixture lists no ids.
      if (ids.length === 0) expect(state.vectors.usable).toBe(0)
      else expect(idsHash(ids)).toBe(state.ids_sha256)
    })

    it.each(metrics)('has the nearest rows by %s', async (metric) => {
      const { rows } = await pull()
      const vectors = dataset.query_vectors ?? queries
      const wanted = state.top10[metric]
      if (wanted === undefined) {
        expect(rows).toEqual([]) // only datasets without a usable vector have no answers
        return
      }
      expect(wanted.length).toBe(vectors.length)
      for (const [index, expected] of wanted.entries()) {
        expectNearest(rows, metric, Float32Array.from(vectors[index]!), expected)
      }
    })

    it('has the metadata', async () => {
      const { rows } = await pull()
      for (const sample of dataset.sample_rows ?? []) expectSample(rows, sample)
      for (const [column, counts] of Object.entries(dataset.counts ?? {})) {
        expect(Object.fromEntries(countBy(rows, (row) => row.metadata[column]))).toEqual(counts)
      }
      for (const [column, count] of Object.entries(dataset.null_counts ?? {})) {
        expect(rows.filter((row) => row.metadata[column] === null).length, column).toBe(count)
      }
      if (dataset.installed_size_sum !== undefined) {
        const sum = rows.reduce((total, row) => total + BigInt(row.metadata.installed_size as bigint), 0n)
        expect(String(sum)).toBe(dataset.installed_size_sum)
      }
      if (dataset.partition_rows !== undefined) {
        const counts = countBy(rows, (row) => row.part.split('/').slice(0, -1).join('/'))
        expect(Object.fromEntries(counts)).toEqual(dataset.partition_rows)
      }
      if (dataset.filtered !== undefined) {
        // The fixture's filter: lang = 'de' and year >= 2022, columns that only the paths hold.
        const kept = rows.filter(({ metadata }) => metadata.lang === 'de' && (metadata.year as bigint) >= 2022n)
        expect(kept.length).toBe(dataset.filtered.row_count)
        expect(idsHash(kept.map(({ id }) => id))).toBe(dataset.filtered.ids_sha256)
      }
    })
  })

  it.each(
    Object.entries(datasets).filter(
      ([, { state }]) => state.vectors.wrong_dim + state.vectors.non_finite_or_null_element > 0,
    ),
  )('%s is refused without on_bad_row = "skip", naming file, row and what was found', async (_, dataset) => {
    const pull = pullCollection(open(dataset, {}))
    await expect(pull).rejects.toMatchObject({ code: 'LG_BAD_ROW' })
    await expect(pull).rejects.toThrow(/\.parquet, row \d+ .*(elements|NaN|Infinity|null)/)
  })

  it('two vector columns without the option "vector" are refused, listing both', async () => {
    const pull = pullCollection(open(datasets['types/two_vectors']!, {}))
    await expect(pull).rejects.toMatchObject({ code: 'LG_UNSUPPORTED', field: 'vector' })
    await expect(pull).rejects.toThrow(/"title_vec".*"embedding"|"embedding".*"title_vec"/)
  })
})

function countBy(rows: readonly PulledRow[], value: (row: PulledRow) => unknown): Map<string, number> {
  const counts = new Map<string, number>()
  for (const row of rows) {
    const cell = value(row)
    const key = cell === null ? 'None' : String(cell)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

/** Scores agree within 1e-4 (relative); rows may trade places only where their scores do. */
function expectNearest(
  rows: readonly PulledRow[],
  metric: Metric,
  query: Float32Array,
  expected: { readonly ids: readonly string[]; readonly scores: readonly number[] },
): void {
  const hits = nearest(rows, metric, query, expected.ids.length)
  const scoreOf = (distance: number) => (metric === 'dot' ? -distance : distance)
  const isClose = (a: number, b: number) => Math.abs(a - b) <= 1e-4 * Math.max(Math.abs(a), Math.abs(b), 1e-3)
  expect(hits.length).toBe(expected.ids.length)
  for (const [rank, hit] of hits.entries()) {
    const score = scoreOf(hit.distance)
    expect(isClose(score, expected.scores[rank]!), `rank ${rank}: ${score} and ${expected.scores[rank]}`).toBe(true)
    const theirs = expected.scores.filter((_, index) => expected.ids[index] === String(hit.id))
    const allowed = theirs.length > 0 ? theirs : [expected.scores.at(-1)!]
    expect(
      allowed.some((their) => isClose(score, their)),
      `id ${hit.id}`,
    ).toBe(true)
  }
}

/** Compares the sample's columns with a pulled row, in the form the fixture writes them. */
function expectSample(rows: readonly PulledRow[], sample: Readonly<Record<string, unknown>>): void {
  const row = rows.find(({ id }) => String(id) === sample.id)
  expect(row, `row ${sample.id}`).toBeDefined()
  for (const [column, expected] of Object.entries(sample)) {
    if (column === 'id') continue
    expect(render(column, row!), `${column} of row ${sample.id}`).toEqual(expected)
  }
}

function render(column: string, { metadata }: PulledRow): unknown {
  switch (column) {
    case 'info':
      return JSON.parse(metadata.info as string)
    case 'epoch_us':
      return String(Math.round((metadata.ts_us_utc as number) * 1000))
    case 'ts_us_utc': {
      const micros = BigInt(Math.round((metadata.ts_us_utc as number) * 1000))
      const fraction = String(micros % 1_000_000n).padStart(6, '0')
      return `${new Date(Number(micros / 1000n)).toISOString().slice(0, 19)}.${fraction}+00:00`
    }
    case 'day':
      return new Date(metadata.day as number).toISOString().slice(0, 10)
    case 'price':
      return decimalText(metadata.price as Uint32Array, 2)
    case 'big_price':
      return decimalText(metadata.big_price as Uint32Array, 4)
    default:
      return metadata[column]
  }
}

function decimalText(words: Uint32Array, scale: number): string {
  const digits = String(words.reduceRight((value, word) => (value << 32n) | BigInt(word), 0n))
  return `${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
