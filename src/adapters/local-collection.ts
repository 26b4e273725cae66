/**
 * One writable collection in memory. Every write makes an immutable part, every delete or replacement adds to a part's
 * log of deletions; a snapshot is a list of parts and how much of each log it has seen. Small parts are merged as they
 * gather, so that a row is copied a logarithmic number of times.
 */
import { createHash, randomUUID } from 'node:crypto'
import type { Column } from '../core/column.js'
import { GatewayError } from '../core/errors.js'
import { type DeleteMask, type Generation, generation, type PartKey, partKey } from '../core/generation.js'
import type { RowId } from '../core/id.js'
import type { Metric } from '../core/metric.js'
import type { VectorBatch } from '../core/vector-batch.js'
import type { Manifest, WriteRequest } from './adapter.js'
import type { buildBatch, NamedType } from './arrow-columns.js'
import { logicalType } from './column-type.js'
import { cellOf, type JsonRow, joinColumns } from './json-columns.js'

/** Parts of one size class that are merged when they are this many. */
const mergeCount = 8
/** Parts with more live rows than this stay as they are. */
const mergeRowsMax = 65_536
/** Snapshots that can still be read, the current one included. */
const snapshotsKept = 32
const batchRows = 8192

interface LocalPart {
  readonly key: PartKey
  readonly name: string
  readonly ids: readonly RowId[]
  /** float32[ids.length * dimension] */
  readonly vectors: Float32Array
  readonly metadata: readonly (JsonRow | null)[]
  /** Ordinals in the order in which they were deleted. */
  readonly deletions: number[]
}

interface Snapshot {
  readonly generation: Generation
  readonly columns: readonly NamedType[]
  readonly parts: readonly { readonly part: LocalPart; readonly deleted: number }[]
}

interface Place {
  readonly part: LocalPart
  readonly ordinal: number
}

export interface LocalCollection {
  readonly name: string
  readonly dimension: number
  readonly metric: Metric
  readonly model: string | null
  currentGeneration(): Generation
  manifest(wanted: Generation): Manifest
  /** Rows of a part in batches, deleted ones included: masks are the manifest's. `build` is given: its module loads Arrow. */
  read(generation: Generation, key: PartKey, build: typeof buildBatch): Generator<VectorBatch, void>
  /** Rows with a value that is not finite are rejected; of an id's repetitions the last is kept, all are accepted. */
  upsert(request: WriteRequest): { readonly accepted: number; readonly rejected: number }
  /** Number of ids that were there. */
  delete(ids: readonly RowId[]): number
}

