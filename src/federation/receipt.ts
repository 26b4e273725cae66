/** What an answer covered, how fresh it was and how sure it is. */
import { createHash } from 'node:crypto'
import { canonicalJson } from '../core/canonical-json.js'
import { formatCollection } from '../core/generation.js'
import type { JsonValue } from '../core/json.js'
import { type Certificate, type Receipt, type Result, type SourceReceipt, wireDistance } from './answer.js'
import { certificateOf } from './certificate.js'
import type { ShardOutcome } from './fan-out.js'
import { versionKey } from './pins.js'
import type { Plan } from './planner.js'
import type { Query } from './query.js'

/** One line a collection asked, in the plan's order, then sources that could not be listed. */
export function sourceReceipts(plan: Plan, outcomes: readonly ShardOutcome[], nowMs: number): readonly SourceReceipt[] {
  const receipts = outcomes.map((outcome) => sourceReceipt(outcome, nowMs))
  for (const { ref, error } of plan.unlisted)
    receipts.push({
      ...ref,
      status: 'failed',
      code: error.code,
      reason: error.message,
      retryAfterMs: error.retryAfterMs ?? null,
    })
  return receipts
}

function sourceReceipt(outcome: ShardOutcome, nowMs: number): SourceReceipt {
  const { backend, collection } = outcome.shard.collection.ref
  switch (outcome.kind) {
    case 'hits': {
      const { version, answer } = outcome
      return {
        backend,
        collection,
        status: 'ok',
        metric: version.metric,
        certificate: certificateOf(answer),
        generation: version.generation,
        witness: version.witness,
        rows: version.rows,
        route: 'cache',
        freshness: {
          checkedAtMs: version.checkedAtMs,
          ageMs: Math.max(0, nowMs - version.checkedAtMs),
          policy: versionKey(outcome.shard.wanted),
        },
        searchMs: answer.searchMs,
        waitMs: outcome.pinMs + answer.waitMs,
        bytesScanned: answer.bytesScanned,
      }
    }
    case 'failed':
      return {
        backend,
        collection,
        status: 'failed',
        code: outcome.error.code,
        reason: outcome.error.message,
        retryAfterMs: outcome.error.retryAfterMs ?? null,
      }
    case 'priming':
      return { backend, collection, status: 'priming', retryAfterMs: outcome.retryAfterMs }
    case 'skipped':
      return { backend, collection, status: 'skipped', reason: outcome.reason, retryAfterMs: null }
    case 'mismatch':
      throw new Error('a query of another dimension has no receipt: it is refused before')
  }
}

interface Answered {
  readonly sources: readonly SourceReceipt[]
  readonly certificate: Certificate
  readonly results: readonly Result[]
  /** float32[dimension]; what was searched for, also when the query named a row. */
  readonly vector: Float32Array
}

export function makeReceipt(query: Query, { sources, certificate, results, vector }: Answered): Receipt {
  const answered = sources.filter((source) => source.status === 'ok')
  const ranked = answered.find((source) => source.rows > 0) ?? answered[0]
  const request = query.receipt === 'full' ? repeatableRequest(query, vector) : null
  return {
    complete: answered.length === sources.length,
    metric: certificate.kind === 'fused' ? null : (ranked?.metric ?? null),
    k: query.k,
    certificate,
    sources,
    request,
    digest: request === null ? null : digestOf(request, answered, results),
  }
}

/** A row named in a request may change or go; what was searched for is its vector. */
function repeatableRequest(query: Query, vector: Float32Array): Readonly<Record<string, unknown>> {
  const { row: _, ...rest } = query.canonical()
  return { ...rest, vector: Array.from(vector) }
}

/**
 * sha256, hex, of the canonical JSON of { request, generations by collection, ids, distances }.
 * @param request canonical, with the vector
 */
export function digestOf(
  request: Readonly<Record<string, unknown>>,
  answered: readonly Extract<SourceReceipt, { readonly status: 'ok' }>[],
  results: readonly Result[],
): string {
  const covered = {
    request: request as JsonValue,
    generations: Object.fromEntries(answered.map((source) => [formatCollection(source), source.generation])),
    ids: results.map((result) => result.id),
    distances: results.map((result) => wireDistance(result.distance)),
  }
  return createHash('sha256').update(canonicalJson(covered)).digest('hex')
}
