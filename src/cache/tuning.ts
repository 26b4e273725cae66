/** What searching some of its own rows says of a collection: how to answer all contracts but `exact` with the least work. */
import assert from 'node:assert'
import { setImmediate } from 'node:timers/promises'
import type { RecallContract } from '../core/contract.js'
import type { Block } from './block.js'
import { centroidVectors } from './centroids.js'
import type { Codebook } from './codebook.js'
import type { KernelExecutor } from './executor.js'
import { padDimension } from './padding.js'

/** Rows that stand for queries. */
const queriesMax = 200
const neighbours = 10
/** Of the certified answers that proven ones are timed against. */
const missProbability = 1e-5

export interface Tuning {
  /**
   * float64[], ascending: for neighbours of held-out rows, how far their radius is from the query's distance to their
   * centroid, as a share of the distance of the last neighbour. A scan that looks at windows of a share finds the
   * neighbours up to it.
   */
  readonly shares: Float64Array
  /** Whether proven answers took no longer than certified ones. */
  readonly proven: boolean
}

/** How a scan under a contract is to be done: for `ScanJob`. */
export function tunedScan(
  tuning: Tuning,
  contract: RecallContract,
): { readonly probing: number; readonly proven: boolean } {
  const { shares, proven } = tuning
  if (contract.kind !== 'target') return { probing: 1, proven }
  const found = proven ? contract.recall : (1 + contract.recall) / 2
  // One neighbour more than the quantile: the sample's own chance goes to the safe side.
  const index = Math.ceil(shares.length * found) + 1
  return { probing: index >= shares.length ? 1 : Math.min(1, shares[index]!), proven }
}

/**
 * Searches some rows of an encoded, clustered block for their neighbours.
 * @param codebook and `offset`, its copy in the block's arena
 */
export async function tuneScans(
  executor: KernelExecutor,
  block: Block,
  codebook: { readonly codebook: Codebook; readonly offset: number },
  options: { readonly signal: AbortSignal },
): Promise<Tuning> {
  const { centroids, center, metric, dimension } = codebook.codebook
  assert(centroids !== null && block.clusters === centroids.count, 'the block is clustered by the codebook')
  const vectors = centroidVectors(centroids)
  const padded = padDimension(dimension)
  const places = block.places()
  const { arena, offset } = block.allocation
  const blocks = [{ block: offset, allow: 0 }]
  const shares: number[] = []
  const certifiedMs: number[] = []
  const provenMs: number[] = []
  const queries = Math.min(queriesMax, block.rows)
  for (let i = 0; i < queries; i++) {
    const row = Math.floor((i * block.rows) / queries)
    const query = block.vector(row)
    const job = {
      arena,
      codebook: codebook.offset,
      blocks,
      query,
      k: neighbours + 1,
      distanceMax: Number.POSITIVE_INFINITY,
    }
    const certified = await executor.scan({ ...job, contract: { kind: 'certified', missProbability } }, options)
    const reply = await executor.scan({ ...job, contract: { kind: 'exact' } }, options)
    certifiedMs.push(certified.scanMs)
    provenMs.push(reply.scanMs)
    if (i % 10 === 9) await setImmediate()
    if (metric === 'dot') continue // its windows have one side only, and no share
    const norm = metric === 'cosine' ? Math.hypot(...query) || 1 : 1
    const framed = query.map((value, j) => value / norm - center[j]!)
    const last = reply.distances.at(-1) ?? 0
    const limit = Math.sqrt(metric === 'cosine' ? 2 * last : last)
    for (const found of reply.rows) {
      if (found === row || limit === 0) continue
      const { cluster, radius } = places(found)
      let square = 0
      for (let j = 0; j < dimension; j++) square += (framed[j]! - vectors[cluster * padded + j]!) ** 2
      shares.push(Math.abs(Math.sqrt(square) - radius) / limit)
    }
  }
  return { shares: Float64Array.from(shares).sort(), proven: median(provenMs) <= median(certifiedMs) }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
