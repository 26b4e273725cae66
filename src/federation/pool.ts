import { setImmediate as onNextTurn } from 'node:timers'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { finishBlock, summarizeBlock } from '../cache/block.js'
import { type Compared, type CompareWork, compareRows } from '../cache/compare-rows.js'
import type { BegunScan, EncodeJob, KernelExecutor, ScanJob, ScanReply, TrainJob } from '../cache/executor.js'
import { groupRows } from '../cache/kernel/layout.js'
import { type EncodeWork, runEncode, runScan, runTraining } from '../cache/kernel.js'
import { type Hits, hitsThreshold, joinSurvivors, mergeHits, noHits } from '../cache/scan-hits.js'
import { planScan, type ScanPlan, unitsOf } from '../cache/scan-plan.js'
import { GatewayError } from '../core/errors.js'
import type { WorkerReplies, WorkerTask } from './messages.js'
import { type ScanDone, ScansAhead } from './scans-ahead.js'
import { Slots } from './slots.js'
import { Threads } from './threads.js'

/**
 * A unit of work is sized to take about this long, so that aborts, deadlines and other queries wait no longer; a thread that answers a
 * query alone may take longer, for every hand-over costs again. Ranges that may not be cut further can take longer too (ScanPlan.mayMiss).
 */
const unitMs = { shared: 2, alone: 5 }
/** Tasks a thread has been given: the one it runs and one that it finds when it is done, whatever the main thread is doing. */
const tasksPerThread = 2
/** A query is not split into shares smaller than this, and one that is shorter may be answered inline by a thread with time. */
const shareMs = 1
/** Waking a thread costs about as much as a shorter scan. */
const aheadMsMin = 0.01
/** First guesses of what a scan gets through, bytes of its blocks a millisecond, corrected by every scan. */
const bytesPerMsGuess = { flat: 4_000_000, clustered: 40_000_000 }
/** Codebooks whose throughput is remembered. */
const ratesMax = 1000
/** Coordinates that are encoded in a millisecond, about: it only sizes units of work. */
const coordinatesPerMs = { codes: 100_000, norms: 2_000_000 }
const pingCount = 15
/** Between pings, so that the thread has fallen asleep as it has between two queries: waking it is most of the price. */
const pingPauseMs = 2
/** A round trip that was measured longer was measured on a machine that was busy with something else. */
const roundTripMsMax = 0.5
/** Stands for the round trip until it is measured, or where it cannot be. */
const roundTripMsGuess = 0.1

/** Failures a thread, while all are told to forget an arena, that dying does not explain any more. */
const forgetFailuresMax = 10

interface CallOptions {
  readonly signal: AbortSignal
}

/** Starts `workers` threads (0: everything runs on the calling thread, in short turns). */
export function openPool(options: { readonly workers: number }): KernelExecutor {
  return new WorkerPool(options.workers)
}

class WorkerPool implements KernelExecutor {
  readonly workers: number
  readonly scratchSlots: number
  readonly #threads: Threads | null
  /** Null without threads. */
  readonly #ahead: ScansAhead | null
  readonly #slots: Slots
  #closed = false
  /** Cheaper scans than this run inline at once: without threads those of one turn, else those cheaper than a round trip. */
  #inlineMsMax = unitMs.shared
  /** Resolves when it is known how long a round trip is. Threads are spared other tasks until then. */
  readonly #measured: Promise<void>
  /** Whether a scan dearer than a round trip has run inline since the event loop's last turn. */
  #hasTakenTurn = false
  /**
   * Bytes of blocks that a scan gets through in a millisecond, by codebook and stage: how much of them it skips depends on
   * the collection.
   */
  readonly #rates = new Map<number, number>()

