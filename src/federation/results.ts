/** Rows of pinned versions as callers see them. */
import type { PinnedVersion, RowLocation, ShardHit } from '../cache/vector-cache.js'
import type { Column } from '../core/column.js'
import { GatewayError } from '../core/errors.js'
import type { Hit } from '../core/hit.js'
import { suggestion } from '../core/suggestion.js'
import type { Result, ResultField } from './answer.js'

/** A hit and the version that can read its row. */
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

/** What of a row a caller wants. `select` null: every column; []: none. */
interface Wanted {
  readonly select: readonly string[] | null
  readonly includeVectors: boolean
}

/** Copies the rows out of their versions, which may be released afterwards. */
export async function readResults(
  hits: readonly LocatedHit[],
  wanted: Wanted,
  options: { readonly signal: AbortSignal },
): Promise<readonly Result[]> {
  const columnsOf = new Map<PinnedVersion, readonly Column[]>()
  const vectors = wanted.includeVectors
    ? await Promise.all(hits.map(({ version, location }) => version.vector(location, options)))
    : null
  return hits.map((hit, i) => {
    let columns = columnsOf.get(hit.version)
    if (columns === undefined) {
      columns = selectedColumns(hit.version.columns, wanted.select)
      columnsOf.set(hit.version, columns)
    }
    return readResult(hit, columns, { select: wanted.select, vector: vectors?.[i] ?? null })
  })
}

function readResult(
  hit: LocatedHit,
  columns: readonly Column[],
  { select, vector }: { readonly select: readonly string[] | null; readonly vector: Float32Array | null },
): Result {
  const { version, location } = hit
  return {
    id: hit.id,
    distance: hit.distance,
    backend: hit.backend,
    collection: hit.collection,
    metadata: version.columns.length === 0 || select?.length === 0 ? null : readFields(version, location, columns),
    vector,
  }
}

function readFields(version: PinnedVersion, location: RowLocation, columns: readonly Column[]): ResultField[] {
  if (columns.length === 0) return []
  const cells = version.cells(
    location,
    columns.map((column) => column.name),
  )
  return columns.map(({ name, type }, i) => ({ name, type, value: cells[i]! }))
}

/** In the order selected; a collection without one of the columns answers without it. */
const selectedColumns = (columns: readonly Column[], select: readonly string[] | null): readonly Column[] =>
  select === null ? columns : select.flatMap((name) => columns.find((column) => column.name === name) ?? [])

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
