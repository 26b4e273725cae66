/** Centroids of a collection: k-means over a sample, the table that rows are assigned with. */
import assert from 'node:assert'
import { type Random, seededRandom } from '../core/clock.js'
import type { Allocation } from './arena.js'
import {
  tableCountAt,
  tableGroupHalvesAt,
  tableGroupStartsAt,
  tableGroupsAt,
  tableGroupsMax,
  tableGroupVectorsAt,
  tableHalvesAt,
  tableHeaderBytes,
  tablePaddedAt,
  tableSeparationsAt,
  tableVectorsAt,
} from './kernel/layout.js'
import { padDimension } from './padding.js'
import { cutRanges, Room, runCalls, type TrainingRun, type TrainingSample } from './training.js'
import type { TrainingCall } from './training-call.js'

/** More rounds move centroids by less than what the next sample would. */
const rounds = 6
/** Rounds for the groups of centroids, which only speed up the search for the nearest. */
const groupRounds = 3
/** From this many centroids on, groups may save more than their own scores cost. */
const groupedMin = 128
/** Groups that rows have to look at anyway, as a share of all, from which on groups cost more than they save. */
const visitedShareMax = 0.6
/** Rows that this is estimated from. */
const visitRows = 1000
/** Rows a centroid that seeds are drawn from, and the least of them. */
const seedRowsEach = 12
const seedRowsMin = 1024
const sampleRowsEach = 64
const sampleRowsMax = 200_000

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step

/** A cluster of fewer rows costs more to look at than it rules out. */
const clusterRowsMin = 256

/**
 * How many centroids a collection of `rows` gets: three quarters of sqrt(rows), about where a query looks at as many
 * centroids as rows of a cluster, while clusters keep `clusterRowsMin` rows. Measured (proven answers, k = 10,
 * microseconds by count): 100,000 rows around 100 points, 128 dimensions: 128: 21 to 106, 192: 22 to 43, 256: 23 to 27,
 * 320: 24 to 30, 512: 32 to 35; a million: 512: 141, 1024: 158, 1536: 172; 60,000 images, 784: 128: 203, 256: 246,
 * 512: 294; 20,000 texts, 384: 64 to 256: 295 to 326, 384: 340. Less than twice the natural clusters costs several times
 * more, by the luck of the seed; too many cost little.
 */
export const centroidCount = (rows: number): number =>
  Math.max(4, roundUp(Math.min(0.75 * Math.sqrt(rows), rows / clusterRowsMin), 4))

/** Rows worth sampling for `count` centroids of a collection of `rows`. */
export const centroidSampleRows = (rows: number, count: number): number =>
  Math.min(rows, sampleRowsEach * count, sampleRowsMax)

export interface TableShape {
  /** A multiple of 4. */
  readonly count: number
  readonly dimension: number
  /** 0, or a multiple of 4. */
  readonly groups: number
}

const groupCount = (count: number): number =>
  count < groupedMin ? 0 : Math.min(tableGroupsMax, roundUp(Math.sqrt(count), 4))

function tableLayout(shape: TableShape): { readonly offsets: ReadonlyMap<number, number>; readonly bytes: number } {
  const vectorBytes = padDimension(shape.dimension) * 4
  const room = new Room(tableHeaderBytes)
  const offsets = new Map([
    [tableVectorsAt, room.take(shape.count * vectorBytes)],
    [tableHalvesAt, room.take(shape.count * 4)],
    [tableGroupVectorsAt, room.take(shape.groups * vectorBytes)],
    [tableGroupHalvesAt, room.take(shape.groups * 4)],
    [tableGroupStartsAt, room.take((shape.groups + 1) * 4)],
    [tableSeparationsAt, room.take(shape.count * shape.groups * 4)],
  ])
  return { offsets, bytes: room.end }
}

export const tableBytes = (shape: TableShape): number => tableLayout(shape).bytes

/** Bytes of the table of `count` centroids, whether it will have groups or not. */
export const tableBytesMax = (dimension: number, count: number): number =>
  tableBytes({ count, dimension, groups: groupCount(count) })

