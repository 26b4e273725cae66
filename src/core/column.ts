/**
 * Logical types of metadata columns: what a predicate may ask and how a value is written on the wire. How each is kept
 * in Arrow is said in src/adapters/arrow-columns.ts (who writes them) and src/cache/metadata.ts (who reads them).
 */
export type ColumnType =
  | { readonly kind: 'bool' }
  | { readonly kind: 'int' }
  | { readonly kind: 'float' }
  | { readonly kind: 'decimal'; readonly scale: number }
  | { readonly kind: 'string' }
  | { readonly kind: 'binary' }
  | { readonly kind: 'date' }
  | { readonly kind: 'time' }
  /** `utc`: an instant; otherwise a wall-clock reading without zone. */
  | { readonly kind: 'timestamp'; readonly utc: boolean }
  | { readonly kind: 'list'; readonly element: ColumnType }
  /** Structs, maps and lists of them: returned as JSON, tested only with is_null. */
  | { readonly kind: 'json' }

export interface Column {
  readonly name: string
  readonly type: ColumnType
}

/**
 * One value, by kind: bool boolean; int bigint; float number; decimal bigint (unscaled); string string;
 * binary Uint8Array; date bigint (days since 1970-01-01); time and timestamp bigint (nanoseconds, of any
 * size; ±infinityNs of temporal.ts are the infinities);
 * list array of elements; json any JSON value (integers past 2^53 as bigint). null is SQL NULL.
 */
export type Cell =
  | null
  | boolean
  | bigint
  | number
  | string
  | Uint8Array
  | readonly Cell[]
  | { readonly [key: string]: Cell }
