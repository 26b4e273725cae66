/** Turns a scan job into ranges of rows, each with the bytes its first stage reads. */
import assert from 'node:assert'
import type { RecallContract } from '../core/contract.js'
import { sphereQuantile } from './beta-tail.js'
import { type BlockSummary, summarizeBlock } from './block.js'
import { centroidCountOf } from './codebook-copies.js'
import type { FirstStage, ScanJob } from './executor.js'
import {
  chunkRows,
  dimensionMax,
  groupRows,
  hitsRoom,
  kMax,
  stageBits,
  stageCells,
  stageExact,
  stagePrefix,
} from './kernel/layout.js'
import type { ScanRange, ScanWork } from './kernel.js'
import { padDimension } from './padding.js'
import { noHits } from './scan-hits.js'
import { bitsMissShare, everything, mayMiss } from './tuning.js'

/**
 * Three rounds of signs and Hadamard are no uniform rotation of so few coordinates that the rare errors which `certified` counts
 * on would be as rare (docs/rounding.md, "What the certificate says"); above the other, table sums pass 16 bits.
 */
const bitsDimensionMin = 33
const bitsDimensionMax = 4096

const stages: Readonly<Record<FirstStage, number>> = {
  bits: stageBits,
  cells: stageCells,
  prefix: stagePrefix,
  bytes: stageExact,
}

export const bitsWork = (dimension: number): boolean => dimension >= bitsDimensionMin && dimension <= bitsDimensionMax

/** Where nothing was measured. */
function usualStage(contract: RecallContract, dimension: number, blocks: readonly BlockSummary[]): FirstStage {
  if (contract.kind !== 'exact' && bitsWork(dimension)) return 'bits'
  if (blocks.some((block) => block.cells > 0)) return 'cells'
  return blocks.some((block) => block.directions > 0) ? 'prefix' : 'bytes'
}

export interface PlannedRange extends ScanRange {
  /** Bytes that the first stage reads of all its rows. */
  readonly bytes: number
}

export interface ScanPlan {
  /** Of all ranges. */
  readonly work: ScanWork
  readonly ranges: readonly PlannedRange[]
  readonly rows: number
  /** What the first stage would read of all rows. */
  readonly bytes: number
  /** Whether some block has clusters, so that the first stage reads less. */
  readonly clustered: boolean
  /**
   * Whether a row may be missed. Which one then depends on the thresholds it met: for the same answer whatever the threads do
   * (law 3), ranges are scanned as they are, in their order, each under the threshold that the ones before it have left.
   */
  readonly mayMiss: boolean
}

/**
 * Where rows may be missed, a block without clusters is cut into ranges of which the first stage reads no more than this: 1 to 3 ms,
 * so that others need not wait for all of it. Clusters are visited in an order of their own, so a block with clusters stays whole.
 */
const pieceBytes = 4 * 2 ** 20

interface PlannedRanges {
  readonly ranges: readonly PlannedRange[]
  readonly bytes: number
}

/** What is known of a list of blocks; ranges by stage and whether rows may be missed, once they were asked for. */
interface KnownBlocks {
  readonly summaries: readonly BlockSummary[]
  readonly dimension: number
  readonly metric: number
  readonly rows: number
  readonly clustered: boolean
  readonly ranges: Map<number, PlannedRanges>
}

/** Queries come with the same lists again and again. */
const knownLists = new WeakMap<ScanJob['blocks'], KnownBlocks>()

function knownBlocks({ arena: { memory }, blocks, codebook, query }: ScanJob): KnownBlocks {
  const known = knownLists.get(blocks)
  if (known !== undefined) return known
  const summaries = blocks.map(({ block }) => summarizeBlock(memory, block))
  for (const summary of summaries) {
    assert(summary.dimension === query.length, 'query and blocks have one dimension')
    assert(codebook !== 0 || !summary.quantized, 'blocks with codes come with their codebook')
    assert(
      summary.clusters === 0 || summary.clusters === centroidCountOf(memory, codebook),
      'clustered blocks come with the codebook of their clusters',
    )
  }
  const made = {
    summaries,
    dimension: query.length,
    metric: summaries.at(-1)?.metric ?? 0,
    rows: summaries.reduce((sum, { rows }) => sum + rows, 0),
    clustered: summaries.some(({ clusters }) => clusters > 0),
    ranges: new Map(),
  }
  knownLists.set(blocks, made)
  return made
}