/** Trained centroids. The table holds no address: its bytes work in any arena. */
export interface Centroids extends TableShape {
  /** Bytes of the table, for `assign`. */
  readonly table: Uint8Array
  /** int16[count][padded], float32[count]: a centroid in the frame of the codes is its scale times its integers. */
  readonly integers: Int16Array
  readonly scales: Float32Array
}

/** float32[count][padded] in the rows' frame: centred, not rotated. A view. */
export const centroidVectors = (centroids: Centroids): Float32Array =>
  new Float32Array(
    centroids.table.buffer,
    centroids.table.byteOffset + tableHeaderBytes,
    centroids.count * padDimension(centroids.dimension),
  )

/** Where things lie while centroids are trained; byte offsets in the arena. */
interface Places {
  /** One after the other: as they come from the means, and in order of their groups. */
  readonly plain: number
  readonly grouped: number
  readonly centres: number
  /** u32[rows]: each row's centroid; u32[count]: each centroid's group. */
  readonly owners: number
  readonly groupOwners: number
  readonly sums: number
  readonly counts: number
  readonly uniforms: number
  readonly squares: number
  readonly nearest: number
  readonly between: number
  readonly integers: number
  readonly scales: number
}

function placeTraining(room: Room, rows: number, shape: TableShape): Places {
  const padded = padDimension(shape.dimension)
  const { count, groups } = shape
  const seeds = Math.max(seedRowCount(rows, count), count)
  return {
    plain: room.take(tableBytes({ ...shape, groups: 0 })),
    grouped: room.take(tableBytes(shape)),
    centres: room.take(tableBytes({ ...shape, count: groups, groups: 0 })),
    owners: room.take(rows * 4),
    groupOwners: room.take(count * 4),
    sums: room.take(count * padded * 8),
    counts: room.take(count * 4),
    uniforms: room.take(count * 8),
    squares: room.take(Math.max(rows, seeds) * 4),
    nearest: room.take(seeds * 4),
    between: room.take(count * 4),
    integers: room.take(count * padded * 2),
    scales: room.take(count * 4),
  }
}

const seedRowCount = (rows: number, count: number): number =>
  Math.min(rows, Math.max(seedRowsMin, seedRowsEach * count))

/** Bytes of room that `trainCentroids` needs behind a sample of `rows`. */
export function centroidRoomBytes(rows: number, dimension: number, count: number): number {
  const room = new Room(0)
  placeTraining(room, rows, { count, dimension, groups: groupCount(count) })
  return room.end
}

/** Points that are clustered: the sample's rows, or the centroids when they are grouped. */
interface Points {
  readonly offset: number
  readonly rows: number
}

/**
 * k-means++ on a part of the sample, then Lloyd's rounds over all of it. The same sample and seed give the same bytes,
 * whatever the number of workers.
 * @param sample framed, in random order
 * @param codebook byte offset of the codebook's copy in the sample's arena
 */
export async function trainCentroids(
  run: TrainingRun,
  sample: TrainingSample,
  options: { readonly codebook: number; readonly count: number; readonly seed: number },
): Promise<Centroids> {
  const { codebook, count, seed } = options
  assert(count >= 4 && count % 4 === 0, 'centroids come in fours')
  const shape: TableShape = { count, dimension: sample.dimension, groups: groupCount(count) }
  const training = new CentroidTraining(run, sample, shape, seededRandom(seed))
  return training.train(codebook)
}

class CentroidTraining {
  readonly #run: TrainingRun
  readonly #sample: TrainingSample
  #shape: TableShape
  readonly #random: Random
  readonly #at: Places
  readonly #bytes: number

  constructor(run: TrainingRun, sample: TrainingSample, shape: TableShape, random: Random) {
    this.#run = run
    this.#sample = sample
    this.#shape = shape
    this.#random = random
    const room = sample.room()
    this.#at = placeTraining(room, sample.rows, shape)
    assert(room.end <= sample.offset + sample.allocation.bytes, 'the sample came with room for its centroids')
    this.#bytes = sample.padded * 4
  }