export function createCollection(
  name: string,
  { dimension, metric, model }: { readonly dimension: number; readonly metric: Metric; readonly model: string | null },
): LocalCollection {
  // Part keys outlive the process in caches on disk, so those of another process must not be met again.
  const instance = randomUUID()
  const places = new Map<RowId, Place>()
  let parts: LocalPart[] = []
  let columns: readonly NamedType[] = []
  let partsMade = 0
  let version = 0
  const snapshots = new Map<Generation, Snapshot>()
  commit()

  function commit(): void {
    const snapshot: Snapshot = {
      generation: generation(`${version++}-${instance}`),
      columns,
      parts: parts.map((part) => ({ part, deleted: part.deletions.length })),
    }
    snapshots.set(snapshot.generation, snapshot)
    for (const old of [...snapshots.keys()].slice(0, -snapshotsKept)) snapshots.delete(old)
  }

  function addPart(ids: readonly RowId[], vectors: Float32Array, metadata: readonly (JsonRow | null)[]): void {
    const partName = `part-${String(partsMade++).padStart(10, '0')}`
    const part: LocalPart = {
      key: partKey(`${partName}#${instance}`),
      name: partName,
      ids,
      vectors,
      metadata,
      deletions: [],
    }
    parts.push(part)
    for (const [ordinal, id] of ids.entries()) {
      remove(id)
      places.set(id, { part, ordinal })
    }
  }

  function remove(id: RowId): boolean {
    const place = places.get(id)
    if (place === undefined) return false
    place.part.deletions.push(place.ordinal)
    places.delete(id)
    return true
  }

  const liveRows = (part: LocalPart): number => part.ids.length - part.deletions.length

  function compact(): void {
    parts = parts.filter((part) => liveRows(part) > 0)
    for (;;) {
      const group = partsToMerge()
      if (group === null) return
      merge(group)
    }
  }

  /** Enough parts of one size class (by factors of eight), or one part that is mostly deleted. */
  function partsToMerge(): readonly LocalPart[] | null {
    const classes = new Map<number, LocalPart[]>()
    for (const part of parts) {
      const live = liveRows(part)
      if (part.ids.length > 16 && live * 2 < part.ids.length) return [part]
      if (live > mergeRowsMax) continue
      const size = Math.floor(Math.log2(live) / 3)
      const group = classes.get(size) ?? []
      classes.set(size, group)
      group.push(part)
      if (group.length === mergeCount) return group
    }
    return null
  }

  function merge(group: readonly LocalPart[]): void {
    const rows = group.reduce((sum, part) => sum + liveRows(part), 0)
    const ids: RowId[] = []
    const metadata: (JsonRow | null)[] = []
    const vectors = new Float32Array(rows * dimension)
    for (const part of group) {
      const deleted = new Set(part.deletions)
      for (const [ordinal, id] of part.ids.entries()) {
        if (deleted.has(ordinal)) continue
        vectors.set(part.vectors.subarray(ordinal * dimension, (ordinal + 1) * dimension), ids.length * dimension)
        ids.push(id)
        metadata.push(part.metadata[ordinal]!)
      }
    }
    parts = parts.filter((part) => !group.includes(part))
    // The old parts are not touched: snapshots that list them see none of this.
    for (const id of ids) places.delete(id)
    addPart(ids, vectors, metadata)
  }

  function snapshotOf(wanted: Generation): Snapshot {
    const snapshot = snapshots.get(wanted)
    if (snapshot !== undefined) return snapshot
    throw new GatewayError(
      'LG_GENERATION_EXPIRED',
      `local collection "${name}": generation ${wanted} is not held; the oldest held is ${[...snapshots.keys()][0]}`,
    )
  }

  return {
    name,
    dimension,
    metric,
    model,

    currentGeneration: () => [...snapshots.keys()].at(-1)!,

    manifest(wanted) {
      const snapshot = snapshotOf(wanted)
      const text = JSON.stringify({ dimension, columns: snapshot.columns })
      return {
        generation: wanted,
        parts: snapshot.parts.map(({ part, deleted }) => ({
          key: part.key,
          name: part.name,
          rows: part.ids.length,
          bytes: part.vectors.byteLength,
          deleted: maskOf(part, deleted),
        })),
        dimension,
        columns: snapshot.columns.map(({ name: column, type }): Column => ({ name: column, type: logicalType(type) })),
        vectorColumn: 'vector',
        idColumn: 'id',
        readIdentity: `local-${createHash('sha256').update(text).digest('hex').slice(0, 32)}`,
      }
    },

    *read(wanted, key, build) {
      const snapshot = snapshotOf(wanted)
      const part = snapshot.parts.find((candidate) => candidate.part.key === key)?.part
      if (part === undefined)
        throw new GatewayError(
          'LG_GENERATION_EXPIRED',
          `local collection "${name}": generation ${wanted} has no part ${key}`,
        )
      for (let start = 0; start < part.ids.length; start += batchRows)
        yield readBatch(part, start, Math.min(part.ids.length, start + batchRows), snapshot.columns, build)
    },

    upsert(request) {
      const kept = request.dimension === dimension ? usableRows(request) : []
      const rejected = request.ids.length - kept.length
      if (kept.length === 0) return { accepted: 0, rejected }
      const metadata = kept.map((row) => (request.metadata?.[row] ?? null) as JsonRow | null)
      columns = joinColumns(columns, metadata)
      const vectors = new Float32Array(kept.length * dimension)
      for (const [index, row] of kept.entries())
        vectors.set(request.vectors.subarray(row * dimension, (row + 1) * dimension), index * dimension)
      addPart(
        kept.map((row) => request.ids[row]!),
        vectors,
        metadata,
      )
      compact()
      commit()
      return { accepted: kept.length, rejected }
    },

    delete(ids) {
      const deleted = ids.filter(remove).length
      if (deleted === 0) return 0
      compact()
      commit()
      return deleted
    },
  }
}

/** Rows whose values are all finite. */
function usableRows({ ids, vectors, dimension }: WriteRequest): readonly number[] {
  const rows: number[] = []
  for (let row = 0; row < ids.length; row++) {
    if (vectors.subarray(row * dimension, (row + 1) * dimension).every(Number.isFinite)) rows.push(row)
  }
  return rows
}

function maskOf(part: LocalPart, deleted: number): DeleteMask | null {
  if (deleted === 0) return null
  const ordinals = Uint32Array.from(part.deletions.slice(0, deleted)).sort()
  return { identity: `${part.key}@${deleted}`, ordinals }
}

function readBatch(
  part: LocalPart,
  start: number,
  end: number,
  columns: readonly NamedType[],
  build: typeof buildBatch,
): VectorBatch {
  const dimension = part.vectors.length / part.ids.length
  const builder = columns.length === 0 ? null : build(columns)
  for (const [index, column] of builder?.columns.entries() ?? []) {
    for (let row = start; row < end; row++) column.push(cellOf(part.metadata[row] ?? null, columns[index]!))
  }
  return {
    count: end - start,
    dimension,
    vectors: part.vectors.slice(start * dimension, end * dimension),
    ordinals: Uint32Array.from({ length: end - start }, (_, index) => start + index),
    ids: part.ids.slice(start, end),
    metadata: builder === null ? null : builder.finish(end - start),
    skipped: { nullVector: 0, nullId: 0, badVector: 0 },
  }
}
