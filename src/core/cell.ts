import type { Cell, ColumnType } from './column.js'
import { type JsonValue, stringifyJson } from './json.js'
import { formatDate, formatTime, formatTimestamp } from './temporal.js'

/**
 * A cell as JSON text: int in full; decimal as a string that keeps every digit; date `YYYY-MM-DD`; time `hh:mm:ss[.fff]`;
 * timestamp RFC 3339 (with Z when utc); binary as base64; NaN and the infinities, which JSON lacks, as "NaN", "Infinity",
 * "-Infinity"; json as itself.
 */
export function cellToJson(cell: Cell, type: ColumnType): string {
  return stringifyJson(cellToValue(cell, type))
}

/** A cell as the JSON value that cellToJson writes. */
export function cellToValue(cell: Cell, type: ColumnType): JsonValue {
  if (cell === null) return null
  switch (type.kind) {
    case 'float':
      return Number.isFinite(cell) ? (cell as number) : String(cell)
    case 'decimal':
      return formatDecimal(cell as bigint, type.scale)
    case 'binary':
      return Buffer.from(cell as Uint8Array).toString('base64')
    case 'date':
      return formatDate(cell as bigint)
    case 'time':
      return formatTime(cell as bigint)
    case 'timestamp':
      return formatTimestamp(cell as bigint, type.utc)
    case 'list':
      return (cell as readonly Cell[]).map((element) => cellToValue(element, type.element))
    case 'bool':
    case 'int':
    case 'string':
    case 'json':
      return cell as JsonValue
  }
}

/** An unscaled decimal with its point: `formatDecimal(-5n, 2)` is `-0.05`. */
function formatDecimal(unscaled: bigint, scale: number): string {
  if (scale <= 0) return (unscaled * 10n ** BigInt(-scale)).toString()
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
