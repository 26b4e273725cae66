import type { BackendId } from './generation.js'
import { compareIds, compareUtf8, type RowId } from './id.js'

/** One row of an answer. */
export interface Hit {
  readonly distance: number
  readonly backend: BackendId
  readonly collection: string
  readonly id: RowId
  /** Part key: orders rows that share an id. */
  readonly part: string
  /** Source ordinal inside the part. */
  readonly row: number
}

/** Law 3's total order: (distance, backend, collection, id, part, row). */
export function compareHits(a: Hit, b: Hit): number {
  return (
    a.distance - b.distance ||
    compareUtf8(a.backend, b.backend) ||
    compareUtf8(a.collection, b.collection) ||
    compareIds(a.id, b.id) ||
    compareUtf8(a.part, b.part) ||
    a.row - b.row
  )
}
