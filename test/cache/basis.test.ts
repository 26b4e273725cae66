import { afterAll, expect, test } from 'vitest'
import { type Basis, trainBasis } from '../../src/cache/basis.js'
import { padDimension } from '../../src/cache/padding.js'
import { type Random, seededRandom } from '../../src/core/clock.js'
import { openPool } from '../../src/federation/pool.js'
import { clustered, type Data, degenerateData, gaussian, prepareSample } from './training-fixture.js'

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

async function train(data: Data, count: number, seed = 3, on = executor) {
  const prepared = await prepareSample(on, data, { directions: count })
  return { prepared, basis: await trainBasis(prepared.run, prepared.sample, { count, seed, first: null }) }
}

/** float64[count][count]: B B^T - I. */
function excessOf(basis: Basis): number[][] {
  const row = (index: number) => basis.vectors.subarray(index * basis.padded, (index + 1) * basis.padded)
  return Array.from({ length: basis.count }, (_, a) =>
    Array.from({ length: basis.count }, (_, b) =>
      row(a).reduce((sum, value, j) => sum + value * row(b)[j]!, a === b ? -1 : 0),
    ),
  )
}

const normOf = (vector: readonly number[]): number => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))

/** Rows whose coordinates have standard deviations 1, 1/2, 1/3, …, turned by a fixed orthogonal matrix. */
function decaying(random: Random, rows: number, dimension: number): Float32Array {
  const axis = Array.from({ length: dimension }, () => gaussian(random))
  const square = axis.reduce((sum, value) => sum + value * value, 0)
  const vectors = new Float32Array(rows * dimension)
  for (let row = 0; row < rows; row++) {
    const plain = axis.map((_, j) => gaussian(random) / (j + 1))
    const along = plain.reduce((sum, value, j) => sum + value * axis[j]!, 0)
    plain.forEach((value, j) => {
      vectors[row * dimension + j] = value - (2 * along * axis[j]!) / square
    })
  }
  return vectors
}

test('the same sample and seed give the same basis, whatever the number of workers', async () => {
  const data = { vectors: clustered(seededRandom(1), 3000, 200, 30), dimension: 200 }
  const { basis: expected } = await train(data, 32)
  for (const workers of [0, 1, 2]) {
    const pool = openPool({ workers })
    const { basis } = await train(data, 32, 3, pool)
    await pool.close()
    expect(basis).toEqual(expected)
  }
})

test('a given direction comes first, the principal ones after it', async () => {
  const data = { vectors: decaying(seededRandom(2), 4000, 48), dimension: 48 }
  const { basis: plain } = await train(data, 16)
  const { run, sample } = await prepareSample(executor, data, { directions: 16 })
  const first = Float32Array.from({ length: 48 }, (_, i) => (i === 5 ? 7 : 0))
  const basis = await trainBasis(run, sample, { count: 16, seed: 3, first })
  expect(basis.vectors.subarray(0, 48)).toEqual(first.map((value) => value / 7))
  expect(Math.max(...excessOf(basis).flat().map(Math.abs))).toBeLessThan(1e-6)
  // One more direction captures no less.
  for (let j = 1; j < 16; j++) expect(basis.captured[j]!).toBeGreaterThan(plain.captured[j - 1]! - 1e-6)
  const nothing = await trainBasis(run, sample, { count: 16, seed: 3, first: new Float32Array(48) })
  expect(nothing).toEqual(plain)
})

test('a few directions capture what the principal ones do', async () => {
  const { basis } = await train({ vectors: decaying(seededRandom(2), 4000, 48), dimension: 48 }, 16)
  const total = Array.from({ length: 48 }, (_, j) => (j + 1) ** -2).reduce((sum, value) => sum + value)
  let known = 0
  for (let j = 0; j < 12; j++) {
    known += (j + 1) ** -2 / total
    expect(Math.abs(basis.captured[j]! - known)).toBeLessThan(0.02)
  }
})