  constructor(workers: number) {
    this.workers = workers
    const slots = tasksPerThread * workers + 1
    this.scratchSlots = workers === 0 ? slots : slots + 1
    this.#ahead = workers === 0 ? null : new ScansAhead(slots)
    this.#slots = new Slots(workers, tasksPerThread)
    this.#threads = workers === 0 ? null : new Threads({ count: workers, tasksPerThread })
    this.#measured = this.#threads === null ? Promise.resolve() : this.#measureRoundTrip(this.#threads)
  }

  async #measureRoundTrip(threads: Threads): Promise<void> {
    this.#inlineMsMax = roundTripMsGuess
    try {
      this.#inlineMsMax = await measureRoundTrip(threads, this.workers)
    } catch {
      // A guess will do; where threads cannot start, the first task that needs one says why.
    }
  }

  async encode(job: EncodeJob, options: CallOptions): Promise<void> {
    const { memory } = job.arena
    const { rows, paddedDimension, quantized, clusters } = summarizeBlock(memory, job.block)
    const rowsPerMs = coordinatesPerMs[quantized ? 'codes' : 'norms'] / paddedDimension
    const run = async (step: EncodeWork['step'], rowsEach: number): Promise<Float64Array[]> => {
      const work = { step, block: job.block, vectors: job.vectors, codebook: job.codebook }
      if (rows / rowsPerMs <= this.#inlineMsMax) {
        options.signal.throwIfAborted()
        return [runEncode(memory, 0, { ...work, from: 0, to: rows })]
      }
      const ranges: { from: number; to: number }[] = []
      for (let from = 0; from < rows; from += rowsEach) ranges.push({ from, to: Math.min(rows, from + rowsEach) })
      const maxima: Float64Array[] = []
      await this.#runUnits(ranges, this.workers, options, async (range, slot) => {
        const task = { kind: 'encode', arena: job.arena, slot, work: { ...work, ...range } } as const
        maxima.push(slot === 0 ? runEncode(memory, slot, task.work) : (await this.#dispatch(task)).maxima)
      })
      return maxima
    }
    const rowsEach = Math.max(1, Math.round((unitMs.shared * rowsPerMs) / groupRows)) * groupRows
    if (clusters > 0) {
      await run('place', rowsEach)
      await run('arrange', rows)
    }
    finishBlock(memory, job.block, await run('encode', rowsEach))
  }

  beginScan(job: ScanJob): BegunScan | null {
    const ahead = this.#ahead
    if (ahead === null) return null
    const plan = planScan(job)
    const estimatedMs = plan.bytes / this.#rate(job, plan)
    if (estimatedMs < aheadMsMin || estimatedMs > this.#inlineMsMax) return null
    if (plan.ranges.some(({ vectors }) => vectors === 0)) return null
    const begun = ahead.begin(job.arena, plan.work, () => timeScan(job, plan))
    if (begun === null) return null
    return {
      finish: () => {
        const { hits, ms } = ahead.finish(begun, this.#inlineMsMax)
        this.#learn(job, plan, ms)
        return finish(hits, plan, ms, 0)
      },
      abandon: () => ahead.abandon(begun),
      over: () => begun.over,
    }
  }

  scanAtOnce(job: ScanJob): ScanReply | null {
    const plan = planScan(job)
    const estimatedMs = plan.bytes / this.#rate(job, plan)
    return estimatedMs <= this.#inlineMsMax || this.#takesTurn(estimatedMs) ? this.#scanInline(job, plan) : null
  }

  /** A lone query is answered soonest inline. Of several that arrive together, all but the first go to threads. */
  #takesTurn(estimatedMs: number): boolean {
    if (estimatedMs > shareMs || this.#hasTakenTurn) return false
    this.#hasTakenTurn = true
    onNextTurn(() => {
      this.#hasTakenTurn = false
    })
    return true
  }

  async scan(job: ScanJob, options: CallOptions): Promise<ScanReply> {
    options.signal.throwIfAborted()
    const called = performance.now()
    const atOnce = this.scanAtOnce(job)
    if (atOnce !== null) return atOnce
    const plan = planScan(job)
    const rate = this.#rate(job, plan)
    const estimatedMs = plan.bytes / rate
    await this.#measured
    let hits = noHits
    let scanMs = 0
    let waitMs = 0
    // Whole queries keep busy threads busy; a query is split only for threads that have nothing else to do.
    const sharesMax = plan.mayMiss ? 1 : this.#slots.idleThreads
    const shares = Math.max(1, Math.min(sharesMax, Math.floor(estimatedMs / shareMs)))
    const unitBytes = rate * (shares === 1 && this.workers > 0 ? unitMs.alone : unitMs.shared)
    await this.#runUnits(unitsOf(plan, unitBytes), shares, options, async (ranges, slot, waitedMs) => {
      // Of many rows as near as the k-th, all are hits.
      const work = { ...plan.work, before: hits.distances.slice(0, job.k), ranges }
      const started = performance.now()
      const reply =
        slot === 0
          ? { hits: runScan(job.arena.memory, slot, work), ms: performance.now() - started }
          : await this.#dispatch({ kind: 'scan', arena: job.arena, slot, work })
      hits = mergeHits(hits, reply.hits, job.k)
      scanMs += reply.ms
      waitMs += waitedMs
    })
    this.#learn(job, plan, scanMs)
    return finish(hits, plan, scanMs, Math.max(waitMs, performance.now() - called - scanMs))
  }

  async train(job: TrainJob, options: CallOptions): Promise<void> {
    // One thread stays free for queries, where there is more than one.
    const runners = Math.max(1, this.workers - 1)
    await this.#runUnits(job.calls, runners, { ...options, background: true }, async (call, slot) => {
      if (slot === 0) runTraining(job.arena.memory, slot, call)
      else await this.#dispatch({ kind: 'train', arena: job.arena, slot, call })
    })
  }

  async compare(work: CompareWork, options: CallOptions): Promise<Compared> {
    const compared: Compared[] = []
    await this.#runUnits([work], 1, { ...options, background: true }, async (unit, slot) => {
      compared.push(slot === 0 ? compareRows(unit) : await this.#dispatch({ kind: 'compare', work: unit }))
    })
    return compared[0]!
  }

  async forget(arenaId: number): Promise<void> {
    await Promise.all([this.#forgetInTasks(arenaId), this.#ahead?.forget(arenaId)])
  }

  async #forgetInTasks(arenaId: number): Promise<void> {
    const threads = this.#threads
    if (threads === null) return
    const told = new Set<number>()
    let failures = 0
    // A thread that dies has forgotten, and the one in its place never knew.
    while (!this.#closed && threads.all.some(({ threadId }) => !told.has(threadId))) {
      // Each goes to the thread that has fewest tasks, so that together they reach all that are not busy.
      const tasks = threads.all.map(() => threads.run({ kind: 'forget', arenaId }))
      for (const outcome of await Promise.allSettled(tasks)) {
        if (outcome.status === 'fulfilled') told.add(outcome.value.threadId)
        else if (++failures > forgetFailuresMax * this.workers)
          throw new GatewayError('LG_INTERNAL', 'worker threads cannot collect garbage', { cause: outcome.reason })
      }
      await setImmediate()
    }
  }

  #scanInline(job: ScanJob, plan: ScanPlan): ScanReply {
    const { hits, ms } = timeScan(job, plan)
    this.#learn(job, plan, ms)
    return finish(hits, plan, ms, 0)
  }

  #rate(job: ScanJob, plan: ScanPlan): number {
    return this.#rates.get(rateKey(job, plan)) ?? bytesPerMsGuess[plan.clustered ? 'clustered' : 'flat']
  }

  #learn(job: ScanJob, plan: ScanPlan, ms: number): void {
    if (plan.bytes < 100_000 || ms <= 0) return
    const rate = this.#rate(job, plan) * 0.9 + (plan.bytes / ms) * 0.1
    if (this.#rates.size >= ratesMax) this.#rates.clear()
    this.#rates.set(rateKey(job, plan), rate)
  }

  /** Runs units in order, at most `runners` at once; between units it looks at the signal and lets others go first. */
  async #runUnits<Unit>(
    units: readonly Unit[],
    runners: number,
    options: CallOptions & { readonly background?: boolean },
    run: (unit: Unit, slot: number, waitedMs: number) => Promise<void>,
  ): Promise<void> {
    let next = 0
    const runner = async (): Promise<void> => {
      while (next < units.length) {
        const asked = performance.now()
        const slot = await this.#slots.take(options.signal, options.background === true)
        try {
          options.signal.throwIfAborted()
          const unit = units[next++]
          if (unit !== undefined) await run(unit, slot, performance.now() - asked)
        } finally {
          this.#slots.give(slot)
        }
        if (slot === 0 && next < units.length) await setImmediate()
      }
    }
    const outcomes = await Promise.allSettled(Array.from({ length: Math.max(1, runners) }, runner))
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** Runs a task on any thread: once more when the thread dies under it, unless the task cannot be repeated. */
  async #dispatch<Task extends WorkerTask>(task: Task): Promise<WorkerReplies[Task['kind']]> {
    const threads = this.#threads
    if (threads === null) throw new GatewayError('LG_INTERNAL', 'a task was dispatched without worker threads')
    let first: unknown
    try {
      return await threads.run(task)
    } catch (cause) {
      if (cause instanceof GatewayError) throw cause // closed
      if (task.kind === 'train')
        throw new GatewayError('LG_INTERNAL', 'a worker thread failed while training', { cause })
      // The thread's scratch area is this task's own and the arena holds nothing half-written that is ever read.
      first = cause
    }
    try {
      return await threads.run(task)
    } catch (cause) {
      if (cause instanceof GatewayError) throw cause
      // Why no other thread came says less than why the first one failed.
      throw new GatewayError('LG_INTERNAL', 'a worker thread failed twice on the same task', { cause: first })
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#slots.close()
    await this.#measured
    await Promise.all([this.#threads?.close(), this.#ahead?.close()])
  }
}

/** Of arena, codebook (an offset of 32 bits) and stage (below 8). */
const rateKey = (job: ScanJob, plan: ScanPlan): number => (job.arena.id * 8 + plan.work.stage) * 2 ** 32 + job.codebook

/** On the calling thread. */
function timeScan(job: ScanJob, plan: ScanPlan): ScanDone {
  const started = performance.now()
  const hits = runScan(job.arena.memory, 0, plan.work)
  return { hits, ms: performance.now() - started }
}

function finish(hits: Hits, plan: ScanPlan, scanMs: number, waitMs: number): ScanReply {
  const { distances, blocks, rows } = hits
  const { k } = plan.work
  return {
    distances,
    blocks,
    rows,
    tiesLost: distances.length >= k && hits.lost <= distances[k - 1]!,
    rowsScanned: plan.rows,
    survivors: joinSurvivors(hits.survivors, hitsThreshold(hits, plan.work.before, plan.work)),
    unread: hits.unread,
    bytesScanned: hits.bytesRead,
    scanMs,
    waitMs,
  }
}

/** Resolves to the median time of an empty task, milliseconds; rejects when a thread dies meanwhile. */
async function measureRoundTrip(threads: Threads, workers: number): Promise<number> {
  // One task a thread waits until all of them have started.
  await Promise.all(Array.from({ length: workers }, () => threads.run({ kind: 'ping' })))
  const times: number[] = []
  for (let i = 0; i < pingCount; i++) {
    const started = performance.now()
    await threads.run({ kind: 'ping' })
    times.push(performance.now() - started)
    await setTimeout(pingPauseMs)
  }
  return Math.min(roundTripMsMax, times.sort((a, b) => a - b)[pingCount >> 1]!)
}
