/** Rows of pinned versions as callers see them. */
import type { PinnedVersion, RowLocation, ShardHit } from '../cache/vector-cache.js'
import type { Column } from '../core/column.js'
import { GatewayError } from '../core/errors.js'
import type { Hit } from '../core/hit.js'
import { readGrouped } from '../core/read-grouped.js'
import { suggestion } from '../core/suggestion.js'
import type { Result, ResultField } from './answer.js'

/** A row of an answer in its version. */
type FoundRow = Pick<ShardHit, 'id' | 'distance' | 'location'>

/** Rows in the order of an answer, and the version that can read each. */
export interface Ranking {
  readonly rows: readonly FoundRow[]
  versionOf(index: number): PinnedVersion
}

/** A hit among hits of other versions. */
export interface LocatedHit extends Hit {
  readonly version: PinnedVersion
  readonly location: RowLocation
}

export function locateHits(version: PinnedVersion, hits: readonly ShardHit[]): readonly LocatedHit[] {
  const { backend, collection } = version.ref
  return hits.map(({ distance, id, part, row, location }) => ({
    distance,
    backend,
    collection,
    id,
    part,
    row,
    version,
    location,
  }))
}

/** float32[dimension] a row. */
export const readVectors = (
  { rows, versionOf }: Ranking,
  options: { readonly signal: AbortSignal },
): Promise<readonly Float32Array[]> =>
  readGrouped(
    rows,
    (_, i) => versionOf(i),
    (version, found) =>
      version.vectors(
        found.map(({ location }) => location),
        options,
      ),
  )

/**
 * Copies the rows out of their versions, which may be released afterwards.
 * @param select null: every column; []: none
 * @param vectors one a row; null: not asked for
 */
export function readResults(
  { rows, versionOf }: Ranking,
  select: readonly string[] | null,
  vectors: readonly Float32Array[] | null,
): readonly Result[] {
  let version: PinnedVersion | null = null
  let columns: readonly number[] | null = null
  return rows.map((row, i) => {
    const of = versionOf(i)
    if (of !== version) {
      version = of
      columns = of.columns.length === 0 || select?.length === 0 ? null : selectedColumns(of.columns, select)
    }
    const { backend, collection } = of.ref
    const metadata = columns?.map((column) => readField(of, row.location, column)) ?? null
    return { id: row.id, distance: row.distance, backend, collection, metadata, vector: vectors?.[i] ?? null }
  })
}

function readField(version: PinnedVersion, location: RowLocation, column: number): ResultField {
  const { name, type } = version.columns[column]!
  return { name, type, value: version.cell(location, column) }
}

/** Their places, in the order selected; a collection without one of the columns answers without it. */
const selectedColumns = (columns: readonly Column[], select: readonly string[] | null): readonly number[] =>
  select === null
    ? columns.map((_, i) => i)
    : select.map((name) => columns.findIndex((column) => column.name === name)).filter((i) => i >= 0)

/**
 * Throws LG_INVALID_REQUEST for a selected column that no searched collection has.
 * @param versions of every collection the query names; collections that never had a row know no columns
 */
export function checkSelect(select: readonly string[], versions: readonly PinnedVersion[]): void {
  const known = [...new Set(versions.flatMap((version) => version.columns.map((column) => column.name)))]
  for (const [i, name] of select.entries()) {
    if (known.includes(name)) continue
    const field = `select[${i}]`
    const columns = known.length === 0 ? 'there are none' : `the columns are ${known.join(', ')}`
    throw new GatewayError(
      'LG_INVALID_REQUEST',
      `${field}: no collection searched has a column "${name}"${suggestion(name, known)}; ${columns}`,
      { field },
    )
  }
}
