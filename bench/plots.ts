/** Plots of reports as SVG text. */
import type { ReportRow } from './report.js'

const width = 760
const left = 210
const right = 90
const font = 'font-family="system-ui, sans-serif" font-size="12"'
const ours = '#0b6e4f'
const theirs = '#8a8f98'

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

const svg = (height: number, title: string, body: readonly string[]): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="16" y="24" ${font} font-weight="600">${escaped(title)}</text>`,
    ...body,
    '</svg>\n',
  ].join('\n')

const text = (x: number, y: number, anchor: 'start' | 'middle' | 'end', content: string, fill = '#22262b'): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${font} text-anchor="${anchor}" fill="${fill}">${escaped(content)}</text>`

const line = (x1: number, y1: number, x2: number, y2: number, stroke: string): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${stroke}"/>`

const colourOf = (row: ReportRow): string => (row.engine === 'lakegate' ? ours : theirs)

const labelOf = ({ engine, mode }: ReportRow): string => `${engine}, ${mode}`

/** Powers of ten within and around the values. */
function decades(values: readonly number[]): number[] {
  const from = Math.floor(Math.log10(Math.min(...values)))
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...values))))
  return Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i))
}

/** A place on a logarithmic axis from `start` to `end` pixels. */
function logarithmic(ticks: readonly number[], start: number, end: number): (value: number) => number {
  const low = Math.log10(ticks[0]!)
  const high = Math.log10(ticks.at(-1)!)
  return (value) => start + ((Math.log10(value) - low) / (high - low)) * (end - start)
}

/** A bar from p50 to p99 a row, fastest first, on a logarithmic axis; the dot is p50. */
export function latencyPlot(title: string, rows: readonly ReportRow[]): string {
  const sorted = rows.toSorted((a, b) => a.p50_us - b.p50_us)
  const [top, step] = [48, 22]
  const bottom = top + step * sorted.length
  const ticks = decades(sorted.flatMap((row) => [row.p50_us, row.p99_us]))
  const x = logarithmic(ticks, left, width - right)
  const grid = ticks.flatMap((tick) => [
    line(x(tick), top - 6, x(tick), bottom, '#e3e6ea'),
    text(x(tick), bottom + 16, 'middle', `${tick.toLocaleString('en-US')} us`),
  ])
  const bars = sorted.flatMap((row, i) => {
    const y = top + step * i + step / 2
    return [
      text(left - 10, y + 4, 'end', labelOf(row), colourOf(row)),
      `<line x1="${x(row.p50_us).toFixed(1)}" y1="${y}" x2="${x(row.p99_us).toFixed(1)}" y2="${y}" stroke="${colourOf(row)}" stroke-width="4" stroke-opacity="0.35"/>`,
      `<circle cx="${x(row.p50_us).toFixed(1)}" cy="${y}" r="5" fill="${colourOf(row)}"/>`,
      text(x(row.p99_us) + 8, y + 4, 'start', `${Math.round(row.p50_us).toLocaleString('en-US')} us`),
    ]
  })
  return svg(bottom + 28, `${title}: latency, p50 to p99`, [...grid, ...bars])
}

const misses = [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]

/** Recall along a scale of missed neighbours, with a column of its own for none missed; queries a second upwards. */
export function recallPlot(title: string, rows: readonly ReportRow[]): string {
  const [top, bottom, start] = [48, 380, 80]
  const perfect = width - 180
  const ticks = decades(rows.map((row) => row.qps))
  const y = logarithmic(ticks, bottom, top)
  const most = Math.max(misses[0]!, ...rows.map((row) => 1 - row.recall_at_k))
  const least = misses.at(-1)! / 4
  const place = (missed: number): number =>
    missed <= least ? perfect : start + 20 + (Math.log(most / missed) / Math.log(most / least)) * (perfect - start - 20)
  const grid = [
    ...ticks.flatMap((tick) => [
      line(start, y(tick), width - 20, y(tick), '#e3e6ea'),
      text(start - 8, y(tick) + 4, 'end', tick.toLocaleString('en-US')),
    ]),
    ...misses.flatMap((missed) => [
      line(place(missed), top, place(missed), bottom, '#f0f2f4'),
      text(place(missed), bottom + 18, 'middle', String(Number((1 - missed).toFixed(4)))),
    ]),
    text(perfect, bottom + 18, 'middle', '1'),
    text((start + perfect) / 2, bottom + 38, 'middle', 'recall@k'),
    text(16, top - 10, 'start', 'queries a second'),
  ]
  const points = spreadOut(rows.map((row) => ({ row, x: place(1 - row.recall_at_k), y: y(row.qps) }))).flatMap(
    (point) => [
      `<circle cx="${point.x.toFixed(1)}" cy="${point.y.toFixed(1)}" r="5" fill="${colourOf(point.row)}"/>`,
      text(point.x + 9, point.labelY + 4, 'start', labelOf(point.row), colourOf(point.row)),
    ],
  )
  return svg(bottom + 50, `${title}: recall and queries a second`, [...grid, ...points])
}

interface Point {
  readonly row: ReportRow
  readonly x: number
  readonly y: number
}

/** Labels near each other one below the other. */
function spreadOut(points: readonly Point[]): (Point & { readonly labelY: number })[] {
  const placed: (Point & { labelY: number })[] = []
  for (const point of points.toSorted((a, b) => a.y - b.y)) {
    const near = placed.filter((other) => Math.abs(other.x - point.x) < 160)
    const labelY = Math.max(point.y, ...near.map((other) => other.labelY + 13))
    placed.push({ ...point, labelY })
  }
  return placed
}
