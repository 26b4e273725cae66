/** Distances of rows whose originals are on disk: only of those that codes could not rule out. */
import { distance } from '../core/metric.js'
import type { ScanJob, ScanReply } from './executor.js'
import { survivorRangeRows } from './scan-plan.js'
import { type Group, hitAt, jobOf, mergeHits, type Shelf } from './shelf.js'
import type { ShardHit, ShardQuery } from './vector-cache.js'

/** Rows read at once, beyond k: the k nearest of them rule most others out. */
const rowsAtOnce = 96

/** What a scan left to be decided. */
export interface Deferred {
  readonly group: Group
  readonly reply: Pick<ScanReply, 'survivors' | 'unread'>
}

interface RerankOptions {
  readonly query: ShardQuery
  /** Upper bound of the distance of the k-th best row. */
  readonly distanceMax: number
  scan(job: ScanJob): Promise<ScanReply>
  readonly signal: AbortSignal
}

interface Candidate {
  readonly lower: number
  readonly shelf: Shelf
  readonly row: number
  readonly position: number
}

/** The k best of `best` and what was deferred, in total order. Throws LG_CORRUPT. */
export async function rerank(
  deferred: readonly Deferred[],
  best: readonly ShardHit[],
  options: RerankOptions,
): Promise<readonly ShardHit[]> {
  const { query, scan } = options
  const { k } = query
  let found = await readCandidates(deferred.flatMap(candidatesOf), best, options)
  for (const { group, reply } of deferred)
    for (const { index, from, to } of reply.unread) {
      const step = survivorRangeRows(k)
      for (let start = from; start < to; start += step) {
        const range = { from: start, to: Math.min(to, start + step) }
        const shelf = group.shelves[index]!
        const piece = { ...group, shelves: [shelf], blocks: [{ ...shelf.block, range }] }
        const reply = await scan(jobOf(piece, query, within(options.distanceMax, found, k)))
        found = await readCandidates(candidatesOf({ group: piece, reply }), found, options)
      }
    }
  return found
}

const within = (distanceMax: number, best: readonly ShardHit[], k: number): number =>
  best.length < k ? distanceMax : Math.min(distanceMax, best.at(-1)!.distance)

function candidatesOf({ group, reply }: Deferred): Candidate[] {
  const { lowers, blocks, rows, positions } = reply.survivors
  return Array.from(lowers, (lower, i) => ({
    lower,
    shelf: group.shelves[blocks[i]!]!,
    row: rows[i]!,
    position: positions[i]!,
  }))
}

/** Reads candidates, those that may be nearest first, as long as their lower bounds allow. */
async function readCandidates(
  candidates: readonly Candidate[],
  best: readonly ShardHit[],
  { query, distanceMax, signal }: RerankOptions,
): Promise<readonly ShardHit[]> {
  const sorted = candidates.toSorted((a, b) => a.lower - b.lower)
  let found = best
  for (let start = 0; start < sorted.length; start += query.k + rowsAtOnce) {
    const limit = within(distanceMax, found, query.k)
    const some = sorted.slice(start, start + query.k + rowsAtOnce).filter(({ lower }) => lower <= limit)
    if (some.length === 0) break
    const hits = await Promise.all(
      Array.from(byShelf(some), ([shelf, rows]) => readHits(shelf, rows, query, distanceMax)),
    )
    signal.throwIfAborted()
    found = mergeHits(found, hits.flat(), query.k)
  }
  return found
}

function byShelf(candidates: readonly Candidate[]): Map<Shelf, Candidate[]> {
  const groups = new Map<Shelf, Candidate[]>()
  for (const candidate of candidates) {
    const group = groups.get(candidate.shelf)
    if (group === undefined) groups.set(candidate.shelf, [candidate])
    else group.push(candidate)
  }
  return groups
}

async function readHits(
  shelf: Shelf,
  candidates: readonly Candidate[],
  query: ShardQuery,
  distanceMax: number,
): Promise<ShardHit[]> {
  const positions = Uint32Array.from(candidates, ({ position }) => position)
  // They may have come back into memory since the scan, and their file may be gone.
  const vectors = await shelf.masked.segment.vectors(
    candidates.map(({ row }) => row),
    positions,
  )
  const { metric } = shelf.resident.block
  return candidates.flatMap(({ row }, i) => {
    const exact = distance(metric, query.vector, vectors[i]!)
    return exact <= distanceMax ? [hitAt(shelf.masked, { segment: shelf.index, position: row }, exact)] : []
  })
}
