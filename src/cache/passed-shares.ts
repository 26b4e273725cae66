/** Which shares of a sample clusters, prefixes and cells do not rule out, when its rows are searched for the nearest of the others. */
import { innerProduct } from '../core/metric.js'
import type { Basis } from './basis.js'
import { type Cells, cutAxis, joinAxes } from './cells.js'
import { type TrainingRun, takeTurns } from './training.js'

/** Rows of the sample that stand for queries. */
const queriesMax = 16
/**
 * The farthest neighbour that is searched for: fewer than a query wants, as the sample is sparser than the collection, but not
 * many fewer, as real queries are farther from rows than rows are from each other.
 */
const neighbours = 8
/** How many cells a row may have. */
const cellCounts = [16, 32, 48, 64, 96]
/** Thresholds are this many steps of a cell's distance. */
const cellSteps = 250

/** Shares of rows that codes do not rule out. */
export interface Passed {
  /** Of all rows, those that clusters leave. Those by prefixes and cells are shares of these. */
  readonly clusters: number
  /** Mean square of the rows' distances from their centroids, as a share of that from the centre. */
  readonly shortened: number
  /** By prefixes of 16, 32, … directions. */
  readonly prefixes: Float64Array
  /** One a count of cells. */
  readonly cells: ReadonlyMap<number, number>
}

/** Framed rows of the sample and their coordinates along the directions. */
export class ProjectedRows {
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
export class CodedRows {
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

/** Centroids, and each row's and how far it is from it. */
export interface RowPlaces {
  readonly centroids: Float32Array
  readonly owners: Uint32Array
  readonly radii: Float32Array
}

/** Of the rows that clusters leave, the shares that are not proven farther than the nearest. */
export async function passedShares(
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
export async function passedSharesDot(
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
