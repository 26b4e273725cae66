import { afterAll, expect, test } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { basisRoomBytes, trainBasis } from '../../src/cache/basis.js'
import { centroidRoomBytes, trainCentroids } from '../../src/cache/centroids.js'
import { trainCodebook } from '../../src/cache/codebook.js'
import { CodebookCopies } from '../../src/cache/codebook-copies.js'
import { choiceRoomBytes, chooseStages, directionsWorthTrying } from '../../src/cache/stage-choice.js'
import { frameSample, sampleBytes, TrainingSample } from '../../src/cache/training.js'
import { seededRandom } from '../../src/core/clock.js'
import { openPool } from '../../src/federation/pool.js'
import { never } from './collection-fixture.js'
import { gaussian } from './training-fixture.js'

const executor = openPool({ workers: 0 })
afterAll(() => executor.close())

const dimension = 128
const rows = 2500

/** What is chosen for rows whose coordinates have these standard deviations. */
async function chosenFor(
  deviation: (coordinate: number) => number,
  collectionRows = 100_000,
  metric: 'l2' | 'dot' = 'l2',
): Promise<{ readonly prefix: number; readonly cells: number }> {
  const random = seededRandom(3)
  // Far from the origin: a product that the centre has in common with all rows tells none from another.
  const offset = metric === 'dot' ? 3 : 0
  const vectors = Float32Array.from(
    { length: rows * dimension },
    (_, i) => offset + gaussian(random) * deviation(i % dimension),
  )
  const directions = directionsWorthTrying(dimension)
  const room = Math.max(
    centroidRoomBytes(rows, dimension, 8),
    basisRoomBytes(rows, dimension, directions),
    choiceRoomBytes(rows, dimension, 8),
  )
  const pool = new ArenaPool({ bytesMax: 40_000_000, scratchSlots: 1 })
  const sample = new TrainingSample(pool.allocate(sampleBytes({ rows, dimension }) + room)!, { rows, dimension })
  sample.writeRows(0, vectors)
  const trained = trainCodebook({ dimension, metric, seed: 1n, sample: vectors })
  const copies = new CodebookCopies(pool, trained)
  const codebook = copies.place(sample.arena)!
  const run = { executor, ...never }
  await frameSample(run, sample, codebook)
  const centroids = await trainCentroids(run, sample, { codebook, count: 8, seed: 1 })
  const center = metric === 'dot' ? trained.center : null
  const basis = await trainBasis(run, sample, { count: directions, seed: 1, first: center })
  const chosen = await chooseStages(run, sample, { basis, centroids, collectionRows, center })
  return { prefix: chosen.basis?.prefix ?? 0, cells: chosen.basis?.cells?.count ?? 0 }
}

test('cells and as long a prefix as it takes, and neither where all directions are alike', async () => {
  expect(await chosenFor((coordinate) => (coordinate < 10 ? 1 : 0.02))).toEqual({ prefix: 16, cells: 16 })
  const more = await chosenFor((coordinate) => (coordinate < 40 ? 1 : 0.1))
  expect(more.prefix).toBeGreaterThan(16)
  expect(more.prefix).toBeLessThanOrEqual(64)
  // Few rows do not pay for many directions.
  expect((await chosenFor((coordinate) => (coordinate < 40 ? 1 : 0.1), 100)).prefix).toBeLessThan(more.prefix)
  expect(await chosenFor(() => 1)).toEqual({ prefix: 0, cells: 0 })
})

test('no cells where too many directions matter alike', async () => {
  const { prefix, cells } = await chosenFor((coordinate) => (coordinate < 40 ? 1 : 0.35))
  expect(cells).toBe(0)
  expect(prefix).toBeGreaterThan(0)
})

test('dot: a prefix where few directions matter, and never cells', async () => {
  const chosen = await chosenFor((coordinate) => (coordinate < 10 ? 1 : 0.02), 100_000, 'dot')
  expect(chosen.cells).toBe(0)
  expect(chosen.prefix).toBe(16)
  expect(await chosenFor(() => 1, 100_000, 'dot')).toEqual({ prefix: 0, cells: 0 })
})
