import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../../core/clock.js'
import { GatewayError, toGatewayError } from '../../core/errors.js'
import type { Metric } from '../../core/metric.js'
import type { Reservation } from '../arena.js'
import type { MemoryBudget } from '../budget.js'
import type { SearchTarget } from '../search.js'
import { waitFor } from '../single-flight.js'
import type { GraphFile } from '../stored-graph.js'
import type { GraphStatistics, ShardAnswer, ShardQuery } from '../vector-cache.js'
import { isResident, type Version } from '../versions.js'
import { Graph, type GraphDescription, graphBytes } from './graph.js'
import { extendGraph } from './graph-build.js'
import { GraphRows, type GraphRun, liveRuns } from './graph-rows.js'
import { type GraphTarget, searchGraph } from './graph-search.js'
import { GraphThread } from './graph-thread.js'

/** A failed attempt is followed by the next after this long, then twice as long, and so on. */
const retryMsMin = 10_000
const retryMsMax = 3_600_000
/** A graph of which a larger share is rows that the version does not have (any more) is built anew. */
const deadShareMax = 0.3

interface KeeperOptions {
  readonly metric: Metric
  readonly budget: MemoryBudget
  readonly clock: Clock
  readonly lifetime: AbortSignal
  /** Collections of fewer rows get no graph. */
  readonly rowsMin: number
  /** Null: it is not kept on disk. */
  readonly file: GraphFile | null
  current(): Version | null
  searchTarget(version: Version): SearchTarget
  /** Resolves when nothing better is to be done for the collection first. */
  idle(): Promise<void>
  onBuilt(rows: number): void
  onFailed(error: GatewayError): void
}

type Step =
  | { readonly kind: 'load'; readonly dimension: number }
  | { readonly kind: 'extend'; readonly dimension: number; readonly runs: readonly GraphRun[] }
  | { readonly kind: 'drop' }

/**
 * Keeps one collection's graph: builds it in the background while scans answer, adds the rows of new parts, gives up its
 * memory to whoever needs it, and brings it back. One step at a time.
 */
export class GraphKeeper {
  readonly #options: KeeperOptions
  readonly #closing = new AbortController()
  readonly #signal: AbortSignal
  #running: Promise<void> | null = null
  /** Nothing is left to do for this version's rows. */
  #finished: Version['segments'] | null = null
  #failure: { readonly error: GatewayError; readonly atMs: number; count: number; readonly retryAtMs: number } | null =
    null
  #graph: Graph | null = null
  /** Threads that are ending. */
  #ending: Promise<unknown> = Promise.resolve()
  /** Whether what is on disk was looked at since the graph was last in memory. */
  #looked = false
  #building: { readonly rows: number; readonly rowsTotal: number } | null = null
  #saving = false
  readonly #counts = { answered: 0, left: 0 }

  constructor(options: KeeperOptions) {
    this.#options = options
    this.#signal = AbortSignal.any([options.lifetime, this.#closing.signal])
  }

  /** To be called when the current version changed or was used: cheap when there is nothing to do. */
  consider(): void {
    const { current, clock } = this.#options
    const version = current()
    if (version === null || version.segments === this.#finished || this.#running !== null || this.#signal.aborted)
      return
    if (this.#failure !== null && clock.monotonicMs() < this.#failure.retryAtMs) return
    this.#running = this.#run().finally(() => {
      this.#running = null
    })
  }

  /** Null: the scan is to answer. `target` is pinned. */
  async search(
    target: GraphTarget,
    query: ShardQuery,
    options: { readonly signal: AbortSignal },
  ): Promise<ShardAnswer | null> {
    if (query.contract.kind !== 'target') return null
    const graph = this.#graph
    const answer = graph === null || this.#saving ? null : await this.#searchPinned(graph, target, query, options)
    if (answer === null) this.#counts.left++
    else this.#counts.answered++
    return answer
  }

