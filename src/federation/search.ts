/** One query from plan to answer. */
import type { VectorCache } from '../cache/vector-cache.js'
import type { Clock } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { formatCollection } from '../core/generation.js'
import type { Answer, Certificate } from './answer.js'
import type { AnswerObserver } from './audit.js'
import type { Catalog } from './catalog.js'
import { certificateOf, weakest } from './certificate.js'
import { checkCost } from './cost.js'
import type { Deadline } from './deadline.js'
import { beginFanOut, type ShardOutcome } from './fan-out.js'
import type { Log } from './log.js'
import { fuseRanks, mergeTopK } from './merge.js'
import type { Pins } from './pins.js'
import { type ConsistencyOf, checkKnownSpaces, type Plan, planAtOnce, planQuery, versionWanted } from './planner.js'
import type { Query } from './query.js'
import { makeReceipt, sourceReceipts } from './receipt.js'
import { checkSelect, type LocatedHit, locateHits, type Ranking, readResults, readVectors } from './results.js'
import { primingError, readRow } from './row.js'
import { checkSpaces, type Space, spaceKey } from './spaces.js'

export interface SearchContext {
  readonly catalog: Catalog
  readonly cache: VectorCache
  readonly clock: Clock
  readonly log: Log
  readonly audit: AnswerObserver | null
  readonly consistencyOf: ConsistencyOf
}

type Hits = Extract<ShardOutcome, { readonly kind: 'hits' }>

interface Request {
  /** May be shared with other queries, which then see the same generations; stays open. */
  readonly pins: Pins
  readonly deadline: Deadline
  /** See `SearchOptions`; null: there are no others. */
  readonly together: (() => Promise<void>) | null
}

export async function search(
  query: Query,
  context: SearchContext,
  { pins, deadline, together }: Request,
): Promise<Answer> {
  const { catalog, consistencyOf } = context
  const plan =
    planAtOnce(catalog, query, consistencyOf) ?? (await deadline.race(planQuery(catalog, query, consistencyOf)))
  if (query.costBytesMax !== Infinity) await deadline.race(checkCost(plan, query, context, deadline.signal))
  const { target } = query
  const vector = target.kind === 'vector' ? target.vector : await rowVector(target, query, context, pins, deadline)
  checkKnownSpaces(plan, query, vector.length, context.cache)

  const { k, recall: contract, filter, distanceMax } = query
  const begun = beginFanOut(
    plan.shards,
    { vector, k, contract, filter, distanceMax },
    { cache: context.cache, pins, deadline, audit: context.audit, clock: context.clock },
    together !== null,
  )
  if (together !== null) await together()
  const fanned = begun.finish()
  const outcomes = fanned instanceof Promise ? await fanned : fanned
  report(outcomes, context.log)
  checkPinnedSpaces(outcomes, query, vector.length)
  const answered = outcomes.filter((outcome) => outcome.kind === 'hits')
  if (answered.length === 0) refuseNothing(plan, outcomes, query)
  if (query.requireComplete) refuseIncomplete(plan, outcomes)
  if (query.select !== null && answered.length === outcomes.length) checkAnsweredSelect(query.select, answered)

  const { ranking, certificate } = merge(answered, query)
  const vectors = query.includeVectors ? await readVectors(ranking, deadline) : null
  const results = readResults(ranking, query.select, vectors)
  if (query.receipt === 'none') return { results, receipt: null }
  const sources = sourceReceipts(plan, outcomes, context.clock.now())
  return { results, receipt: makeReceipt(query, { sources, certificate, results, vector }) }
}

/** float32[dimension]: the row's vector in the version that is searched. */
function rowVector(
  target: Extract<Query['target'], { readonly kind: 'row' }>,
  query: Query,
  context: SearchContext,
  pins: Pins,
  deadline: Deadline,
): Promise<Float32Array> {
  return readRow(
    {
      ref: target.collection,
      id: target.id,
      wanted: (collection) => versionWanted(query, collection, context.consistencyOf),
      field: 'row',
    },
    { ...context, pins, deadline },
    async (version, location) => (await version.vectors([location], { signal: deadline.signal }))[0]!,
  )
}

function report(outcomes: readonly ShardOutcome[], log: Log): void {
  for (const outcome of outcomes) {
    if (outcome.kind !== 'failed') continue
    const { error, shard } = outcome
    const fields = { collection: formatCollection(shard.collection.ref), err: error }
    if (error.status === 500) log.error(fields, 'shard failed')
    else log.warn(fields, 'shard failed')
  }
}

