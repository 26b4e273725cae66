/**
 * What a scan of a collection reads of rows before their 8-bit codes: cells, a prefix along principal directions, both or
 * neither. By what each rules out on a sample.
 */
import type { Basis } from './basis.js'
import { type Centroids, centroidVectors, tableBytesMax } from './centroids.js'
import { padDimension } from './padding.js'
import { CodedRows, type Passed, ProjectedRows, passedShares, passedSharesDot } from './passed-shares.js'
import { cutRanges, Room, runCalls, type TrainingRun, type TrainingSample, takeTurns } from './training.js'
import type { TrainingCall } from './training-call.js'

/** Rows of the sample that are searched. */
const rowsMax = 4000
/** What a row has beside its prefix, or 8-bit code. */
const factorBytes = 16
/** How much dearer a code is that is read alone, not in a row of many, and brought into the cache for that. */
const scattered = 5
/** Short codes take memory: they must save at least this share of the cost. */
const savedMin = 0.15
/**
 * Clusters that leave at least so many of the rows to be looked at, and shorten no code by which they would be ruled out
 * (mean squares of radii against those of rows), cost more than they save: every cluster costs a query as much as many rows.
 */
const leftMax = 0.95
const shortenedMax = 0.7

/** Most directions that may be worth training; a multiple of 16, 0 in few dimensions. */
export const directionsWorthTrying = (dimension: number): number => Math.floor(Math.min(192, dimension / 2) / 16) * 16

interface Places {
  readonly basis: number
  readonly projections: number
  readonly table: number
  readonly owners: number
  readonly squares: number
}

function placeChoice(room: Room, rows: number, shape: { directions: number; padded: number; table: number }): Places {
  return {
    basis: room.take(shape.directions * shape.padded * 4),
    projections: room.take(rows * shape.directions * 4),
    table: room.take(shape.table),
    owners: room.take(rows * 4),
    squares: room.take(rows * 4),
  }
}

/** Bytes of room that `chooseStages` needs behind a sample of `rows`, with `count` centroids. */
export function choiceRoomBytes(rows: number, dimension: number, count: number): number {
  const padded = padDimension(dimension)
  const room = new Room(0)
  const shape = { directions: directionsWorthTrying(dimension), padded, table: tableBytesMax(dimension, count) }
  placeChoice(room, Math.min(rows, rowsMax), shape)
  return room.end
}

export interface ChosenStages {
  /** The leading directions with the prefix and cells that make a scan cost least, or null when none save enough. */
  readonly basis: Basis | null
  /** Whether a scan costs less with the centroids than without. */
  readonly clustersPay: boolean
}

/**
 * What makes a scan cost least.
 * Rows of the sample are searched for the nearest of the others, since queries come from where rows are; of these, only
 * those count that clusters leave to be looked at.
 * @param sample framed, in random order; of `collectionRows` rows
 */
export async function chooseStages(
  run: TrainingRun,
  sample: TrainingSample,
  trained: {
    readonly basis: Basis
    readonly centroids: Centroids
    readonly collectionRows: number
    /** For dot the codebook's centre, as queries are not framed as rows are; else null. */
    readonly center: Float32Array | null
  },
): Promise<ChosenStages> {
  const { basis, centroids, collectionRows, center } = trained
  const rows = Math.min(sample.rows, rowsMax)
  const { memory } = sample.arena
  const { count, padded } = basis
  const shape = { directions: count, padded, table: centroids.table.byteLength }
  const at = placeChoice(sample.room(), rows, shape)
  new Float32Array(memory.buffer, at.basis, count * padded).set(basis.vectors)
  new Uint8Array(memory.buffer, at.table, centroids.table.byteLength).set(centroids.table)
  const calls = cutRanges(rows, count * padded).map(
    ({ from, to }): TrainingCall => ({
      step: 'projectRows',
      arguments: [at.basis, count, padded * 4, sample.offset, padded * 4, from, to, at.projections],
    }),
  )
  calls.push({ step: 'assign', arguments: [at.table, 0, sample.offset, rows, at.owners, at.squares] })
  await runCalls(run, sample.arena, 'in any order', calls)
  const projected = new ProjectedRows(
    new Float32Array(memory.buffer, sample.offset, rows * padded),
    new Float32Array(memory.buffer, at.projections, rows * count),
    { rows, padded, count },
  )
  await takeTurns(run)
  const places = {
    centroids: centroidVectors(centroids),
    owners: new Uint32Array(memory.buffer, at.owners, rows),
    radii: new Float32Array(memory.buffer, at.squares, rows).map(Math.sqrt),
  }
  // Of a product, the cells of an axis say too little (ADR 11).
  const coded = center === null ? await CodedRows.code(run, projected) : new CodedRows()
  const near = await passedShares(run, projected, coded, places)
  const passed = center === null ? near : await passedSharesDot(run, projected, basis, center, places)
  const { prefix, cells } = cheapest(passed, padded, collectionRows)
  if (prefix === 0 && cells === 0)
    // What proven scans by product look at, targets may still leave: then clusters are far by distance too.
    return { basis: null, clustersPay: near.clusters < leftMax || near.shortened < shortenedMax }
  const directions = Math.max(prefix, cells)
  return {
    basis: {
      ...basis,
      count: directions,
      vectors: basis.vectors.slice(0, directions * padded),
      captured: basis.captured.slice(0, directions),
      prefix,
      cells: cells === 0 ? null : coded.cells(cells),
    },
    clustersPay: true,
  }
}

/** The least bytes a row, or what takes as long, by how many directions and cells (0: none) are read first. */
function cheapest(
  passed: Omit<Passed, 'shortened'>,
  padded: number,
  collectionRows: number,
): { readonly prefix: number; readonly cells: number } {
  const whole = padded + factorBytes
  const looked = Math.max(1, passed.clusters * collectionRows)
  let best = { prefix: 0, cells: 0, cost: whole * (1 - savedMin) }
  const consider = (prefix: number, cells: number): void => {
    const prefixShare = prefix === 0 ? 1 : passed.prefixes[prefix / 16 - 1]!
    const cellShare = cells === 0 ? 1 : passed.cells.get(cells)!
    const prefixBytes = prefix === 0 ? 0 : prefix + factorBytes
    // The query's own coordinates come from reading the directions.
    const queryCost = (Math.max(prefix, cells) * padded * 4) / looked
    const rowCost =
      cells === 0
        ? prefixBytes + prefixShare * scattered * whole
        : prefix === 0
          ? cells / 2 + cellShare * scattered * whole
          : cells / 2 + scattered * (cellShare * prefixBytes + Math.min(prefixShare, cellShare) * whole)
    if (queryCost + rowCost < best.cost) best = { prefix, cells, cost: queryCost + rowCost }
  }
  for (let prefix = 0; prefix <= 16 * passed.prefixes.length; prefix += 16)
    for (const cells of [0, ...passed.cells.keys()]) if (prefix + cells > 0) consider(prefix, cells)
  return best
}
