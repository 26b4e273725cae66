/** Shards side by side, each with its own outcome (law 5). */
import { setMaxListeners } from 'node:events'
import type { PinnedVersion, ShardAnswer, ShardQuery, VectorCache } from '../cache/vector-cache.js'
import type { Clock } from '../core/clock.js'
import { type GatewayError, toGatewayError } from '../core/errors.js'
import type { BackendId } from '../core/generation.js'
import type { AnswerObserver } from './audit.js'
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
/** Shards that are searched one after the other before anybody else gets a turn: each takes as long as a scan may inline. */
const shardsAtOnceMax = 8

interface FanOut {
  readonly cache: VectorCache
  readonly pins: Pins
  readonly deadline: Deadline
  /** Is shown every answer; null: there is none. */
  readonly audit: AnswerObserver | null
  readonly clock: Clock
}

/** Begun for every shard that nothing has to be waited for. Finish it, once. */
export interface BegunFanOut {
  /**
   * One outcome a shard, in the order of `shards`, at the latest when the deadline ends. What is still under way then goes on
   * by itself: a pull for those who ask next, a search until it notices the signal; its result is dropped and its pin
   * released.
   */
  finish(): readonly ShardOutcome[] | Promise<readonly ShardOutcome[]>
}

/** @param ahead whether there is time until `finish` in which threads may scan */
export function beginFanOut(shards: readonly Shard[], query: ShardQuery, context: FanOut, ahead: boolean): BegunFanOut {
  const isPossible = shards.length <= shardsAtOnceMax && context.deadline.state === 'running'
  const begun = shards.map((shard) => (isPossible ? beginShard(shard, query, context, ahead) : null))
  return {
    finish() {
      const isLate = context.deadline.state !== 'running'
      const outcomes = begun.map((shard) => (isLate ? shard?.abandon() : shard?.finish()) ?? null)
      return outcomes.every((outcome) => outcome !== null) ? outcomes : searchLeft(shards, outcomes, query, context)
    },
  }
}

/** @param outcomes null for shards that are still to be searched; filled in */
async function searchLeft(
  shards: readonly Shard[],
  outcomes: (ShardOutcome | null)[],
  query: ShardQuery,
  context: FanOut,
): Promise<readonly ShardOutcome[]> {
  const { deadline } = context
  // Every shard listens, and Node takes more than ten listeners for a leak.
  if (shards.length > 10) setMaxListeners(0, deadline.signal)
  const next = startOrder(shards, context.cache)
  const runLane = async (lane: number): Promise<void> => {
    for (let i = next(lane); i !== undefined && deadline.state === 'running'; i = next(lane)) {
      if (outcomes[i] !== null) continue
      const outcome = await searchShard(shards[i]!, query, context)
      if (deadline.state === 'running') outcomes[i] = outcome
    }
  }
  const lanes = Array.from({ length: Math.min(shardsConcurrentMax, shards.length) }, (_, lane) => runLane(lane))
  await deadline.race(Promise.all(lanes)).catch((error: unknown) => {
    // The lanes themselves never reject: this is the deadline's end.
    if (deadline.state !== 'expired') throw error
  })
  return outcomes.map((outcome, i) => outcome ?? late(shards[i]!, context.cache))
}

/**
 * Takes the next index for a lane, undefined when none is left. Each lane begins with one source's shards and then helps
 * the others, so that a source with many collections that hang does not hold every place. What is resident goes first
 * and cannot be held up by what has to be pulled.
 */
function startOrder(shards: readonly Shard[], cache: VectorCache): (lane: number) => number | undefined {
  if (shards.length <= shardsConcurrentMax) {
    const indices = shards.keys()
    return () => indices.next().value
  }
  const resident = shards.map(({ collection: { ref } }) => {
    const { state } = cache.collectionStatistics(ref)
    return state === 'ready' || state === 'refreshing'
  })
  const bySource = new Map<BackendId, number[]>()
  for (const [index, { collection }] of shards.entries()) {
    const { backend } = collection.ref
    const list = bySource.get(backend)
    if (list === undefined) bySource.set(backend, [index])
    else list.push(index)
  }
  const residentFirst = (a: number, b: number): number => Number(resident[b]) - Number(resident[a])
  const lists = [...bySource.values()]
    .map((list) => list.sort(residentFirst))
    .sort((a, b) => residentFirst(a[0]!, b[0]!))
  const sources = lists.map((list) => list.values())
  return (lane) => {
    for (let i = 0; i < sources.length; i++) {
      const next = sources[(lane + i) % sources.length]!.next()
      if (next.done !== true) return next.value
    }
    return undefined
  }
}

const late = (shard: Shard, cache: VectorCache): ShardOutcome => {
  const retryAfterMs = cache.primingRetryMs(shard.collection.ref)
  return retryAfterMs === null
    ? { kind: 'skipped', shard, reason: 'deadline' }
    : { kind: 'priming', shard, retryAfterMs }
}

/** As BegunFanOut, of one shard. */
interface BegunShard {
  /** Null when it has to be waited for after all. */
  finish(): ShardOutcome | null
  abandon(): void
}

/** Null when something has to be waited for. */
function beginShard(shard: Shard, query: ShardQuery, context: FanOut, ahead: boolean): BegunShard | null {
  const { pins, audit, clock } = context
  const startMs = clock.monotonicMs()
  try {
    const version = pins.atOnce(shard.collection, shard.wanted)
    if (version === null) return null
    const pinMs = clock.monotonicMs() - startMs
    if (version.rows === 0) return known({ kind: 'hits', shard, version, answer: nothing, pinMs })
    if (version.dimension !== query.vector.length) return known({ kind: 'mismatch', shard, version })
    const begun = version.beginSearch(query, ahead)
    if (begun === null) return null
    return {
      finish() {
        try {
          const answer = begun.finish()
          if (answer === null) return null
          audit?.observe(version, query, answer)
          return { kind: 'hits', shard, version, answer, pinMs }
        } catch (cause) {
          return failureOf(shard, cause)
        }
      },
      abandon: () => begun.abandon(),
    }
  } catch (cause) {
    return known(failureOf(shard, cause))
  }
}

const known = (outcome: ShardOutcome): BegunShard => ({ finish: () => outcome, abandon: () => {} })

async function searchShard(shard: Shard, query: ShardQuery, context: FanOut): Promise<ShardOutcome> {
  const { pins, deadline, audit, clock } = context
  const startMs = clock.monotonicMs()
  try {
    return await pins.use(shard.collection, shard.wanted, async (version) => {
      const pinMs = clock.monotonicMs() - startMs
      if (version.rows === 0) return { kind: 'hits', shard, version, answer: nothing, pinMs }
      if (version.dimension !== query.vector.length) return { kind: 'mismatch', shard, version }
      deadline.signal.throwIfAborted()
      const answer = await version.search(query, { signal: deadline.signal })
      audit?.observe(version, query, answer)
      return { kind: 'hits', shard, version, answer, pinMs }
    })
  } catch (cause) {
    return failureOf(shard, cause)
  }
}

function failureOf(shard: Shard, cause: unknown): ShardOutcome {
  const error = toGatewayError(cause)
  return error.code === 'LG_PRIMING'
    ? { kind: 'priming', shard, retryAfterMs: error.retryAfterMs ?? 0 }
    : { kind: 'failed', shard, error }
}

const nothing: ShardAnswer = {
  hits: [],
  contract: { kind: 'exact' },
  recallExpected: null,
  rowsScanned: 0,
  bytesScanned: 0,
  searchMs: 0,
  waitMs: 0,
}
