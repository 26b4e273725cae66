/** Trains a collection's codebook on rows of its segments in memory. */
import { setImmediate } from 'node:timers/promises'
import { seededRandom } from '../core/clock.js'
import { lastAtMost } from './ascending.js'
import { basisRoomBytes, trainBasis } from './basis.js'
import type { MemoryBudget } from './budget.js'
import { centroidCount, centroidRoomBytes, centroidSampleRows, trainCentroids } from './centroids.js'
import { type Codebook, refineCodebook, trainingSeed } from './codebook.js'
import type { PlacedCodebook } from './codebook-shelf.js'
import type { KernelExecutor } from './executor.js'
import { clustersMax } from './kernel/layout.js'
import { Pins, type Segment } from './segment.js'
import { choiceRoomBytes, chooseStages, directionsWorthTrying } from './stage-choice.js'
import { frameSample, sampleBytes, TrainingSample } from './training.js'

/** Rows copied, or read, before others get their turn. */
const copyRowsMax = 1024

/**
 * The codebook's rotation and centre, with centroids, and with principal directions where they pay; null when the codebook has
 * no centroids and would be slower with them. The same rows and codebook give the same bytes. The segments are
 * pinned while they are sampled, not while the sample is trained on. Throws LG_OVER_BUDGET when there is no room for it.
 * @param segments resident
 */
export async function trainOnSegments(
  segments: readonly Segment[],
  placed: PlacedCodebook,
  { budget, executor }: { readonly budget: MemoryBudget; readonly executor: KernelExecutor },
  signal: AbortSignal,
): Promise<Codebook | null> {
  const { codebook } = placed
  const { dimension } = codebook
  const seed = trainingSeed(codebook)
  const total = segments.reduce((sum, segment) => sum + segment.rows, 0)
  const count = Math.min(centroidCount(total), clustersMax)
  const rows = centroidSampleRows(total, count)
  const directions = directionsWorthTrying(dimension)
  const room = Math.max(
    centroidRoomBytes(rows, dimension, count),
    directions === 0 ? 0 : basisRoomBytes(rows, dimension, directions),
    directions === 0 ? 0 : choiceRoomBytes(rows, dimension, count),
  )
  const bytes = sampleBytes({ rows, dimension }) + room
  const allocation = budget.takeFree(bytes)
  const pins = new Pins()
  try {
    for (const segment of segments) pins.addReading(segment)
    const sample = new TrainingSample(allocation, { rows, dimension })
    await copySample(sample, segments, total, seed, signal)
    pins.release()
    const offset = placed.place(allocation.arena, budget)
    const run = { executor, signal }
    await frameSample(run, sample, offset)
    const centroids = await trainCentroids(run, sample, { codebook: offset, count, seed })
    if (directions === 0) return refineCodebook(codebook, centroids, null)
    const center = codebook.metric === 'dot' ? codebook.center : null
    const basis = await trainBasis(run, sample, { count: directions, seed, first: center })
    const stages = await chooseStages(run, sample, { basis, centroids, collectionRows: total, center })
    if (codebook.centroids === null && !stages.clustersPay) return null
    return refineCodebook(codebook, centroids, stages.basis)
  } finally {
    pins.release()
    allocation.free()
  }
}

/** Distinct rows, evenly spread over all and out of order. */
async function copySample(
  sample: TrainingSample,
  segments: readonly Segment[],
  total: number,
  seed: number,
  signal: AbortSignal,
): Promise<void> {
  const starts: number[] = []
  let end = 0
  for (const segment of segments) {
    starts.push(end)
    end += segment.rows
  }
  // Steps of the golden ratio spread any number of first rows evenly; without a common divisor none comes twice.
  let step = Math.max(1, Math.round(total * 0.6180339887))
  while (divisor(step, total) !== 1) step++
  let row = Math.floor(seededRandom(seed)() * total)
  const wanted = segments.map((): { readonly row: number; readonly at: number }[] => [])
  for (let at = 0; at < sample.rows; at++) {
    const index = lastAtMost(starts, row)
    wanted[index]!.push({ row: row - starts[index]!, at })
    row = (row + step) % total
  }
  for (const [index, segment] of segments.entries()) {
    const rows = wanted[index]!
    for (let start = 0; start < rows.length; start += copyRowsMax) {
      const some = rows.slice(start, start + copyRowsMax)
      const vectors = await segment.vectors(some.map(({ row }) => row))
      for (const [i, { at }] of some.entries()) sample.writeRows(at, vectors[i]!)
      await setImmediate()
      signal.throwIfAborted()
    }
  }
}

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))