/** Law 9 on what the pinned versions say; empty ones have no distances to mix. */
function checkPinnedSpaces(outcomes: readonly ShardOutcome[], query: Query, dimension: number): void {
  if (outcomes.length === 1 && outcomes[0]!.kind === 'hits') return
  const spaces = outcomes.flatMap((outcome): Space[] => {
    if (outcome.kind !== 'hits' && outcome.kind !== 'mismatch') return []
    const { ref, metric, model, dimension, rows } = outcome.version
    return rows === 0 ? [] : [{ name: formatCollection(ref), metric, model, dimension }]
  })
  checkSpaces(spaces, query, dimension)
}

/** Law 5's other side: an error when nothing answered. The first in law 3's order, so that arrival does not choose. */
function refuseNothing(plan: Plan, outcomes: readonly ShardOutcome[], query: Query): void {
  const priming = outcomes.filter((outcome) => outcome.kind === 'priming')
  if (priming.length > 0) {
    const retryAfterMs = Math.max(...priming.map((outcome) => outcome.retryAfterMs))
    throw primingError(priming.map(nameOf).join(', '), retryAfterMs)
  }
  const skipped = outcomes.filter((outcome) => outcome.kind === 'skipped')
  if (skipped.length > 0)
    throw new GatewayError(
      'LG_DEADLINE_EXCEEDED',
      `${skipped.map(nameOf).join(', ')}: no answer within ${query.deadlineMs} ms; raise deadline_ms or ask again`,
      { field: 'deadline_ms' },
    )
  const failed = outcomes.find((outcome) => outcome.kind === 'failed')
  if (failed !== undefined) throw failed.error
  if (plan.unlisted.length > 0) throw plan.unlisted[0]!.error
}

function refuseIncomplete(plan: Plan, outcomes: readonly ShardOutcome[]): void {
  if (plan.unlisted.length === 0 && outcomes.every(({ kind }) => kind === 'hits')) return
  const reasons = [
    ...outcomes.flatMap((outcome) => {
      switch (outcome.kind) {
        case 'priming':
          return [`${nameOf(outcome)} (the first pull is still running)`]
        case 'skipped':
          return [`${nameOf(outcome)} (${outcome.reason})`]
        case 'failed':
          return [`${nameOf(outcome)} (${outcome.error.message})`]
        default:
          return []
      }
    }),
    ...plan.unlisted.map(({ ref, error }) => `${formatCollection(ref)} (${error.message})`),
  ]
  if (reasons.length === 0) return
  const retries = outcomes.flatMap((outcome) => (outcome.kind === 'priming' ? [outcome.retryAfterMs] : []))
  throw new GatewayError(
    'LG_INCOMPLETE',
    `require_complete: ${reasons.length} of ${outcomes.length + plan.unlisted.length} did not answer: ${reasons.join('; ')}`,
    { field: 'require_complete', ...(retries.length > 0 && { retryAfterMs: Math.max(...retries) }) },
  )
}

const nameOf = (outcome: ShardOutcome): string => formatCollection(outcome.shard.collection.ref)

function checkAnsweredSelect(select: readonly string[], answered: readonly Hits[]): void {
  if (select.length === 0) return
  const versions = answered.flatMap(({ version }) => (version.dimension === null ? [] : [version]))
  if (versions.length > 0) checkSelect(select, versions)
}

/** By distance inside a space; ranks are fused only between spaces, and then the certificate says so. */
function merge(
  answered: readonly Hits[],
  { k }: Query,
): { readonly ranking: Ranking; readonly certificate: Certificate } {
  if (answered.length === 1) {
    const { version, answer } = answered[0]!
    return { ranking: { rows: answer.hits, versionOf: () => version }, certificate: certificateOf(answer) }
  }
  const bySpace = new Map<string, (readonly LocatedHit[])[]>()
  for (const { version, answer } of answered) {
    if (answer.hits.length === 0) continue
    const key = spaceKey(version)
    const lists = bySpace.get(key) ?? []
    lists.push(locateHits(version, answer.hits))
    bySpace.set(key, lists)
  }
  const rankings = [...bySpace.values()].map((lists) => mergeTopK(lists, k))
  const spaces = new Set(answered.flatMap(({ version }) => (version.rows > 0 ? spaceKey(version) : [])))
  const fused = spaces.size > 1
  const hits = fused ? fuseRanks(rankings, k) : (rankings[0] ?? [])
  return {
    ranking: { rows: hits, versionOf: (i) => hits[i]!.version },
    certificate: fused ? { kind: 'fused' } : weakest(answered.map(({ answer }) => certificateOf(answer))),
  }
}
