/** What a report is held to. */
import { recallMode } from './engines/open-peers.js'
import type { Report, ReportRow } from './report.js'

export interface Bar {
  /** Of what is asked. */
  readonly what: string
  readonly against: string
  readonly limit: {
    readonly kind: 'at least' | 'at most'
    readonly value: number
    readonly unit: 'times' | 'us' | 'ms' | 'GiB' | 'wrong' | 'recall'
  }
  /** Null when the report lacks a row that it needs. */
  figure(report: Report): number | null
}

export interface Judged {
  readonly row: string
  readonly what: string
  readonly against: string
  readonly limit: Bar['limit']
  /** Null: it could not be measured, which is no pass. */
  readonly figure: number | null
  readonly passed: boolean
}

export function judge(row: string, { what, against, limit, figure }: Bar, report: Report): Judged {
  const found = figure(report)
  const passed = found !== null && (limit.kind === 'at least' ? found >= limit.value : found <= limit.value)
  return { row, what, against, limit, figure: found, passed }
}

const rowOf = (report: Report, engine: string, mode: string): ReportRow | undefined =>
  report.rows.find((row) => row.engine === engine && row.mode === mode)

/** How many times more queries a second; `other`: an engine and its mode. */
function rate(report: Report, mode: string, other: readonly [engine: string, mode: string]): number | null {
  const ours = rowOf(report, 'lakegate', mode)
  const theirs = rowOf(report, ...other)
  return ours === undefined || theirs === undefined ? null : ours.qps / theirs.qps
}

export const fasterThan = (mode: string, engine: string, recall: number, times: number): Bar => ({
  what: mode,
  against: `${engine} at recall >= ${recall}`,
  limit: { kind: 'at least', value: times, unit: 'times' },
  figure: (report) => rate(report, mode, [engine, recallMode(recall)]),
})

export const fasterThanBruteForce = (mode: string, times: number): Bar => ({
  what: mode,
  against: 'our own f32 brute force',
  limit: { kind: 'at least', value: times, unit: 'times' },
  figure: (report) => rate(report, mode, ['lakegate', 'brute']),
})

export const recallReached = (mode: string, recall: number): Bar => ({
  what: `${mode}, recall`,
  against: '',
  limit: { kind: 'at least', value: recall, unit: 'recall' },
  figure: (report) => rowOf(report, 'lakegate', mode)?.recall_at_k ?? null,
})

export const medianAtMost = (mode: string, us: number): Bar => ({
  what: `${mode}, p50`,
  against: '',
  limit: { kind: 'at most', value: us, unit: 'us' },
  figure: (report) => rowOf(report, 'lakegate', mode)?.p50_us ?? null,
})

export const readySoonerThan = (engine: string, recall: number, times: number): Bar => ({
  what: 'ready to answer, from vectors in memory',
  against: `${engine} build`,
  limit: { kind: 'at least', value: times, unit: 'times' },
  figure(report) {
    const ours = rowOf(report, 'lakegate', 'exact')
    const theirs = rowOf(report, engine, recallMode(recall))
    return ours === undefined || theirs === undefined ? null : theirs.build_ms / ours.build_ms
  },
})

export const readyWithin = (ms: number): Bar => ({
  what: 'ready to answer, from vectors in memory',
  against: '',
  limit: { kind: 'at most', value: ms, unit: 'ms' },
  figure: (report) => rowOf(report, 'lakegate', 'exact')?.build_ms ?? null,
})

/** With the originals in memory, and what is left in memory when they are on disk. */
export const memoryBars = (recall: number): readonly Bar[] => {
  const share = (report: Report, outside: number): number | null => {
    const ours = rowOf(report, 'lakegate', 'exact')?.bytes_per_vector ?? null
    const theirs = rowOf(report, 'usearch', recallMode(recall))?.bytes_per_vector ?? null
    return ours === null || theirs === null ? null : (ours - outside) / theirs
  }
  const against = 'usearch f32'
  return [
    {
      what: 'bytes a vector, originals included',
      against,
      limit: { kind: 'at most', value: 1.4, unit: 'times' },
      figure: (report) => share(report, 0),
    },
    {
      what: 'bytes a vector, originals on disk',
      against,
      limit: { kind: 'at most', value: 0.45, unit: 'times' },
      figure: (report) => share(report, 4 * report.dataset.dim),
    },
  ]
}

export const filterWithin = (percent: number, times: number): Bar => ({
  what: `exact, filter ${percent} %, seen before`,
  against: 'the same unfiltered',
  limit: { kind: 'at most', value: times, unit: 'times' },
  figure(report) {
    const filtered = rowOf(report, 'lakegate', `exact, filter ${percent} %`)
    const unfiltered = rowOf(report, 'lakegate', 'exact, no filter')
    return filtered === undefined || unfiltered === undefined ? null : filtered.p50_us / unfiltered.p50_us
  },
})

export const httpShare = (connections: number, share: number): Bar => ({
  what: `raw f32 queries, ${connections} connections`,
  against: 'a constant answer of equal size',
  limit: { kind: 'at least', value: share, unit: 'times' },
  figure: (report) =>
    rate(report, `http raw f32, ${connections} connections`, [
      'constant answer',
      `http constant, ${connections} connections`,
    ]),
})

export const restartBars = (share: number, ms: number): readonly Bar[] => {
  const startMs = (report: Report, mode: string): number | null => {
    const row = rowOf(report, 'lakegate', mode)
    return row === undefined ? null : row.p50_us / 1000
  }
  const restart = (report: Report): number | null => startMs(report, 'start, from the cache')
  const what = 'process start to first right answer, from the cache'
  return [
    {
      what,
      against: 'building from Parquet',
      limit: { kind: 'at most', value: share, unit: 'times' },
      figure(report) {
        const build = startMs(report, 'start, building from Parquet')
        const again = restart(report)
        return build === null || again === null ? null : again / build
      },
    },
    { what, against: '', limit: { kind: 'at most', value: ms, unit: 'ms' }, figure: restart },
  ]
}

export const residentAtMost = (gib: number): Bar => ({
  what: 'resident memory of the server, at any time',
  against: '',
  limit: { kind: 'at most', value: gib, unit: 'GiB' },
  figure({ rows, dataset }) {
    const bytes = rows[0]?.bytes_per_vector ?? null
    return bytes === null ? null : (bytes * dataset.n) / 2 ** 30
  },
})

/** Every answer that claims to be proven is. */
export const noneWrong: Bar = {
  what: 'answers called proven that are not',
  against: 'brute force in float64',
  limit: { kind: 'at most', value: 0, unit: 'wrong' },
  figure(report) {
    const proven = report.rows.flatMap(({ certificate }) => (certificate?.kind === 'proven' ? [certificate] : []))
    return proven.length === 0 ? null : proven.reduce((sum, { violations }) => sum + violations, 0)
  },
}
