/**
 * What a scan of a collection reads of rows before their 8-bit codes: cells, a prefix along principal directions, both or
 * neither. By what each rules out on a sample.
 */
import { setImmediate } from 'node:timers/promises'
import { innerProduct } from '../core/metric.js'
import type { Basis } from './basis.js'
import { type Cells, cutAxis, joinAxes } from './cells.js'
import { type Centroids, centroidVectors, tableBytesMax } from './centroids.js'
import { padDimension } from './padding.js'
import { cutRanges, Room, runCalls, type TrainingRun, type TrainingSample } from './training.js'
import type { TrainingCall } from './training-call.js'

/** Rows of the sample that stand for queries, and rows that these search. */
const queriesMax = 16
const rowsMax = 4000
/**
 * The farthest neighbour that is searched for: fewer than a query wants, as the sample is sparser than the collection, but not
 * many fewer, as real queries are farther from rows than rows are from each other.
 */
const neighbours = 8
/** How many cells a row may have. */
const cellCounts = [16, 32, 48, 64, 96]
/** Thresholds are this many steps of a cell's distance. */
const cellSteps = 250
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

/** Shares of rows that codes do not rule out. */
interface Passed {
  /** Of all rows, those that clusters leave. Those by prefixes and cells are shares of these. */
  readonly clusters: number
  /** Mean square of the rows' distances from their centroids, as a share of that from the centre. */
  readonly shortened: number
  /** By prefixes of 16, 32, … directions. */
  readonly prefixes: Float64Array
  /** One a count of cells. */
  readonly cells: ReadonlyMap<number, number>
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

/** Framed rows of the sample and their coordinates along the directions. */
class ProjectedRows {
  readonly rows: number
  readonly padded: number
  readonly count: number
  readonly vectors: Float32Array
  readonly projections: Float32Array
  /** float64[rows][count + 1]: norms of what 0, 1, … directions leave. */
  readonly #rests: Float64Array

  constructor(
    vectors: Float32Array,
    projections: Float32Array,
    shape: { readonly rows: number; readonly padded: number; readonly count: number },
  ) {
    const { rows, padded, count } = shape
    this.rows = rows
    this.padded = padded
    this.count = count
    this.vectors = vectors
    this.projections = projections
    this.#rests = new Float64Array(rows * (count + 1))
    for (let row = 0; row < rows; row++) {
      let left = 0
      for (let i = row * padded; i < (row + 1) * padded; i++) left += vectors[i]! * vectors[i]!
      for (let i = 0; i <= count; i++) {
        this.#rests[row * (count + 1) + i] = Math.sqrt(Math.max(0, left))
        if (i < count) left -= projections[row * count + i]! ** 2
      }
    }
  }

  vector(row: number): Float32Array {
    return this.vectors.subarray(row * this.padded, (row + 1) * this.padded)
  }

  coordinate(row: number, direction: number): number {
    return this.projections[row * this.count + direction]!
  }

  /** Norm of what the first `directions` leave of a row. */
  rest(row: number, directions: number): number {
    return this.#rests[row * (this.count + 1) + directions]!
  }

  /** float64[rows] along one direction. */
  axis(direction: number): Float64Array {
    return Float64Array.from({ length: this.rows }, (_, row) => this.coordinate(row, direction))
  }

  /** float64[rows]: norms of what the first `directions` leave. */
  rests(directions: number): Float64Array {
    return Float64Array.from({ length: this.rows }, (_, row) => this.rest(row, directions))
  }
}

/** An axis of cells, and the rows' cells on it. */
class CodedAxis {
  readonly edges: Float32Array
  readonly codes: Uint8Array

  constructor(values: Float64Array) {
    this.edges = cutAxis(values.slice().sort())
    this.codes = Uint8Array.from(values, (value) => {
      let cell = 0
      while (value >= this.edges[cell + 1]!) cell++
      return cell
    })
  }

  /** float64[cells]: steps from a coordinate to each cell, as a scan adds them up. */
  steps(value: number, limit: number): Float64Array {
    return Float64Array.from({ length: this.edges.length - 1 }, (_, cell) => {
      const gap = Math.max(0, this.edges[cell]! - value, value - this.edges[cell + 1]!)
      return Math.floor((gap * gap * cellSteps) / limit)
    })
  }
}

/** Cells of the rows, as many as may be chosen. */
class CodedRows {
  readonly #directions: CodedAxis[] = []
  readonly #rests = new Map<number, CodedAxis>()