  async #searchPinned(
    graph: Graph,
    target: GraphTarget,
    query: ShardQuery,
    options: { readonly signal: AbortSignal },
  ): Promise<ShardAnswer | null> {
    this.#options.budget.touch(graph)
    graph.pins++
    try {
      return await searchGraph(graph, target, query, options)
    } catch (error) {
      if (graph === this.#graph) throw error
      return null // its thread ended meanwhile
    } finally {
      graph.pins--
    }
  }

  /** Resolves when no step is under way. */
  async done(): Promise<void> {
    while (this.#running !== null) await this.#running
    await this.#ending
  }

  /** Ends the step under way and leaves memory. */
  async close(): Promise<void> {
    this.#closing.abort()
    while (this.#running !== null) await this.#running
    this.#drop()
    await this.#ending
  }

  statistics(): GraphStatistics {
    const graph = this.#graph
    const lastError =
      this.#failure === null
        ? null
        : { code: this.#failure.error.code, message: this.#failure.error.message, atMs: this.#failure.atMs }
    return {
      state: this.#building !== null || this.#saving ? 'building' : graph !== null ? 'ready' : 'none',
      rows: graph?.rows.rows ?? 0,
      building: this.#building,
      bytes: graph?.bytes ?? 0,
      builtAtMs: graph?.builtAtMs ?? null,
      buildMs: graph?.buildMs ?? null,
      calibration: graph?.calibration ?? null,
      ...this.#counts,
      lastError,
    }
  }

  async #run(): Promise<void> {
    const { current, idle, onFailed } = this.#options
    try {
      for (;;) {
        await idle()
        await setImmediate() // queries go first
        this.#signal.throwIfAborted()
        const version = current()
        if (version === null || !isResident(version)) return
        const step = this.#next(version)
        if (step === null) {
          this.#finished = version.segments
          this.#failure = null
          return
        }
        await this.#take(step)
      }
    } catch (cause) {
      if (this.#signal.aborted) return
      this.#fail(toGatewayError(cause))
      onFailed(this.#failure!.error)
    }
  }

  #fail(error: GatewayError): void {
    const { clock } = this.#options
    const count = (this.#failure?.count ?? 0) + 1
    const retryAtMs = clock.monotonicMs() + Math.min(retryMsMax, retryMsMin * 2 ** (count - 1))
    this.#failure = { error, atMs: clock.now(), count, retryAtMs }
    this.#finished = null
  }

  #next(version: Version): Step | null {
    const { rowsMin } = this.#options
    const graph = this.#graph
    const { dimension } = version
    const live = liveRuns(version)
    const rows = live.reduce((sum, { run }) => sum + run.rows, 0)
    const wanted = dimension !== null && rows >= rowsMin
    if (graph === null) {
      if (!wanted) return null
      if (!this.#looked) return { kind: 'load', dimension }
      return { kind: 'extend', dimension, runs: live.map(({ run }) => run) }
    }
    const { held, missing } = graph.rows.coverage(version)
    const dead = 1 - held / graph.rows.rows
    if (!wanted || graph.dimension !== dimension || dead > deadShareMax) return { kind: 'drop' }
    return missing.length === 0 ? null : { kind: 'extend', dimension, runs: missing.map(({ run }) => run) }
  }

  #take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'load':
        return this.#load(step.dimension)
      case 'extend':
        return this.#options.budget.spare((giveWay) => this.#extend(step, AbortSignal.any([giveWay, this.#signal])))
      case 'drop':
        this.#drop()
        this.#looked = true // what is on disk is no better
        return Promise.resolve()
    }
  }

  async #load(dimension: number): Promise<void> {
    const { file, budget, metric } = this.#options
    this.#looked = true
    if (file === null || file.bytes === null) return
    let reservation = budget.reserveFree(graphBytes(rowsOfFile(file.bytes, dimension), dimension))
    const thread = this.#start(dimension)
    try {
      const task = { kind: 'load', path: file.path } as const
      const { description } = await waitFor(thread.run(task), this.#signal)
      // Past its checksum it is what was saved.
      const of = JSON.parse(description) as GraphDescription
      if (of.metric !== metric || of.dimension !== dimension)
        throw new GatewayError('LG_CORRUPT', `graph file is of ${of.dimension} dimensions and ${of.metric}`)
      const rows = new GraphRows(of.runs)
      reservation.release()
      reservation = budget.reserveFree(graphBytes(rows.rows, dimension)) // fewer
      this.#enter(new Graph({ ...of, thread, rows, leave: () => this.#evict() }), reservation)
    } catch (error) {
      reservation.release()
      await thread.close()
      if (!(error instanceof GatewayError) || this.#signal.aborted) throw error
      await file.discard(error)
    }
  }

  async #extend({ dimension, runs }: Extract<Step, { kind: 'extend' }>, signal: AbortSignal): Promise<void> {
    const { budget, metric, clock, current, searchTarget, onBuilt } = this.#options
    const old = this.#graph
    const added = runs.reduce((sum, run) => sum + run.rows, 0)
    const bytes = graphBytes((old?.rows.rows ?? 0) + added, dimension) - (old?.bytes ?? 0)
    const reservation = budget.reserveFree(Math.max(0, bytes))
    const thread = old?.thread ?? this.#start(dimension)
    const rows = old?.rows ?? new GraphRows([])
    const started = clock.monotonicMs()
    this.#building = { rows: 0, rowsTotal: added }
    if (old !== null) old.pins++
    let graph = old
    try {
      const onAdded = (count: number): void => {
        this.#building = { rows: this.#building!.rows + count, rowsTotal: added }
      }
      const build = { thread, rows, metric, dimension, current, searchTarget, onAdded }
      const measured = old?.calibration ?? null
      const calibration = await extendGraph({ ...build, calibration: measured, serving: old !== null }, runs, signal)
      const built = { builtAtMs: clock.now(), buildMs: (old?.buildMs ?? 0) + clock.monotonicMs() - started }
      graph ??= new Graph({ thread, dimension, rows, calibration, ...built, leave: () => this.#evict() })
      Object.assign(graph, { calibration, ...built })
    } finally {
      this.#building = null
      if (old !== null) old.pins--
      if (graph === null || (old !== null && old !== this.#graph)) {
        reservation.release()
        await thread.close()
      } else this.#enter(graph, reservation)
    }
    onBuilt(graph.rows.rows)
    await this.#save(graph)
  }

  #start(dimension: number): GraphThread {
    const { metric } = this.#options
    return new GraphThread({ metric, dimension }, (error) => this.#lost(error))
  }

  /** Takes a graph, or what it takes more. */
  #enter(graph: Graph, reservation: Reservation): void {
    graph.reservations.push(reservation)
    this.#graph = graph
    this.#options.budget.touch(graph)
  }

  /** Writes the graph to disk; meanwhile its thread has no time for searches. */
  async #save(graph: Graph): Promise<void> {
    const { file, metric } = this.#options
    if (file === null) return
    const { dimension, rows, calibration, builtAtMs, buildMs } = graph
    const description: GraphDescription = { metric, dimension, runs: rows.runs, calibration, builtAtMs, buildMs }
    this.#saving = true
    try {
      await file.replace(async (path) => {
        const task = { kind: 'save', path, description: JSON.stringify(description) } as const
        return (await waitFor(graph.thread.run(task), this.#signal)).bytes
      }, this.#signal)
    } finally {
      this.#saving = false
    }
  }

  #drop(): void {
    const graph = this.#graph
    if (graph === null) return
    this.#graph = null
    this.#looked = false
    this.#finished = null
    this.#options.budget.forget(graph)
    for (const reservation of graph.reservations) reservation.release()
    this.#ending = Promise.all([this.#ending, graph.thread.close()])
  }

  /** Others need its memory; it is brought back when there is room again. */
  #evict(): void {
    this.#drop()
    this.#fail(
      new GatewayError('LG_OVER_BUDGET', 'cache.memory: builds needed the memory of the graph', {
        field: 'cache.memory',
      }),
    )
  }

  #lost(error: GatewayError): void {
    this.#drop()
    if (this.#running !== null) return // the step under way fails with it
    this.#fail(error)
    this.#options.onFailed(error)
  }
}

/** No fewer than a graph file of so many bytes has: its vectors and lowest edges alone take this much. */
const rowsOfFile = (bytes: number, dimension: number): number => Math.ceil(bytes / (4 * dimension + 144))
