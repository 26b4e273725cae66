import type { RecallContract } from '../core/contract.js'
import { compareIds } from '../core/id.js'
import type { AllowBitmap } from './allow-slots.js'
import type { BegunScan, KernelExecutor, ScanChoice, ScanJob, ScanReply } from './executor.js'
import { isStillThere, placesAtOnce, placesFiltered, type SearchedRows } from './places.js'
import { type Deferred, rerank } from './rerank.js'
import type { ResidentSegment } from './resident-segment.js'
import { type Group, hitAt, jobOf, mergeHits, type Place, type Shelf, startReading, stopReading } from './shelf.js'
import { distanceUnit, everyCluster, everything, mayMiss, scaledScan, tunedScan } from './tuning.js'
import type { BegunSearch, ShardAnswer, ShardHit, ShardQuery } from './vector-cache.js'

export interface SearchTarget extends SearchedRows {
  readonly executor: KernelExecutor
  /** How to scan whatever the codebooks' tunings say; null: as they say. */
  readonly choice: ScanChoice | null
}

/**
 * The k nearest live rows that pass the filter, in total order (law 3): which segments, arenas and jobs the rows are in
 * never shows.
 */
export async function searchSegments(
  target: SearchTarget,
  query: ShardQuery,
  options: { readonly signal: AbortSignal },
): Promise<ShardAnswer> {
  const bitmaps: (AllowBitmap | null)[] = []
  try {
    const places = placesAtOnce(target, query, bitmaps) ?? (await placesFiltered(target, query, bitmaps, options))
    return await scanGroups(target.executor, tuneGroups(places, query, target.choice), query, options)
  } finally {
    for (const bitmap of bitmaps) bitmap?.release()
  }
}

/**
 * The same when nothing has to be waited for: no filter evaluated, no row ranked or read from disk, and no query unlike those
 * that were measured; else null.
 * @param ahead whether there is time until `finish` in which another thread may scan
 */
export function beginSearch(target: SearchTarget, query: ShardQuery, ahead: boolean): BegunSearch | null {
  const bitmaps: (AllowBitmap | null)[] = []
  try {
    const places = placesAtOnce(target, query, bitmaps)
    return places === null ? null : new SearchAtOnce(target, query, { places, bitmaps, ahead })
  } catch (error) {
    for (const bitmap of bitmaps) bitmap?.release()
    throw error
  }
}

class SearchAtOnce implements BegunSearch {
  readonly #target: SearchTarget
  readonly #query: ShardQuery
  readonly #places: readonly Place[]
  /** Held. */
  readonly #bitmaps: readonly (AllowBitmap | null)[]
  readonly #groups: readonly Group[]
  readonly #startedMs = performance.now()
  readonly #begunMs: number
  /** Of the first group: the others begin with what it leaves. */
  readonly #scan: BegunScan | null

  constructor(
    target: SearchTarget,
    query: ShardQuery,
    {
      places,
      bitmaps,
      ahead,
    }: {
      readonly places: readonly Place[]
      readonly bitmaps: readonly (AllowBitmap | null)[]
      readonly ahead: boolean
    },
  ) {
    this.#target = target
    this.#query = query
    this.#places = places
    this.#bitmaps = bitmaps
    this.#groups = tuneGroups(places, query, target.choice)
    const first = this.#groups[0]
    this.#scan = ahead && first !== undefined ? target.executor.beginScan(jobOf(first, query, query.distanceMax)) : null
    this.#begunMs = performance.now()
  }

  finish(): ShardAnswer | null {
    const query = this.#query
    const groups = this.#groups
    const waitMs = performance.now() - this.#begunMs
    try {
      const begun = this.#scan?.finish() ?? null
      if (!this.#places.every(isStillThere)) return null
      let best: readonly ShardHit[] = []
      let rowsScanned = 0
      let bytesScanned = 0
      let nearer = query.distanceMax
      for (const [i, group] of groups.entries()) {
        const reply = (i === 0 ? begun : null) ?? this.#target.executor.scanAtOnce(jobOf(group, query, nearer))
        if (reply === null || reply.tiesLost || reply.survivors.lowers.length > 0 || reply.unread.length > 0)
          return null
        rowsScanned += reply.rowsScanned
        bytesScanned += reply.bytesScanned
        best = mergeHits(best, hitsOf(group.shelves, reply), query.k)
        if (reply.distances.length >= query.k) nearer = Math.min(nearer, reply.distances[query.k - 1]!)
      }
      if (areUnlikeMeasured(groups, best, query.k)) return null
      const searchMs = performance.now() - this.#startedMs
      const { contract, recallExpected } = achieved(groups, query.contract)
      return { hits: best, contract, recallExpected, rowsScanned, bytesScanned, searchMs, waitMs }
    } finally {
      this.#release()
    }
  }

  abandon(): void {
    this.#scan?.abandon()
    this.#release()
  }

  #release(): void {
    const over = this.#scan?.over() ?? null
    if (over === null) this.#releaseBitmaps()
    else {
      // A thread that was not waited for still reads: nothing of it may move, whenever the version is released.
      const { segments } = this.#target
      startReading(segments)
      void over.then(() => {
        stopReading(segments)
        this.#releaseBitmaps()
      })
    }
  }

  #releaseBitmaps(): void {
    for (const bitmap of this.#bitmaps) bitmap?.release()
  }
}