function rangesOf({ blocks }: ScanJob, known: KnownBlocks, stage: number, isUnsure: boolean): PlannedRanges {
  const key = isUnsure ? ~stage : stage
  const planned = known.ranges.get(key)
  if (planned !== undefined) return planned
  const ranges = known.summaries.flatMap((summary, index): PlannedRange[] => {
    const { block, vectors, allow, range } = blocks[index]!
    const rowBytes = firstStageBytes(summary, stage)
    const { from, to } = range ?? { from: 0, to: summary.rows }
    if (to <= from) return []
    const whole = [{ index, block, vectors, allow, from, to, rowBytes, bytes: (to - from) * rowBytes }]
    return isUnsure && summary.clusters === 0 ? cutRanges(whole, pieceBytes) : whole
  })
  const made = { ranges, bytes: ranges.reduce((sum, range) => sum + range.bytes, 0) }
  known.ranges.set(key, made)
  return made
}

/** As few ranges as may be; `unitsOf` makes more. */
export function planScan(job: ScanJob): ScanPlan {
  const { query, k, contract, choice } = job
  const dimension = query.length
  assert(k >= 1 && k <= kMax, 'k fits the scratch area')
  assert(dimension >= 1 && dimension <= dimensionMax, 'the dimension fits the scratch area')
  const known = knownBlocks(job)
  assert(known.dimension === dimension, 'query and blocks have one dimension')
  const first = choice?.first ?? usualStage(contract, dimension, known.summaries)
  assert(first !== 'bits' || contract.kind !== 'exact', '1-bit codes prove nothing')
  const stage = stages[first]
  const gap = contract.kind === 'target' ? (choice?.gap ?? everything) : everything
  const isUnsure = mayMiss({ first, gap })
  const { ranges, bytes } = rangesOf(job, known, stage, isUnsure)
  return {
    work: {
      codebook: job.codebook,
      metric: known.metric,
      query,
      ranges,
      k,
      distanceMax: job.distanceMax,
      stage,
      tail: stage === stageBits ? tailPoint(contract, { k, dimension, gap }) : 0,
      gap,
      before: noHits.distances,
    },
    ranges,
    rows: known.rows,
    bytes,
    clustered: known.clustered,
    mayMiss: isUnsure,
  }
}

/** Bytes of a row that a scan reads to rule it out. */
function firstStageBytes(block: BlockSummary, stage: number): number {
  if (!block.quantized) return block.paddedDimension * 4
  if (stage === stageBits) return block.paddedDimension / 8 + 12
  if (stage === stageCells && block.cells > 0) return block.cells / 2
  return stage >= stagePrefix && block.directions > 0 ? block.directions + 16 : block.paddedDimension + 16
}

/** Positions of which any number may survive. */
export const survivorRangeRows = (k: number): number => Math.floor((hitsRoom - k) / groupRows) * groupRows

/** The plan's ranges by about `bytes` that the first stage reads: a larger one is cut, as far as whole chunks of rows allow, unless rows may be missed. */
export function unitsOf(plan: ScanPlan, bytes: number): ScanRange[][] {
  const units: ScanRange[][] = []
  let room = 0
  for (const range of plan.mayMiss ? plan.ranges : cutRanges(plan.ranges, bytes)) {
    if (room < range.bytes) {
      units.push([])
      room = bytes
    }
    units.at(-1)!.push(range)
    room -= range.bytes
  }
  return units
}

function cutRanges(ranges: readonly PlannedRange[], bytesMax: number): PlannedRange[] {
  return ranges.flatMap((range) => {
    const { rowBytes } = range
    const step = Math.max(1, Math.floor(bytesMax / (rowBytes * chunkRows))) * chunkRows
    const pieces: PlannedRange[] = []
    for (let from = range.from; from < range.to; from += step) {
      const to = Math.min(range.to, from + step)
      pieces.push({ ...range, from, to, bytes: (to - from) * rowBytes })
    }
    return pieces
  })
}

const tailPoints = new Map<string, number>()

/**
 * How far a 1-bit estimate is trusted, so that no neighbour is lost with more than its share of the probability: all k
 * together for a certified answer, each alone for an expected recall.
 */
function tailPoint(
  contract: RecallContract,
  scan: { readonly k: number; readonly dimension: number; readonly gap: number },
): number {
  const { k, dimension, gap } = scan
  // Clusters left out have had the others of a target's misses.
  const share = gap < everything ? bitsMissShare : 1
  const probability =
    contract.kind === 'certified'
      ? contract.missProbability / k
      : contract.kind === 'target'
        ? (1 - contract.recall) * share
        : 0
  const padded = padDimension(dimension)
  const key = `${padded} ${probability}`
  const known = tailPoints.get(key)
  if (known !== undefined) return known
  // Given the code's direction, the query's is uniform in the other padded - 1 dimensions.
  const point = sphereQuantile(probability, padded - 1)
  if (tailPoints.size > 1000) tailPoints.clear()
  tailPoints.set(key, point)
  return point
}
