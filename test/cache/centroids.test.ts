import { afterAll, expect, test } from 'vitest'
import {
  type Centroids,
  centroidCount,
  centroidSampleRows,
  centroidVectors,
  trainCentroids,
  writeTable,
} from '../../src/cache/centroids.js'
import { padDimension } from '../../src/cache/padding.js'
import { type Random, seededRandom } from '../../src/core/clock.js'
import { openPool } from '../../src/federation/pool.js'
import { assignRows, clustered, type Data, degenerateData, gaussian, prepareSample } from './training-fixture.js'

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

async function train(data: Data, count: number, seed = 3, on = executor) {
  const prepared = await prepareSample(on, data, { centroids: count })
  const { run, sample, codebook } = prepared
  return { prepared, centroids: await trainCentroids(run, sample, { codebook, count, seed }) }
}

/** Squared distances of a framed row to all centroids, in float64. */
function squaresTo(centroids: Centroids, framed: Float64Array, row: number): number[] {
  const padded = padDimension(centroids.dimension)
  const vectors = centroidVectors(centroids)
  return Array.from({ length: centroids.count }, (_, index) => {
    let sum = 0
    for (let j = 0; j < padded; j++) sum += (framed[row * padded + j]! - vectors[index * padded + j]!) ** 2
    return sum
  })
}

test('the same sample and seed give the same bytes, whatever the number of workers', async () => {
  const data = { vectors: clustered(seededRandom(1), 9000, 48, 30), dimension: 48 }
  const { centroids: expected } = await train(data, 140)
  expect(expected.groups).toBeGreaterThan(0)
  for (const workers of [0, 1, 2]) {
    const pool = openPool({ workers })
    const { centroids } = await train(data, 140, 3, pool)
    await pool.close()
    expect(Buffer.compare(centroids.table, expected.table)).toBe(0)
    expect(centroids.integers).toEqual(expected.integers)
    expect(centroids.scales).toEqual(expected.scales)
  }
  const { centroids: other } = await train(data, 140, 4)
  expect(Buffer.compare(other.table, expected.table)).not.toBe(0)
})

/** k-means++ and Lloyd's rounds in float64, as in a textbook. Returns the mean squared distance to the nearest. */
function textbook(framed: Float64Array, padded: number, count: number, random: Random): number {
  const rows = framed.length / padded
  const row = (index: number) => framed.subarray(index * padded, (index + 1) * padded)
  const square = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, j) => sum + (value - b[j]!) ** 2, 0)
  const centers = [row(Math.floor(random() * rows)).slice()]
  const least = Array.from({ length: rows }, (_, index) => square(row(index), centers[0]!))
  while (centers.length < count) {
    let left = random() * least.reduce((sum, value) => sum + value, 0)
    const chosen = least.findIndex((value) => {
      left -= value
      return left < 0
    })
    const center = row(chosen).slice()
    centers.push(center)
    for (let index = 0; index < rows; index++) least[index] = Math.min(least[index]!, square(row(index), center))
  }
  for (let round = 0; round < 12; round++) {
    const sums = centers.map(() => new Float64Array(padded))
    const counts = centers.map(() => 0)
    for (let index = 0; index < rows; index++) {
      const squares = centers.map((center) => square(row(index), center))
      const nearest = squares.indexOf(Math.min(...squares))
      least[index] = squares[nearest]!
      counts[nearest]!++
      row(index).forEach((value, j) => {
        sums[nearest]![j]! += value
      })
    }
    centers.forEach((center, c) => {
      if (counts[c]! > 0) center.set(sums[c]!.map((sum) => sum / counts[c]!))
    })
  }
  return least.reduce((sum, value) => sum + value, 0) / rows
}

test('centroids are about as good as those of a k-means in float64', async () => {
  const random = seededRandom(8)
  const rows = 2500
  for (const vectors of [
    clustered(random, rows, 12, 20),
    Float32Array.from({ length: rows * 12 }, () => gaussian(random)),
  ]) {
    const data = { vectors, dimension: 12 }
    const { prepared, centroids } = await train(data, 40)
    const framed = prepared.framed()
    let ours = 0
    for (let row = 0; row < rows; row++) ours += Math.min(...squaresTo(centroids, framed, row)) / rows
    const theirs = [1, 2, 3].map((seed) => textbook(framed, 16, 40, seededRandom(seed)))
    expect(ours).toBeLessThan(1.1 * (theirs.reduce((sum, value) => sum + value) / 3))
  }
})

