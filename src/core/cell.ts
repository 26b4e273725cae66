import type { Cell, ColumnType } from './column.js'
import { type JsonValue, stringifyJson } from './json.js'
import { formatDate, formatTime, formatTimestamp } from './temporal.js'

/**
 * A cell as JSON text: int in full; decimal as a string that keeps every digit; date `YYYY-MM-DD`; time `hh:mm:ss[.fff]`;
 * timestamp RFC 3339 (with Z when utc), "infinity" or "-infinity"; binary as base64; NaN and the infinities, which JSON lacks, as "NaN", "Infinity",
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
      return floatToValue(cell as number)
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

function floatToValue(value: number): JsonValue {
  if (!Number.isFinite(value)) return String(value)
  // Below 1e21 JavaScript writes whole numbers without exponent but rounds beyond 2^53: the text would be another integer.
  const rounded = Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21
  return rounded ? BigInt(value) : value
}

/** An unscaled decimal with its point: `formatDecimal(-5n, 2)` is `-0.05`. */
function formatDecimal(unscaled: bigint, scale: number): string {
  if (scale <= 0) return (unscaled * 10n ** BigInt(-scale)).toString()
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