  /** @param codebook byte offset of its copy */
  async train(codebook: number): Promise<Centroids> {
    const { count, groups } = this.#shape
    const { plain, grouped, centres } = this.#at
    this.#writeHeader(plain, { ...this.#shape, groups: 0 })
    this.#writeHeader(grouped, this.#shape)
    const points: Points = { offset: this.#sample.offset, rows: this.#sample.rows }
    await this.#seed(plain, points, count)
    if (groups > 0) {
      this.#writeHeader(centres, { ...this.#shape, count: groups, groups: 0 })
      await this.#seed(centres, { offset: plain + tableHeaderBytes, rows: count }, groups)
    }
    for (let round = 0; round < rounds; round++) {
      const table = await this.#arrange()
      await this.#move(table, points, this.#at.owners)
      if (table === plain) continue
      this.#copyVectors(plain, table)
      if (this.#visitedShare() > visitedShareMax) this.#shape = { ...this.#shape, groups: 0 }
    }
    return this.#finish(await this.#arrange(), codebook)
  }

  /** Moves the centroids to integers and copies them out; without groups where they would not help. */
  async #finish(table: number, codebook: number): Promise<Centroids> {
    const { integers, scales } = this.#at
    const { count, dimension, groups } = this.#shape
    await this.#call('roundCentroids', [table, codebook, integers, scales])
    await this.#call('measureTable', [table])
    await this.#separate(table)
    const { buffer } = this.#sample.arena.memory
    return {
      count,
      dimension,
      groups,
      table: new Uint8Array(buffer, table, tableBytes(this.#shape)).slice(),
      integers: new Int16Array(buffer, integers, count * this.#sample.padded).slice(),
      scales: new Float32Array(buffer, scales, count).slice(),
    }
  }

  /** Share of the groups that rows of the sample, as last assigned, could not leave out. */
  #visitedShare(): number {
    const { count, groups } = this.#shape
    const { grouped, owners, squares } = this.#at
    const memory = this.#sample.arena.memory.buffer
    const at = grouped + tableLayout(this.#shape).offsets.get(tableSeparationsAt)!
    const separations = new Float32Array(memory, at, count * groups)
    const rows = Math.min(this.#sample.rows, visitRows)
    const owner = new Uint32Array(memory, owners, rows)
    const square = new Float32Array(memory, squares, rows)
    let visited = 0
    for (let row = 0; row < rows; row++)
      for (let group = 0; group < groups; group++)
        if (separations[owner[row]! * groups + group]! <= 4 * square[row]!) visited++
    return visited / (rows * groups)
  }

  /** Makes the centroids of `plain` searchable; returns the table to search. */
  async #arrange(): Promise<number> {
    const { plain, grouped, centres, groupOwners } = this.#at
    if (this.#shape.groups === 0) {
      await this.#call('measureTable', [plain])
      return plain
    }
    const points: Points = { offset: plain + tableHeaderBytes, rows: this.#shape.count }
    for (let round = 0; round < groupRounds; round++) {
      await this.#call('measureTable', [centres])
      await this.#move(centres, points, groupOwners)
    }
    await this.#call('measureTable', [centres])
    await this.#assign(centres, points, groupOwners)
    await this.#call('groupCentroids', [grouped, plain, centres, groupOwners])
    await this.#separate(grouped)
    return grouped
  }

  /** How far the centroids of a table are from its groups, if it has any. */
  async #separate(table: number): Promise<void> {
    const { count, groups } = this.#shape
    if (groups === 0) return
    const calls = cutRanges(count, 4 * count * this.#sample.padded).map(
      ({ from, to }): TrainingCall => ({ step: 'separateGroups', arguments: [table, from, to] }),
    )
    await runCalls(this.#run, this.#sample.arena, 'in any order', calls)
  }

  async #seed(table: number, points: Points, count: number): Promise<void> {
    const { uniforms, squares, nearest, between } = this.#at
    const memory = this.#sample.arena.memory.buffer
    const drawn = new Float64Array(memory, uniforms, count)
    for (let i = 0; i < count; i++) drawn[i] = this.#random()
    const seedRows = seedRowCount(points.rows, count)
    const stride = Math.floor(points.rows / seedRows) * this.#bytes
    const calls = cutRanges(count, seedRows * this.#sample.padded, 1).map(
      ({ from, to }): TrainingCall => ({
        step: 'seedCentroids',
        arguments: [table, points.offset, stride, seedRows, from, to, uniforms, squares, nearest, between],
      }),
    )
    await runCalls(this.#run, this.#sample.arena, 'in order', calls)
  }

  /** One of Lloyd's rounds: every centroid goes to the mean of the points nearest to it. */
  async #move(table: number, points: Points, owners: number): Promise<void> {
    const { sums, counts } = this.#at
    const count = new Uint32Array(this.#sample.arena.memory.buffer, table, 1)[tableCountAt / 4]!
    await this.#assign(table, points, owners)
    const memory = this.#sample.arena.memory.buffer
    new Float64Array(memory, sums, count * this.#sample.padded).fill(0)
    new Uint32Array(memory, counts, count).fill(0)
    // In order, so that every sum is of the same terms in the same order.
    const calls = cutRanges(points.rows, 10 * this.#sample.padded).map(
      ({ from, to }): TrainingCall => ({
        step: 'accumulate',
        arguments: [table, points.offset, from, to, owners, sums, counts],
      }),
    )
    await runCalls(this.#run, this.#sample.arena, 'in order', calls)
    await this.#call('moveToMeans', [table, sums, counts])
    this.#splitLargest(table, points, owners, count)
  }

  async #assign(table: number, points: Points, owners: number): Promise<void> {
    const { squares } = this.#at
    const header = new Uint32Array(this.#sample.arena.memory.buffer, table, tableHeaderBytes / 4)
    const calls = cutRanges(points.rows, header[tableCountAt / 4]! * this.#sample.padded).map(
      ({ from, to }): TrainingCall => ({
        step: 'assign',
        arguments: [table, 0, points.offset + from * this.#bytes, to - from, owners + from * 4, squares + from * 4],
      }),
    )
    await runCalls(this.#run, this.#sample.arena, 'in any order', calls)
  }

  /** A centroid that owns nothing becomes a row of the largest cluster, while that has more than one. */
  #splitLargest(table: number, points: Points, ownersAt: number, count: number): void {
    const memory = this.#sample.arena.memory.buffer
    const counts = new Uint32Array(memory, this.#at.counts, count)
    const owners = new Uint32Array(memory, ownersAt, points.rows)
    const bytes = new Uint8Array(memory)
    for (let empty = counts.indexOf(0); empty !== -1; empty = counts.indexOf(0, empty + 1)) {
      const largest = counts.indexOf(counts.reduce((most, owned) => Math.max(most, owned), 0))
      const owned = counts[largest]!
      if (owned < 2) return
      const start = Math.floor(this.#random() * points.rows)
      const found = owners.indexOf(largest, start)
      const row = found === -1 ? owners.indexOf(largest) : found
      const from = points.offset + row * this.#bytes
      bytes.copyWithin(table + tableHeaderBytes + empty * this.#bytes, from, from + this.#bytes)
      counts[empty] = owned >> 1
      counts[largest] = owned - (owned >> 1)
    }
  }

  #copyVectors(target: number, source: number): void {
    const start = source + tableHeaderBytes
    const bytes = new Uint8Array(this.#sample.arena.memory.buffer)
    bytes.copyWithin(target + tableHeaderBytes, start, start + this.#shape.count * this.#bytes)
  }

  async #call<Step extends TrainingCall['step']>(
    step: Step,
    values: Extract<TrainingCall, { step: Step }>['arguments'],
  ): Promise<void> {
    await runCalls(this.#run, this.#sample.arena, 'in order', [{ step, arguments: values } as TrainingCall])
  }

  #writeHeader(table: number, shape: TableShape): void {
    const layout = tableLayout(shape)
    const header = new Uint32Array(this.#sample.arena.memory.buffer, table, tableHeaderBytes / 4).fill(0)
    header[tableCountAt / 4] = shape.count
    header[tablePaddedAt / 4] = this.#sample.padded
    header[tableGroupsAt / 4] = shape.groups
    for (const [field, offset] of layout.offsets) header[field / 4] = offset
  }
}

/** Copies a trained table into an arena, for `assignRows`. The allocation stays the caller's. */
export function writeTable(centroids: Centroids, allocation: Allocation): void {
  assert(allocation.bytes >= centroids.table.byteLength, 'the table fits its allocation')
  allocation.u8().set(centroids.table)
}