async function scanGroups(
  executor: KernelExecutor,
  groups: readonly Group[],
  query: ShardQuery,
  options: { readonly signal: AbortSignal },
): Promise<ShardAnswer> {
  const started = performance.now()
  let best: readonly ShardHit[] = []
  let rowsScanned = 0
  let bytesScanned = 0
  let waitMs = 0
  const scan = async (job: ScanJob): Promise<ScanReply> => {
    const reply = await executor.scan(job, options)
    rowsScanned += reply.rowsScanned
    bytesScanned += reply.bytesScanned
    waitMs += reply.waitMs
    return reply
  }
  const scanAll = async (groups: readonly Group[], distanceMax: number): Promise<void> => {
    best = []
    // Rows farther than the k-th so far cannot be among the k best; equals may, by their id.
    let nearer = distanceMax
    const onDisk: Deferred[] = []
    for (const group of groups) {
      let reply = await scan(jobOf(group, query, nearer))
      if (reply.tiesLost) {
        for (const { masked, resident, block } of group.shelves) {
          if (resident.block.ranked || block.vectors === 0) continue
          await masked.segment.writing // the bytes being written to disk are already checksummed
          options.signal.throwIfAborted()
          resident.block.setTieRanks(tieRanks(resident))
        }
        reply = await scan(jobOf(group, query, nearer))
      }
      best = mergeHits(best, hitsOf(group.shelves, reply), query.k)
      if (reply.distances.length >= query.k) nearer = Math.min(nearer, reply.distances[query.k - 1]!)
      if (reply.survivors.lowers.length > 0 || reply.unread.length > 0) onDisk.push({ group, reply })
    }
    if (onDisk.length > 0)
      best = await rerank(onDisk, best, { query, distanceMax: nearer, scan, signal: options.signal })
  }

  await scanAll(groups, query.distanceMax)
  let final = groups
  if (areUnlikeMeasured(groups, best, query.k)) {
    // Nothing is known of how much such a query misses: it is asked again with all clusters.
    final = groups.map((group) => ({
      ...group,
      tuned: group.tuned === null ? null : everyCluster(group.tuned, query.contract),
    }))
    await scanAll(final, Math.min(lastDistance(best, query.k), query.distanceMax))
  }

  return {
    hits: best,
    ...achieved(final, query.contract),
    rowsScanned,
    bytesScanned,
    searchMs: performance.now() - started,
    waitMs,
  }
}

const lastDistance = (best: readonly ShardHit[], k: number): number =>
  best.length < k ? Number.POSITIVE_INFINITY : best.at(-1)!.distance

/** Whether the k-th neighbour is farther than those of all queries that a group was measured with. */
const areUnlikeMeasured = (groups: readonly Group[], best: readonly ShardHit[], k: number): boolean =>
  groups.some(({ tuned }) => tuned !== null && lastDistance(best, k) > tuned.distanceMax)

const tuneGroups = (places: readonly Place[], query: ShardQuery, choice: ScanChoice | null): readonly Group[] =>
  places.map(({ shelves, blocks }) => {
    if (choice !== null) return { shelves, blocks, tuned: { choice, recall: 1, distanceMax: Number.POSITIVE_INFINITY } }
    const { tuning, codebook } = shelves[0]!.masked.codebook
    if (tuning === null) return { shelves, blocks, tuned: null }
    const tuned = tunedScan(tuning, query.contract, query.k, query.filter === null)
    const isWhole = tuned.choice.gap === everything
    return {
      shelves,
      blocks,
      tuned: isWhole ? tuned : scaledScan(tuned, distanceUnit(codebook.metric, query.vector)),
    }
  })

/** Of rows whose originals are in memory. */
function hitsOf(shelves: readonly Shelf[], reply: ScanReply): ShardHit[] {
  const { distances, blocks, rows } = reply
  const hits: ShardHit[] = []
  for (let i = 0; i < distances.length; i++) {
    const { masked, index, block } = shelves[blocks[i]!]!
    if (block.vectors !== 0) hits.push(hitAt(masked, { segment: index, position: rows[i]! }, distances[i]!))
  }
  return hits
}

/** Each row's place in the order of (id, part, ordinal) within its segment, whose rows are in the order of the latter two. */
function tieRanks(resident: ResidentSegment): Uint32Array {
  const { ids, ordinals } = resident
  const values = Array.from(ordinals, (_, row) => ids.get(row))
  const order = Uint32Array.from(ordinals, (_, row) => row).sort((a, b) => compareIds(values[a]!, values[b]!) || a - b)
  const ranks = new Uint32Array(order.length)
  order.forEach((row, rank) => {
    ranks[row] = rank
  })
  return ranks
}

/** Blocks without codes are scanned in full, and bounds may be proven, whatever was asked. */
function achieved(groups: readonly Group[], asked: RecallContract): Pick<ShardAnswer, 'contract' | 'recallExpected'> {
  const inexact = groups.filter(
    ({ shelves, tuned }) =>
      shelves.some(({ resident }) => resident.block.quantized) &&
      (tuned === null ? asked.kind !== 'exact' : mayMiss(tuned.choice)),
  )
  if (inexact.length === 0) return { contract: { kind: 'exact' }, recallExpected: null }
  if (asked.kind !== 'target') return { contract: asked, recallExpected: null }
  return { contract: asked, recallExpected: Math.min(...inexact.map(({ tuned }) => tuned?.recall ?? asked.recall)) }
}
