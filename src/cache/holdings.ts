import type { Clock, Random } from '../core/clock.js'
import type { GatewayError } from '../core/errors.js'
import type { CollectionRef } from '../core/generation.js'
import type { MemoryBudget } from './budget.js'
import type { CollectionCounts } from './collection-counts.js'
import type { CollectionFiles } from './collection-files.js'
import type { KernelExecutor } from './executor.js'
import { HeldVersions } from './held-versions.js'
import { GraphKeeper } from './hnsw/graph-keeper.js'
import { IndexUpkeep } from './index-upkeep.js'
import type { JobQueue } from './job-queue.js'
import { Parts } from './parts.js'
import { toRecord } from './recall.js'
import type { SourceWatch } from './source-watch.js'
import type { CachedCollection, CacheEvent } from './vector-cache.js'

/** What a collection has of its cache. */
export interface CollectionOptions {
  readonly ref: CollectionRef
  readonly files: CollectionFiles
  readonly budget: MemoryBudget
  readonly executor: KernelExecutor
  readonly clock: Clock
  readonly random: Random
  /** Collections of fewer rows get no clusters. */
  readonly clusteredRowsMin: number
  readonly emit: (event: CacheEvent) => void
  /** Runs a write to disk after those before it. */
  readonly inBackground: (task: () => Promise<void>) => void
  /** Aborts when the cache closes. */
  readonly lifetime: AbortSignal
}

interface HoldingsOptions extends CollectionOptions {
  /** As it was configured when the holdings began: another configuration needs others. */
  readonly source: CachedCollection
  readonly watch: SourceWatch
  readonly jobs: JobQueue<unknown>
  readonly counts: CollectionCounts
}

/**
 * What one collection was read into under one configuration: parts, the versions made of them, and what makes their search
 * fast. It begins, and is let go of, as a whole.
 */
export class Holdings {
  readonly parts: Parts
  readonly versions: HeldVersions
  readonly upkeep: IndexUpkeep
  /** Null where no graph was asked for. */
  readonly graph: GraphKeeper | null
  readonly #options: HoldingsOptions

  constructor(options: HoldingsOptions) {
    const { source, ref, files, budget, executor, clock, random, lifetime, jobs, counts, emit, clusteredRowsMin } =
      options
    const { metric } = source.info
    const onEvicted = (): void => emit({ kind: 'evicted', ref })
    const onFailed = (error: GatewayError): void => emit({ kind: 'index-failed', ref, error })
    const parts = new Parts({ metric, files, budget, executor, random, counts, onEvicted })
    const versions = new HeldVersions(parts)
    const upkeep = new IndexUpkeep({
      parts,
      versions,
      budget,
      executor,
      clock,
      lifetime,
      clusteredRowsMin: source.index === 'flat' ? Number.POSITIVE_INFINITY : clusteredRowsMin,
      queue: (run) => jobs.add(() => parts.use(run)),
      changed: () => this.store(),
      onTrained: (centroids, rows) => emit({ kind: 'trained', ref, centroids, rows }),
      onFailed,
    })
    this.#options = options
    this.parts = parts
    this.versions = versions
    this.upkeep = upkeep
    this.graph =
      source.index !== 'hnsw'
        ? null
        : new GraphKeeper({
            metric,
            budget,
            clock,
            lifetime,
            rowsMin: clusteredRowsMin,
            file: files.graph,
            current: () => versions.current,
            searchTarget: ({ segments, columns }) => ({ segments, columns, executor, budget, choice: null }),
            idle: () => upkeep.done(),
            onBuilt: (rows) => emit({ kind: 'graph-built', ref, rows }),
            onFailed,
          })
  }

  /** Lets the background look for work, now that the current version changed or was used. */
  improve(): void {
    this.upkeep.consider()
    this.graph?.consider()
  }

  /** Has the background write to disk what changed. */
  store(): void {
    this.#options.inBackground(() => this.#write())
  }

  /** Leaves memory; what is on disk stays. Resolves when the work on the index has ended, too. */
  async retire(reason: GatewayError): Promise<void> {
    this.versions.clear()
    this.parts.retire(reason)
    await Promise.all([this.upkeep.done(), this.graph?.close()])
  }

  /** Writes to disk what is not there yet, then the record that names it, and removes what no version has. */
  async #write(): Promise<void> {
    const { parts } = this
    const { files, lifetime, watch } = this.#options
    const versions = this.versions.list
    const isOutdated = (): boolean => versions !== this.versions.list // a later write knows better what is wanted
    if (versions.length === 0) return // it has left memory: what is on disk is for the next process
    const segments = new Set(versions.flatMap((version) => version.segments.map(({ segment }) => segment)))
    await parts.codebooks.save(lifetime)
    for (const segment of segments) {
      if (isOutdated() || lifetime.aborted) return
      await parts.store(segment, lifetime)
    }
    if (isOutdated()) return
    const { metric } = parts
    const { sightings } = watch
    await files.saveRecord(toRecord({ metric, versions, codebooks: parts.codebooks.records(), sightings }), lifetime)
    if (lifetime.aborted || isOutdated()) return // the record on disk may name what is retired here
    parts.codebooks.retain(
      new Set(versions.flatMap(({ segments }) => segments.map(({ codebook }) => codebook.version))),
    )
    await files.retain({
      segments: new Set([...segments].map((segment) => segment.key)),
      codebooks: new Set([...parts.codebooks.all()].map((codebook) => codebook.version)),
    })
  }
}