test('every row gets its nearest centroid, in every dimension from 1 to 40 and in large ones', async () => {
  const random = seededRandom(2)
  for (const dimension of [...Array.from({ length: 40 }, (_, index) => index + 1), 1537, 8192]) {
    const rows = dimension > 40 ? 61 : 700
    const metric = dimension % 2 === 0 ? 'l2' : 'cosine'
    const data = { vectors: clustered(random, rows, dimension, 12), dimension, metric } as const
    const { prepared, centroids } = await train(data, dimension % 3 === 0 ? 132 : 20)
    const { found, squares } = await assignRows(prepared, centroids, data)
    const framed = prepared.framed()
    const padded = padDimension(dimension)
    for (let row = 0; row < rows; row++) {
      const all = squaresTo(centroids, framed, row)
      const least = Math.min(...all)
      const extent = framed
        .subarray(row * padded, (row + 1) * padded)
        .reduce((sum, value) => sum + value * value, least)
      expect(all[found[row]!]! - least).toBeLessThanOrEqual(1e-5 * extent)
      expect(Math.abs(squares[row]! - least)).toBeLessThanOrEqual(1e-5 * extent)
    }
  }
})

test('groups change no assignment, and are dropped where they save nothing', async () => {
  const random = seededRandom(6)
  for (const [dimension, spread] of [
    [3, 1],
    [20, 40],
    [64, 100],
  ] as const) {
    const data = { vectors: clustered(random, 6001, dimension, spread), dimension }
    const { prepared, centroids } = await train(data, 200)
    expect(centroids.groups).toBeGreaterThan(0)
    const asked = { vectors: clustered(random, 5003, dimension, 30), dimension }
    for (const rows of [data, asked]) {
      const quick = await assignRows(prepared, centroids, rows)
      expect(await assignRows(prepared, centroids, rows, { ignoreGroups: true })).toEqual(quick)
    }
  }
  const noise = { vectors: Float32Array.from({ length: 6000 * 64 }, () => gaussian(random)), dimension: 64 }
  expect((await train(noise, 200)).centroids.groups).toBe(0)
})

test('centroids that own nothing take a part of what the largest owns', async () => {
  const random = seededRandom(12)
  const dimension = 8
  const vectors = clustered(random, 4096, dimension, 12)
  // Seeds are drawn from every fourth row only: here these are one point.
  for (let row = 0; row < 4096; row += 4) vectors.fill(9, row * dimension, (row + 1) * dimension)
  const { prepared, centroids } = await train({ vectors, dimension }, 40)
  const { squares } = await assignRows(prepared, centroids, { vectors, dimension })
  expect(squares.reduce((sum, square) => sum + square, 0) / 4096).toBeLessThan(2)
})

test('what seeding leaves out is never nearer than the seed that is known', async () => {
  // On a line the rows that must be looked at are those that just may not be left out.
  const dimension = 1
  const rows = 1000
  const count = 60
  const data = { vectors: clustered(seededRandom(7), rows, dimension, 30), dimension }
  const { centroids } = await train(data, count)
  const { pool, run, sample, framed } = await prepareSample(executor, data, { centroids: count })
  const table = pool.allocate(centroids.table.byteLength, sample.arena)!
  writeTable(centroids, table)
  const [uniforms, squares, nearest, between] = [count * 2, rows, rows, count].map(
    (words) => pool.allocate(words * 4, sample.arena)!,
  )
  const random = seededRandom(1)
  new Float64Array(sample.arena.memory.buffer, uniforms!.offset, count).forEach((_, i, all) => {
    all[i] = random()
  })
  const places = [uniforms!.offset, squares!.offset, nearest!.offset, between!.offset] as const
  const values = [table.offset, sample.offset, sample.padded * 4, rows, 0, count, ...places] as const
  await run.executor.train({ arena: sample.arena, calls: [{ step: 'seedCentroids', arguments: values }] }, run)
  const seeded = { ...centroids, table: table.u8().slice() }
  const framedRows = framed()
  for (let row = 0; row < rows; row++) {
    const all = squaresTo(seeded, framedRows, row)
    expect(squares!.f32()[row]).toBeCloseTo(Math.min(...all), 6)
  }
})