test('law 6: the skew bounds how far a basis is from orthonormal, and not by much', async () => {
  const random = seededRandom(4)
  for (const [dimension, count] of [
    [16, 16],
    [100, 32],
    [384, 128],
  ] as const) {
    const { basis } = await train({ vectors: decaying(random, 600, dimension), dimension }, count)
    const excess = excessOf(basis)
    const frobenius = normOf(excess.flat())
    expect(basis.skew).toBeGreaterThanOrEqual(frobenius)
    expect(basis.skew).toBeLessThan(1.1 * frobenius)
    expect(basis.skew).toBeLessThan(1e-6)
  }
})

/** A row's projection and what is left of it, in float64: w = v - B^T (B v). */
function splitRow(basis: Basis, vector: readonly number[]): { prefix: number[]; rest: number } {
  const { count, padded, vectors } = basis
  const prefix = Array.from({ length: count }, (_, a) =>
    vector.reduce((sum, value, j) => sum + value * vectors[a * padded + j]!, 0),
  )
  const left = vector.map((value, j) => prefix.reduce((sum, along, a) => sum - along * vectors[a * padded + j]!, value))
  return { prefix, rest: normOf(left) }
}

/** The lower bound of |q - o|^2 of docs/rounding.md, "PCA prefix", as written there. */
function prefixBound(basis: Basis, query: readonly number[], row: readonly number[]): number {
  const q = splitRow(basis, query)
  const o = splitRow(basis, row)
  const near = normOf(q.prefix.map((value, a) => value - o.prefix[a]!)) ** 2 / (1 + basis.skew)
  const slack = (1.01 * basis.skew + 1e-12) * (normOf(query) + normOf(row))
  const gap = Math.max(0, Math.abs(q.rest - o.rest) - slack)
  return near + gap * gap
}

test('law 6: the prefix bound never exceeds the squared distance, and comes close to it', async () => {
  const random = seededRandom(9)
  const { prepared, basis } = await train({ vectors: decaying(random, 1000, 40), dimension: 40 }, 12)
  const framed = prepared.framed()
  const rowAt = (index: number) => Array.from(framed.subarray(index * basis.padded, (index + 1) * basis.padded))
  let closest = 0
  for (let i = 0; i < 2000; i++) {
    const row = rowAt(i % 1000)
    // In the plane of the row and one direction, far and near, the bound is an equality but for the slack.
    const turn = gaussian(random) * 10 ** (random() * 12 - 6)
    const query =
      i % 2 === 0
        ? rowAt((i * 7) % 1000)
        : row.map((value, j) => value * (1 + (i % 3)) + turn * basis.vectors[(i % 12) * basis.padded + j]!)
    const square = query.reduce((sum, value, j) => sum + (value - row[j]!) ** 2, 0)
    const bound = prefixBound(basis, query, row)
    expect(bound).toBeLessThanOrEqual(square * (1 + 1e-12))
    if (square > 0) closest = Math.max(closest, bound / square)
  }
  expect(closest).toBeGreaterThan(0.999)
})

test.each([1, 5, 16, 33])('little data still gives an orthonormal basis (dimension %i)', async (dimension) => {
  for (const [name, vectors] of Object.entries(degenerateData(dimension, seededRandom(dimension))))
    for (const count of [4, padDimension(dimension)]) {
      const { basis } = await train({ vectors, dimension }, count)
      expect(normOf(excessOf(basis).flat()), name).toBeLessThanOrEqual(basis.skew)
      expect(basis.skew, name).toBeLessThan(1e-5)
      if (name !== 'huge numbers') for (const share of basis.captured) expect(share, name).toBeLessThan(1.0001)
      if (name === 'all rows zero') expect(basis.captured.every((share) => share === 0)).toBe(true)
    }
})

test('law 4: training a basis stops when it is aborted', async () => {
  const data = { vectors: decaying(seededRandom(3), 1000, 40), dimension: 40 }
  const { run, sample } = await prepareSample(executor, data, { directions: 16 })
  const controller = new AbortController()
  const training = trainBasis({ ...run, signal: controller.signal }, sample, { count: 16, seed: 1, first: null })
  controller.abort(new Error('gone'))
  await expect(training).rejects.toThrow('gone')
})
