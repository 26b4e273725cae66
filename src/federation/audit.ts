/** Answers re-run by brute force in the background: what certificates are held to in operation (law 6). */
import { setMaxListeners } from 'node:events'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { isOverBudget } from '../cache/budget.js'
import type { AnswerCheck, CheckedAnswer, PinnedVersion, ShardAnswer, ShardQuery } from '../cache/vector-cache.js'
import type { Clock, Random } from '../core/clock.js'
import type { RecallContract } from '../core/contract.js'
import { shuttingDown } from '../core/errors.js'
import { type CollectionRef, formatCollection } from '../core/generation.js'
import type { Log } from './log.js'
import { MissEvidence } from './miss-evidence.js'
import type { Reproducers, Violation } from './reproducer.js'

/** Audits that may wait; an answer drawn while so many do is not audited. */
const waitingMax = 16
/** Values (rows times dimension) that one audit reads at most: seconds of a thread. */
const auditValuesMax = 2 ** 30
/** How long one audit may take, waiting for idle threads included. */
const auditMsMax = 60_000

export interface AuditSettings {
  /** One answer of a collection in so many is audited. */
  readonly every: number
  /** Decides which. */
  readonly random: Random
  /** Largest share of the time that audits may run. */
  readonly share: number
  /** Null: violations are reported only. */
  readonly reproducers: Reproducers | null
}

/**
 * What became of audits. `complete`: compared with every row. `partial`: with as many as it may cost, or as time allowed.
 * `dropped`: too many were waiting. `gone`: the rows had left memory, or a build needed it. `failed`: for another reason.
 */
export type AuditOutcome = 'complete' | 'partial' | 'dropped' | 'gone' | 'failed'

/** Answers that claimed one kind of contract. */
export interface ContractAudit {
  /** Neighbours that complete audits expected, and how many of them were missed: 1 - missed / expected is the recall. */
  readonly expected: number
  readonly missed: number
  readonly violations: number
}

export interface AuditStatistics {
  readonly outcomes: Readonly<Record<AuditOutcome, number>>
  readonly contracts: Readonly<Record<RecallContract['kind'], ContractAudit>>
}

export interface AnswerObserver {
  /** Is shown each collection's answer while its version is pinned. Returns at once. */
  observe(version: PinnedVersion, query: ShardQuery, answer: ShardAnswer): void
}

/** Draws answers for audits. */
export interface Audit extends AnswerObserver {
  /** Of all collections, or of one. */
  statistics(ref?: CollectionRef): AuditStatistics
  /** Drops what is known of a collection that is gone. */
  forget(ref: CollectionRef): void
  /** Resolves when no audit waits or runs. */
  settled(): Promise<void>
  close(): Promise<void>
}

interface Waiting {
  readonly version: Violation['version']
  readonly query: ShardQuery
  readonly answer: ShardAnswer
  readonly check: AnswerCheck
}

/** What is counted of one collection, or of all. */
class Tally {
  readonly outcomes = { complete: 0, partial: 0, dropped: 0, gone: 0, failed: 0 }
  readonly contracts = { exact: noAnswers(), certified: noAnswers(), target: noAnswers() }
}

const noAnswers = () => ({ expected: 0, missed: 0, violations: 0 })

