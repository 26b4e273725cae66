/** Columns of rows that come as JSON objects: their types are found from the values. */
import type { Cell } from '../core/column.js'
import { type JsonValue, stringifyJson } from '../core/json.js'
import type { NamedType } from './arrow-columns.js'
import { joinTypes, type StoredType } from './column-type.js'

export type JsonRow = Readonly<Record<string, JsonValue>>

const int64Max = 2n ** 63n - 1n
const decimalMax = 10n ** 38n

/** The narrowest type of one value; null for null and for an empty list, which tell nothing. */
function inferType(value: JsonValue): StoredType | null {
  if (value === null) return null
  if (typeof value === 'boolean') return { kind: 'bool' }
  if (typeof value === 'string') return { kind: 'string' }
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? { kind: 'int', unsigned: false } : { kind: 'float' }
  if (typeof value === 'bigint') {
    if (value >= -int64Max - 1n && value <= int64Max) return { kind: 'int', unsigned: false }
    if (value > 0n && value <= 2n * int64Max + 1n) return { kind: 'int', unsigned: true }
    return value < decimalMax && value > -decimalMax ? { kind: 'decimal', scale: 0 } : { kind: 'json' }
  }
  if (!isList(value)) return { kind: 'json' }
  let element: StoredType | null = null
  for (const item of value) element = joinOrJson(element, inferType(item))
  if (element === null) return null
  return element.kind === 'json' || element.kind === 'list' ? { kind: 'json' } : { kind: 'list', element }
}

const isList = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value)

/** Values that no other type holds together are kept as JSON. */
function joinOrJson(a: StoredType | null, b: StoredType | null): StoredType | null {
  if (a === null || b === null) return a ?? b
  return joinTypes(a, b) ?? { kind: 'json' }
}

/** The columns that hold these rows too: known ones widened where they must, new ones at the end. */
export function joinColumns(known: readonly NamedType[], rows: readonly (JsonRow | null)[]): readonly NamedType[] {
  const types = new Map<string, StoredType | null>(known.map(({ name, type }) => [name, type]))
  for (const row of rows) {
    for (const [name, value] of Object.entries(row ?? {}))
      types.set(name, joinOrJson(types.get(name) ?? null, inferType(value)))
  }
  // A column of which nothing is known but empty lists or nulls holds either.
  return [...types].map(([name, type]) => ({ name, type: type ?? { kind: 'list', element: { kind: 'string' } } }))
}

/** A row's value as its column keeps it; json as its text. */
export function cellOf(row: JsonRow | null, { name, type }: NamedType): Cell {
  const value = row !== null && Object.hasOwn(row, name) ? row[name]! : null
  return value === null ? null : toCell(value, type)
}

function toCell(value: JsonValue, type: StoredType): Cell {
  if (value === null) return null
  switch (type.kind) {
    case 'int':
    case 'decimal':
      return BigInt(value as number | bigint)
    case 'float':
      return Number(value)
    case 'json':
      return stringifyJson(value)
    case 'list':
      return (value as readonly JsonValue[]).map((item) => toCell(item, type.element))
    case 'bool':
    case 'string':
      return value as boolean | string
    case 'binary':
    case 'date':
    case 'time':
    case 'timestamp':
      throw new TypeError(`JSON has no ${type.kind}`)
  }
}
