/** Plain tables for people: columns padded, long cells cut to what the terminal shows. */

export interface TableColumn {
  readonly title: string
  readonly align?: 'left' | 'right'
}

const flat = (text: string): string => text.replace(/[\p{Cc}\s]+/gu, ' ').trim()
const cut = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, width - 1)}…`)

/** Lines without a newline at the end. Only the last column is cut, at `widthMax` characters a line. */
export function renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  widthMax = process.stdout.columns ?? 160,
): string {
  const cells = rows.map((row) => row.map(flat))
  const widths = columns.map((column, i) => Math.max(column.title.length, ...cells.map((row) => (row[i] ?? '').length)))
  const line = (values: readonly string[]): string => {
    const padded = columns.map((column, i) => {
      const value = values[i] ?? ''
      return column.align === 'right' ? value.padStart(widths[i]!) : value.padEnd(widths[i]!)
    })
    return cut(padded.join('  ').trimEnd(), Math.max(widthMax, 40))
  }
  return [line(columns.map((column) => column.title)), ...cells.map(line)].join('\n')
}

/** `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[power]}`
}

/** `2,300`. */
export const formatCount = (count: number): string => count.toLocaleString('en-US')