export function createAudit(
  settings: AuditSettings,
  context: {
    readonly clock: Clock
    readonly log: Log
    readonly onViolation: (ref: CollectionRef, contract: RecallContract, fault: string) => void
  },
): Audit {
  const { every, random, share, reproducers } = settings
  const { clock, log, onViolation } = context
  const total = new Tally()
  const collections = new Map<string, { readonly tally: Tally; readonly evidence: MissEvidence }>()
  const closing = new AbortController()
  setMaxListeners(0, closing.signal)
  const waiting: Waiting[] = []
  let running: Promise<void> | null = null

  // Gaps are random, so that no rhythm of the queries hides any of them.
  const drawGap = (): number => 1 + Math.floor(random() * (2 * every - 1))
  let left = drawGap()

  const known = (ref: CollectionRef) => {
    const name = formatCollection(ref)
    let collection = collections.get(name)
    if (collection === undefined) {
      collection = { tally: new Tally(), evidence: new MissEvidence() }
      collections.set(name, collection)
    }
    return collection
  }
  const count = (ref: CollectionRef, outcome: AuditOutcome): void => {
    total.outcomes[outcome]++
    known(ref).tally.outcomes[outcome]++
  }

  const judge = async ({ version, query, answer }: Waiting, checked: CheckedAnswer): Promise<void> => {
    const { ref } = version
    const { tally, evidence } = known(ref)
    const { contract } = answer
    const fault = faultOf(checked, query, contract, evidence)
    for (const { contracts } of [total, tally]) {
      if (checked.complete) {
        contracts[contract.kind].expected += checked.expected.length
        contracts[contract.kind].missed += checked.missed
      }
      if (fault !== null) contracts[contract.kind].violations++
    }
    if (fault === null) return
    const violation = { version, query, answer, checked, fault, atMs: clock.now() }
    const kept = reproducers === null ? { notKept: 'there is no cache directory' } : await reproducers.save(violation)
    log.error(
      {
        code: 'LG_CERTIFICATE_VIOLATED',
        collection: formatCollection(ref),
        generation: version.generation,
        contract,
        k: query.k,
        ...('path' in kept ? { reproducer: kept.path } : { reproducer_not_kept: kept.notKept }),
      },
      `an answer broke its certificate: ${fault}`,
    )
    onViolation(ref, contract, fault)
  }

  const audit = async (one: Waiting): Promise<void> => {
    const { ref } = one.version
    const endMs = clock.monotonicMs() + auditMsMax
    try {
      const checked = await one.check.run({
        signal: closing.signal,
        from: random(),
        isEnough: (valuesRead) => valuesRead >= auditValuesMax || clock.monotonicMs() > endMs,
      })
      if (checked === null) return count(ref, 'gone')
      count(ref, checked.complete ? 'complete' : 'partial')
      await judge(one, checked)
    } catch (error) {
      if (closing.signal.aborted) return
      count(ref, isOverBudget(error) ? 'gone' : 'failed')
      if (!isOverBudget(error)) log.warn({ collection: formatCollection(ref), err: error }, 'an audit failed')
    }
  }

  /** One at a time, with pauses that keep to the share. */
  const run = async (): Promise<void> => {
    for (let one = waiting.shift(); one !== undefined && !closing.signal.aborted; one = waiting.shift()) {
      await setImmediate() // the answer goes out first
      const startMs = performance.now()
      await audit(one)
      const pauseMs = (performance.now() - startMs) * (1 / share - 1)
      if (pauseMs > 0)
        await setTimeout(pauseMs, undefined, { signal: closing.signal, ref: false }).catch(() => undefined)
    }
  }
  const settled = async (): Promise<void> => {
    while (running !== null) await running
  }

  return {
    observe(version, query, answer) {
      if (--left > 0) return
      left = drawGap()
      if (closing.signal.aborted) return
      const { ref, generation, metric, dimension } = version
      if (waiting.length === waitingMax) return count(ref, 'dropped')
      const asked = { ...query, vector: query.vector.slice() }
      waiting.push({
        version: { ref, generation, metric, dimension },
        query: asked,
        answer,
        check: version.check(asked, answer),
      })
      running ??= run().finally(() => {
        running = null
      })
    },
    statistics: (ref) => (ref === undefined ? total : (collections.get(formatCollection(ref))?.tally ?? new Tally())),
    forget: (ref) => void collections.delete(formatCollection(ref)),
    settled,
    async close() {
      closing.abort(shuttingDown())
      waiting.length = 0
      await settled()
    },
  }
}

/**
 * How an answer breaks what it claims, or null; without ids and distances, since logs and events go to more readers than
 * answers do (law 8). Targets are estimates: an answer of theirs breaks nothing but by hits that are not what they say.
 */
function faultOf(
  checked: CheckedAnswer,
  { vector, k }: ShardQuery,
  contract: RecallContract,
  evidence: MissEvidence,
): string | null {
  const { missed } = checked
  if (isBroken(checked, contract))
    return missed > 0 ? `${missed} of the ${k} nearest rows are missing` : 'hits are not what they say'
  if (contract.kind !== 'certified') return null
  const { missProbability } = contract
  return evidence.judge(vector, missProbability, missed > 0)
    ? `neighbours are missing more often than with probability ${missProbability}`
    : null
}

/** Whether one answer alone breaks its contract. A certified one may miss. */
export const isBroken = ({ wrong, missed }: CheckedAnswer, contract: RecallContract): boolean =>
  wrong.length > 0 || (contract.kind === 'exact' && missed > 0)