  static async code(run: TrainingRun, projected: ProjectedRows): Promise<CodedRows> {
    const coded = new CodedRows()
    for (const count of cellCounts) {
      if (count > projected.count) break
      coded.#rests.set(count, new CodedAxis(projected.rests(count - 1)))
      while (coded.#directions.length < count - 1) {
        coded.#directions.push(new CodedAxis(projected.axis(coded.#directions.length)))
        if (coded.#directions.length % 4 === 0) await takeTurns(run)
      }
    }
    return coded
  }

  /** Counts that there are axes for, ascending. */
  get counts(): readonly number[] {
    return [...this.#rests.keys()]
  }

  cells(count: number): Cells {
    return joinAxes([...this.#directions.slice(0, count - 1), this.#rests.get(count)!].map((axis) => axis.edges))
  }

  /** What says whether a row passes, by the index of its count. */
  passedBy(projected: ProjectedRows, query: number, limit: number): (row: number, passed: Float64Array) => void {
    const tables = this.#directions.map((axis, i) => axis.steps(projected.coordinate(query, i), limit))
    const rests = this.counts.map((count) => {
      const axis = this.#rests.get(count)!
      return { count, codes: axis.codes, table: axis.steps(projected.rest(query, count - 1), limit) }
    })
    return (row, passed) => {
      let steps = 0
      let axis = 0
      for (const [index, { count, codes, table }] of rests.entries()) {
        for (; axis < count - 1 && steps <= cellSteps; axis++)
          steps += tables[axis]![this.#directions[axis]!.codes[row]!]!
        if (steps + table[codes[row]!]! <= cellSteps) passed[index]!++
      }
    }
  }
}

/** Lets others go first: every piece of work here is milliseconds in many dimensions. */
async function takeTurns(run: TrainingRun): Promise<void> {
  await setImmediate()
  run.signal.throwIfAborted()
}

/** Centroids, and each row's and how far it is from it. */
interface RowPlaces {
  readonly centroids: Float32Array
  readonly owners: Uint32Array
  readonly radii: Float32Array
}

/** Of the rows that clusters leave, the shares that are not proven farther than the nearest. */
async function passedShares(
  run: TrainingRun,
  projected: ProjectedRows,
  coded: CodedRows,
  places: RowPlaces,
): Promise<Passed> {
  const { rows, padded, count } = projected
  const { centroids, owners, radii } = places
  const prefixes = new Float64Array(count / 16)
  const cells = new Float64Array(coded.counts.length)
  const queries = Math.min(queriesMax, rows >> 1)
  let considered = 0
  for (let query = 0; query < queries; query++) {
    await takeTurns(run)
    const vector = projected.vector(query)
    const distances = Float64Array.from({ length: centroids.length / padded }, (_, c) =>
      Math.sqrt(squareBetween(vector, centroids.subarray(c * padded, (c + 1) * padded))),
    )
    const near = Float64Array.from({ length: rows - queries }, (_, i) =>
      squareBetween(vector, projected.vector(queries + i)),
    ).sort()
    const limit = near[Math.min(neighbours, near.length) - 1]!
    const countCells = coded.passedBy(projected, query, limit)
    for (let row = queries; row < rows; row++) {
      if (Math.abs(distances[owners[row]!]! - radii[row]!) > Math.sqrt(limit)) continue
      considered++
      countCells(row, cells)
      let square = 0
      for (let i = 0; i < count && square <= limit; i++) {
        square += (projected.coordinate(query, i) - projected.coordinate(row, i)) ** 2
        if (i % 16 !== 15) continue
        const apart = projected.rest(query, i + 1) - projected.rest(row, i + 1)
        if (square + apart * apart <= limit) prefixes[i >> 4]!++
      }
    }
  }
  const share = (sum: number): number => (considered === 0 ? 1 : sum / considered)
  return {
    clusters: considered / Math.max(1, queries * (rows - queries)),
    shortened: squares(radii) / Math.max(Number.MIN_VALUE, squares(projected.rests(0))),
    prefixes: prefixes.map(share),
    cells: new Map(coded.counts.map((cellCount, index) => [cellCount, share(cells[index]!)])),
  }
}

/** The same by products, of queries as they were before they were framed. */
async function passedSharesDot(
  run: TrainingRun,
  projected: ProjectedRows,
  basis: Basis,
  center: Float32Array,
  { centroids, owners, radii }: RowPlaces,
): Promise<Omit<Passed, 'shortened'>> {
  const { rows, padded, count } = projected
  const prefixes = new Float64Array(count / 16)
  const queries = Math.min(queriesMax, rows >> 1)
  let considered = 0
  for (let query = 0; query < queries; query++) {
    await takeTurns(run)
    const vector = projected.vector(query).map((value, i) => value + (center[i] ?? 0))
    const along = Float64Array.from({ length: count }, (_, direction) =>
      innerProduct(vector, basis.vectors.subarray(direction * padded, (direction + 1) * padded)),
    )
    const square = innerProduct(vector, vector)
    const products = Float64Array.from({ length: centroids.length / padded }, (_, c) =>
      innerProduct(vector, centroids.subarray(c * padded, (c + 1) * padded)),
    )
    const near = Float64Array.from({ length: rows - queries }, (_, i) =>
      innerProduct(vector, projected.vector(queries + i)),
    ).sort()
    const least = near.at(-neighbours) ?? near[0]!
    for (let row = queries; row < rows; row++) {
      if (products[owners[row]!]! + Math.sqrt(square) * radii[row]! < least) continue
      considered++
      let product = 0
      let left = square
      for (let i = 0; i < count; i++) {
        product += along[i]! * projected.coordinate(row, i)
        left -= along[i]! ** 2
        if (i % 16 !== 15) continue
        const most = product + Math.sqrt(Math.max(0, left)) * projected.rest(row, i + 1)
        if (most >= least) prefixes[i >> 4]!++
      }
    }
  }
  return {
    clusters: considered / Math.max(1, queries * (rows - queries)),
    prefixes: prefixes.map((passed) => (considered === 0 ? 1 : passed / considered)),
    cells: new Map(),
  }
}

const squares = (values: Float32Array | Float64Array): number => {
  let sum = 0
  for (const value of values) sum += value * value
  return sum
}

function squareBetween(a: Float32Array, b: Float32Array): number {
  let square = 0
  for (let i = 0; i < a.length; i++) {
    const apart = a[i]! - b[i]!
    square += apart * apart
  }
  return square
}
