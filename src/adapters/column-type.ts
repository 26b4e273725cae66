/** How DuckDB's column types become the logical types of src/core/column.ts, and how files that differ are joined. */
import type { DuckDBType } from '@duckdb/node-api'
import type { ColumnType } from '../core/column.js'

/** A logical type plus what decides its Arrow form. */
export type StoredType =
  | { readonly kind: 'bool' | 'float' | 'string' | 'binary' | 'date' | 'time' | 'json' }
  /** `unsigned`: values past the signed 64-bit range. */
  | { readonly kind: 'int'; readonly unsigned: boolean }
  | { readonly kind: 'decimal'; readonly scale: number }
  | { readonly kind: 'timestamp'; readonly utc: boolean }
  | { readonly kind: 'list'; readonly element: StoredType }

/** The part of DuckDB's type objects used here; `toString` is the type's SQL name. */
type TypeTree = DuckDBType & { readonly scale?: number; readonly valueType?: DuckDBType }

const scalars: Readonly<Record<string, StoredType>> = {
  BOOLEAN: { kind: 'bool' },
  TINYINT: { kind: 'int', unsigned: false },
  SMALLINT: { kind: 'int', unsigned: false },
  INTEGER: { kind: 'int', unsigned: false },
  BIGINT: { kind: 'int', unsigned: false },
  UTINYINT: { kind: 'int', unsigned: false },
  USMALLINT: { kind: 'int', unsigned: false },
  UINTEGER: { kind: 'int', unsigned: false },
  UBIGINT: { kind: 'int', unsigned: true },
  HUGEINT: { kind: 'decimal', scale: 0 },
  FLOAT: { kind: 'float' },
  DOUBLE: { kind: 'float' },
  VARCHAR: { kind: 'string' },
  UUID: { kind: 'string' },
  BLOB: { kind: 'binary' },
  DATE: { kind: 'date' },
  TIME: { kind: 'time' },
  TIME_NS: { kind: 'time' },
  TIMESTAMP: { kind: 'timestamp', utc: false },
  TIMESTAMP_S: { kind: 'timestamp', utc: false },
  TIMESTAMP_MS: { kind: 'timestamp', utc: false },
  TIMESTAMP_NS: { kind: 'timestamp', utc: false },
  'TIMESTAMP WITH TIME ZONE': { kind: 'timestamp', utc: true },
}

/** Element type of a list, null for anything else. */
export function listElement(type: DuckDBType): DuckDBType | null {
  const tree = type as TypeTree
  return tree.valueType !== undefined && /\[\d*\]$/.test(type.toString()) ? tree.valueType : null
}

export function storedType(type: DuckDBType): StoredType {
  const name = type.toString()
  const scalar = scalars[name]
  if (scalar !== undefined) return scalar
  if (name.startsWith('DECIMAL(')) return { kind: 'decimal', scale: (type as TypeTree).scale ?? 0 }
  if (name.startsWith('ENUM(')) return { kind: 'string' }
  const element = listElement(type)
  if (element !== null) {
    const stored = storedType(element)
    return stored.kind === 'list' || stored.kind === 'json' ? { kind: 'json' } : { kind: 'list', element: stored }
  }
  // Times with a zone and intervals have no logical type of their own; their text loses nothing.
  return /^(STRUCT|MAP|UNION|VARIANT)/.test(name) ? { kind: 'json' } : { kind: 'string' }
}

/** The type that holds every value of both without changing one (an integer in a float column is rounded past 2^53), or null. */
export function joinTypes(a: StoredType, b: StoredType): StoredType | null {
  if (a.kind === 'list' && b.kind === 'list') {
    const element = joinTypes(a.element, b.element)
    return element === null ? null : { kind: 'list', element }
  }
  if (a.kind === 'int' && b.kind === 'int') return a.unsigned === b.unsigned ? a : { kind: 'decimal', scale: 0 }
  if (a.kind === 'decimal' && b.kind === 'decimal') return a.scale >= b.scale ? a : b
  if (a.kind === 'timestamp' && b.kind === 'timestamp') return a.utc === b.utc ? a : null
  if (a.kind === b.kind) return a
  const kinds = [a.kind, b.kind].sort().join('+')
  if (kinds === 'float+int') return { kind: 'float' }
  if (kinds === 'decimal+int') return a.kind === 'decimal' ? a : b
  return null
}

export function logicalType(type: StoredType): ColumnType {
  if (type.kind === 'int') return { kind: 'int' }
  if (type.kind === 'list') return { kind: 'list', element: logicalType(type.element) }
  return type
}

const sqlTypes: Readonly<Record<string, string>> = { bool: 'UTINYINT', float: 'DOUBLE', date: 'DATE', binary: 'BLOB' }

/** The SQL type a column is cast to; null when it is read as its file has it. */
function sqlType(type: StoredType): string | null {
  if (type.kind === 'int') return type.unsigned ? 'UBIGINT' : 'BIGINT'
  if (type.kind === 'decimal') return `DECIMAL(38, ${type.scale})`
  if (type.kind === 'list') {
    const element = type.element.kind === 'string' ? 'VARCHAR' : sqlType(type.element)
    return element === null ? null : `${element}[]`
  }
  return sqlTypes[type.kind] ?? null
}

/**
 * SQL that reads a column in the one DuckDB type that arrow-columns.ts expects of its stored type.
 * @param reference  the quoted column, or a literal
 * @param source     its type in this file; null when the file has no such column
 */
export function selectColumn(reference: string, type: StoredType, source: DuckDBType | null): string {
  if (type.kind === 'string') return `encode(${reference}::VARCHAR)`
  if (type.kind === 'json') return `encode(to_json(${reference})::VARCHAR)`
  const target = sqlType(type) ?? (source === null ? absentType(type) : null)
  return target === null ? reference : `${reference}::${target}`
}

/** The SQL type of a column of times, or a list of them, that a file does not have. */
function absentType(type: StoredType): string {
  if (type.kind === 'list') return `${absentType(type.element)}[]`
  return type.kind === 'timestamp' && type.utc ? 'TIMESTAMPTZ' : type.kind === 'timestamp' ? 'TIMESTAMP' : 'TIME'
}