test('of equally near centroids the first is taken', async () => {
  const data = { vectors: new Float32Array(500 * 20).fill(3), dimension: 20 }
  const { prepared, centroids } = await train(data, 132)
  const { found } = await assignRows(prepared, centroids, data)
  expect(new Set(found)).toEqual(new Set([0]))
})

test.each([1, 5, 16, 33])('little data gives usable centroids (dimension %i)', async (dimension) => {
  for (const [name, vectors] of Object.entries(degenerateData(dimension, seededRandom(dimension))))
    for (const metric of ['l2', 'cosine'] as const)
      for (const count of [4, 132]) {
        const data = { vectors, dimension, metric }
        const { prepared, centroids } = await train(data, count)
        const { found, squares } = await assignRows(prepared, centroids, data)
        expect(found.every((index) => index < count)).toBe(true)
        if (name === 'huge numbers' && metric === 'l2') continue
        expect(centroidVectors(centroids).every(Number.isFinite), name).toBe(true)
        // With a centroid for each different row, every row sits on one, up to half a step of its integers.
        const covered = found.length <= 7 || name.startsWith('all rows') || name === 'three different rows'
        if (!covered || count !== 132) continue
        for (const [row, square] of squares.entries()) {
          const step = centroids.scales[found[row]!]! / 2
          expect(square, name).toBeLessThan(padDimension(dimension) * step * step + 1e-5)
        }
      }
})

test('both frames hold the same centroids', async () => {
  const { centroids } = await train({ vectors: clustered(seededRandom(3), 3000, 40, 9), dimension: 40 }, 24)
  const padded = padDimension(40)
  const { integers, scales } = centroids
  const rotated = Float32Array.from(integers, (value, i) => value * scales[Math.floor(i / padded)]!)
  const between = (vectors: Float32Array, a: number, b: number): number => {
    let sum = 0
    for (let j = 0; j < padded; j++) sum += (vectors[a * padded + j]! - vectors[b * padded + j]!) ** 2
    return sum
  }
  for (let other = 1; other < 24; other++) {
    const square = between(centroidVectors(centroids), 0, other)
    expect(Math.abs(between(rotated, 0, other) - square)).toBeLessThanOrEqual(1e-5 * square)
  }
})

test('law 4: training stops when it is aborted', async () => {
  const data = { vectors: clustered(seededRandom(3), 3000, 40, 9), dimension: 40 }
  const { run, sample, codebook } = await prepareSample(executor, data, { centroids: 64 })
  const controller = new AbortController()
  const training = trainCentroids({ ...run, signal: controller.signal }, sample, { codebook, count: 64, seed: 1 })
  controller.abort(new Error('gone'))
  await expect(training).rejects.toThrow('gone')
})

test('law 11: a sample and its room come from the budget and go back to it', async () => {
  const { prepared } = await train({ vectors: clustered(seededRandom(3), 3000, 40, 9), dimension: 40 }, 64)
  const before = prepared.pool.bytesFree
  prepared.sample.allocation.free()
  expect(prepared.pool.bytesFree - before).toBeGreaterThanOrEqual(3000 * padDimension(40) * 4)
})

test('the number of centroids grows with the rows, in fours; the sample with the centroids', () => {
  expect([0, 1, 1000, 20_000, 100_000, 1_000_000].map(centroidCount)).toEqual([4, 4, 4, 80, 240, 752])
  expect(centroidSampleRows(100, 4)).toBe(100)
  expect(centroidSampleRows(1_000_000, 1000)).toBe(64_000)
  expect(centroidSampleRows(100_000_000, 10_000)).toBe(200_000)
})
