/** Shards side by side, each with its own outcome (law 5). */
import { setMaxListeners } from 'node:events'
import type { PinnedVersion, ShardAnswer, ShardQuery, VectorCache } from '../cache/vector-cache.js'
import { type GatewayError, toGatewayError } from '../core/errors.js'
import type { Deadline } from './deadline.js'
import type { Pins } from './pins.js'
import type { Shard } from './planner.js'

/** What became of one shard. */
export type ShardOutcome =
  | {
      readonly kind: 'hits'
      readonly shard: Shard
      readonly version: PinnedVersion
      readonly answer: ShardAnswer
      /** Time until the version was there, milliseconds. */
      readonly pinMs: number
    }
  /** Not searched: the query has another dimension. */
  | { readonly kind: 'mismatch'; readonly shard: Shard; readonly version: PinnedVersion }
  | { readonly kind: 'failed'; readonly shard: Shard; readonly error: GatewayError }
  | { readonly kind: 'skipped'; readonly shard: Shard; readonly reason: 'deadline' }
  | { readonly kind: 'priming'; readonly shard: Shard; readonly retryAfterMs: number }

/** A shard that hangs keeps its place until the deadline, so there are many more places than cores. */
const shardsConcurrentMax = 64

interface FanOut {
  readonly cache: VectorCache
  readonly pins: Pins
  readonly deadline: Deadline
  readonly monotonicMs: () => number
}

/**
 * One outcome a shard, in the order of `shards`, at the latest when the deadline ends. What is still under way then goes on
 * by itself: a pull for those who ask next, a search until it notices the signal; its result is dropped and its pin
 * released.
 */
export async function fanOut(
  shards: readonly Shard[],
  query: ShardQuery,
  context: FanOut,
): Promise<readonly ShardOutcome[]> {
  const { deadline } = context
  // Every shard listens, and Node takes more than ten listeners for a leak.
  if (shards.length > 10) setMaxListeners(0, deadline.signal)
  const outcomes = new Array<ShardOutcome | undefined>(shards.length).fill(undefined)
  const waiting = startOrder(shards, context.cache)
  const lane = async (): Promise<void> => {
    for (let i = waiting.pop(); i !== undefined && deadline.state === 'running'; i = waiting.pop()) {
      const outcome = await searchShard(shards[i]!, query, context)
      if (deadline.state === 'running') outcomes[i] = outcome
    }
  }
  const lanes = Array.from({ length: Math.min(shardsConcurrentMax, shards.length) }, lane)
  await deadline.race(Promise.all(lanes)).catch((error: unknown) => {
    // The lanes themselves never reject: this is the deadline's end.
    if (deadline.state !== 'expired') throw error
  })
  return outcomes.map((outcome, i) => outcome ?? late(shards[i]!, context.cache))
}

/** Indices to take from the end. When not all can start at once, what is resident goes first and cannot be held up. */
function startOrder(shards: readonly Shard[], cache: VectorCache): number[] {
  const indices = shards.map((_, i) => shards.length - 1 - i)
  if (shards.length <= shardsConcurrentMax) return indices
  const resident = shards.map(({ collection: { ref } }) => {
    const { state } = cache.collectionStatistics(ref)
    return state === 'ready' || state === 'refreshing'
  })
  return indices.sort((a, b) => Number(resident[a]) - Number(resident[b]))
}

const late = (shard: Shard, cache: VectorCache): ShardOutcome => {
  const retryAfterMs = cache.primingRetryMs(shard.collection.ref)
  return retryAfterMs === null
    ? { kind: 'skipped', shard, reason: 'deadline' }
    : { kind: 'priming', shard, retryAfterMs }
}

async function searchShard(shard: Shard, query: ShardQuery, context: FanOut): Promise<ShardOutcome> {
  const { pins, deadline, monotonicMs } = context
  const startMs = monotonicMs()
  try {
    return await pins.use(shard.collection, shard.wanted, async (version) => {
      const pinMs = monotonicMs() - startMs
      if (version.rows === 0) return { kind: 'hits', shard, version, answer: nothing, pinMs }
      if (version.dimension !== query.vector.length) return { kind: 'mismatch', shard, version }
      deadline.signal.throwIfAborted()
      const answer = await version.search(query, { signal: deadline.signal })
      return { kind: 'hits', shard, version, answer, pinMs }
    })
  } catch (cause) {
    const error = toGatewayError(cause)
    return error.code === 'LG_PRIMING'
      ? { kind: 'priming', shard, retryAfterMs: error.retryAfterMs ?? 0 }
      : { kind: 'failed', shard, error }
  }
}

const nothing: ShardAnswer = {
  hits: [],
  contract: { kind: 'exact' },
  rowsScanned: 0,
  bytesScanned: 0,
  searchMs: 0,
  waitMs: 0,
}
