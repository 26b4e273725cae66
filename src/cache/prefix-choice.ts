/** How many principal directions a collection's rows are coded along, if any: by what they rule out on a sample. */
import { setImmediate } from 'node:timers/promises'
import type { Basis } from './basis.js'
import { type Centroids, centroidVectors, tableBytesMax } from './centroids.js'
import { padDimension } from './padding.js'
import { cutRanges, Room, runCalls, type TrainingRun, type TrainingSample } from './training.js'
import type { TrainingCall } from './training-call.js'

/** Rows of the sample that stand for queries, and rows that these search. */
const queriesMax = 16
const rowsMax = 2000
/** The farthest neighbour that is searched for: fewer than a query wants, as the sample is sparser than the collection. */
const neighbours = 4
/** What a row has beside its prefix: square, scale, error and rest. */
const factorBytes = 16
/** How much dearer the 8-bit code of a row that a prefix let pass is, read alone and not in a row of many. */
const scattered = 1.6
/** Prefixes take memory: they must save at least this share of the bytes read. */
const savedMin = 0.15

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

/** Bytes of room that `choosePrefix` needs behind a sample of `rows`, with `count` centroids. */
export function choiceRoomBytes(rows: number, dimension: number, count: number): number {
  const padded = padDimension(dimension)
  const room = new Room(0)
  const shape = { directions: directionsWorthTrying(dimension), padded, table: tableBytesMax(dimension, count) }
  placeChoice(room, Math.min(rows, rowsMax), shape)
  return room.end
}

/**
 * The leading directions of `basis` that make a scan read least, or null when none save enough. Rows of the sample are
 * searched for the nearest of the others, since queries come from where rows are; of these, only those count that clusters
 * leave to be looked at.
 * @param sample framed, in random order
 */
export async function choosePrefix(
  run: TrainingRun,
  sample: TrainingSample,
  trained: { readonly basis: Basis; readonly centroids: Centroids },
): Promise<Basis | null> {
  const { basis, centroids } = trained
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
  const vectors = new Float32Array(memory.buffer, sample.offset, rows * padded)
  const projections = new Float32Array(memory.buffer, at.projections, rows * count)
  const owners = new Uint32Array(memory.buffer, at.owners, rows)
  const radii = new Float32Array(memory.buffer, at.squares, rows).map(Math.sqrt)
  const places = { centroids: centroidVectors(centroids), owners, radii }
  const passed = await passedShares(run, { rows, padded, count, vectors, projections, ...places })
  let best = { directions: 0, bytes: (padded + factorBytes) * (1 - savedMin) }
  for (const [index, share] of passed.entries()) {
    const directions = 16 * (index + 1)
    const bytes = directions + factorBytes + share * scattered * padded
    if (bytes < best.bytes) best = { directions, bytes }
  }
  if (best.directions === 0) return null
  return {
    ...basis,
    count: best.directions,
    vectors: basis.vectors.slice(0, best.directions * padded),
    captured: basis.captured.slice(0, best.directions),
  }
}

/** Share of the rows left by clusters that prefixes of 16, 32, … directions do not prove farther than the nearest. */
async function passedShares(
  run: TrainingRun,
  given: {
    readonly rows: number
    readonly padded: number
    readonly count: number
    readonly vectors: Float32Array
    readonly projections: Float32Array
    readonly centroids: Float32Array
    readonly owners: Uint32Array
    readonly radii: Float32Array
  },
): Promise<Float64Array> {
  const { rows, padded, count, vectors, projections, centroids, owners, radii } = given
  const steps = count / 16
  const passed = new Float64Array(steps)
  const queries = Math.min(queriesMax, rows >> 1)
  const squares = Float64Array.from({ length: rows }, (_, row) => {
    let square = 0
    for (let i = row * padded; i < (row + 1) * padded; i++) square += vectors[i]! * vectors[i]!
    return square
  })
  const rests = new Float64Array(rows * steps)
  for (let row = 0; row < rows; row++) {
    let left = squares[row]!
    for (let i = 0; i < count; i++) {
      left -= projections[row * count + i]! ** 2
      if (i % 16 === 15) rests[row * steps + (i >> 4)] = Math.sqrt(Math.max(0, left))
    }
  }
  let considered = 0
  for (let query = 0; query < queries; query++) {
    await setImmediate() // a turn each: milliseconds in many dimensions
    run.signal.throwIfAborted()
    const vector = vectors.subarray(query * padded, (query + 1) * padded)
    const distances = Float64Array.from({ length: centroids.length / padded }, (_, c) =>
      Math.sqrt(squareBetween(vector, centroids.subarray(c * padded, (c + 1) * padded))),
    )
    const near: number[] = []
    for (let row = queries; row < rows; row++)
      near.push(squareBetween(vector, vectors.subarray(row * padded, (row + 1) * padded)))
    near.sort((a, b) => a - b)
    const limit = near[Math.min(neighbours, near.length) - 1]!
    for (let row = queries; row < rows; row++) {
      if (Math.abs(distances[owners[row]!]! - radii[row]!) > Math.sqrt(limit)) continue
      considered++
      let square = 0
      for (let i = 0; i < count; i++) {
        const apart = projections[query * count + i]! - projections[row * count + i]!
        square += apart * apart
        if (i % 16 !== 15) continue
        const rest = rests[query * steps + (i >> 4)]! - rests[row * steps + (i >> 4)]!
        if (square + rest * rest <= limit) passed[i >> 4]!++
      }
    }
  }
  return passed.map((sum) => (considered === 0 ? 1 : sum / considered))
}

function squareBetween(a: Float32Array, b: Float32Array): number {
  let square = 0
  for (let i = 0; i < a.length; i++) {
    const apart = a[i]! - b[i]!
    square += apart * apart
  }
  return square
}
