/** Values as callers write them; strings stand for dates, timestamps, decimals and binary too. */
export type Literal = string | number | bigint | boolean

/** A filter over metadata columns, SQL three-valued logic: a row is kept when the predicate is true, not null. */
export type Predicate =
  | { readonly op: 'and' | 'or'; readonly terms: readonly Predicate[] }
  | { readonly op: 'not'; readonly term: Predicate }
  | { readonly op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'; readonly column: string; readonly value: Literal }
  | { readonly op: 'in'; readonly column: string; readonly values: readonly Literal[] }
  | { readonly op: 'between'; readonly column: string; readonly low: Literal; readonly high: Literal }
  | { readonly op: 'is_null'; readonly column: string; readonly negated: boolean }
  | { readonly op: 'contains'; readonly column: string; readonly value: Literal }
  | { readonly op: 'starts_with' | 'like'; readonly column: string; readonly value: string }
