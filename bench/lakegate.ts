/** lakegate itself, in this process: the gateway without a server in front. */

import { ArenaPool } from '#lakegate/cache/arena.js'
import { createVectorCache } from '#lakegate/cache/create-vector-cache.js'
import type { IndexKind } from '#lakegate/cache/vector-cache.js'
import type { BenchOptions } from '#lakegate/cli/bench-options.js'
import { seededRandom, systemClock, systemTimer } from '#lakegate/core/clock.js'
import type { RecallContract } from '#lakegate/core/contract.js'
import { backendId } from '#lakegate/core/generation.js'
import type { Predicate } from '#lakegate/core/predicate.js'
import { createGateway, localDefault } from '#lakegate/federation/create-gateway.js'
import type { Gateway } from '#lakegate/federation/gateway.js'
import { openPool } from '#lakegate/federation/pool.js'
import type { Query } from '#lakegate/federation/query.js'
import { arrayAdapter } from './array-adapter.js'
import { openBruteForce } from './brute-force.js'
import { type Dataset, row } from './dataset.js'
import { type Engine, type EngineOptions, firstQueryMs, timed } from './engine.js'
import { refusal } from './refusal.js'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

export interface OpenGateway {
  readonly gateway: Gateway
  /** First search over everything, which pulls and encodes. */
  readonly buildMs: number
  /** The same and all that the background then did. */
  readonly settledMs: number
  /** What is taken from the system once the background is done. */
  readonly bytesPerVector: number
  /** Of that, what the collections hold: codes, originals, ids, metadata. */
  readonly heldBytesPerVector: number
  close(): Promise<void>
}

/**
 * A gateway over the dataset cut into `collectionCount` collections of (nearly) the same size, once the background has done
 * what it can for them.
 */
export async function openGateway(
  dataset: Dataset,
  options: {
    readonly workers: number
    readonly seed: number
    readonly collectionCount?: number
    /** Default: clusters where they pay. */
    readonly index?: IndexKind
  },
): Promise<OpenGateway> {
  const { dimension, count, metric } = dataset
  const collectionCount = options.collectionCount ?? 1
  const executor = openPool({ workers: options.workers })
  const pool = new ArenaPool({
    bytesMax: 5 * dataset.base.byteLength + 2 ** 28,
    scratchSlots: executor.scratchSlots,
    forget: (arenaId) => executor.forget(arenaId),
  })
  const cache = await createVectorCache({
    directory: null,
    pool,
    diskBytesMax: 0,
    executor,
    clock: systemClock,
    random: seededRandom(options.seed),
    log: silent,
  })
  const firstRow = (i: number): number => Math.floor((count * i) / collectionCount)
  const sources = Array.from({ length: collectionCount }, (_, i) => ({
    name: `bench${i}`,
    kind: 'array',
    uri: null,
    options: options.index === undefined ? {} : { index: options.index },
  }))
  const gateway = createGateway({
    cache,
    clock: systemClock,
    timer: systemTimer,
    log: silent,
    consistency: { kind: 'frozen' },
    local: sources[0]!,
    writable: localDefault,
    detectKind: async () => 'array',
    openAdapter: async ({ name }) => {
      const i = Number(name.slice('bench'.length))
      const vectors = dataset.base.subarray(firstRow(i) * dimension, firstRow(i + 1) * dimension)
      return arrayAdapter({ id: backendId(name), metric, dimension, vectors, firstId: firstRow(i) })
    },
  })
  const signal = AbortSignal.timeout(600_000)
  for (const source of sources.slice(1)) await gateway.addSource(source, { signal })
  const build = await timed(() => gateway.search(searchFor(row(dataset.queries, dimension, 0), 1), { signal }))
  const settled = await timed(() => cache.settled())
  const held = sources.map(({ name }) => cache.collectionStatistics({ backend: backendId(name), collection: 'rows' }))
  return {
    gateway,
    buildMs: build.ms,
    settledMs: build.ms + settled.ms,
    bytesPerVector: cache.statistics().memoryBytes / count,
    heldBytesPerVector: held.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0) / count,
    async close() {
      await gateway.close()
      await cache.close()
      await executor.close()
    },
  }
}

/** A parsed query, as the server would hand it on. */
export function searchFor(
  vector: Float32Array,
  k: number,
  more: { readonly recall?: RecallContract; readonly filter?: Predicate | null } = {},
): Query {
  return {
    target: { kind: 'vector', vector },
    k,
    collections: null,
    fusion: null,
    filter: more.filter ?? null,
    select: [],
    includeVectors: false,
    recall: more.recall ?? { kind: 'exact' },
    distanceMax: Number.POSITIVE_INFINITY,
    consistency: null,
    asOf: [],
    deadlineMs: 600_000,
    requireComplete: true,
    receipt: 'summary',
    costBytesMax: Infinity,
    canonical: () => ({}),
  }
}

/** Refuses modes that are none. */
export function checkModes(modes: readonly string[]): void {
  for (const mode of modes) if (mode !== bruteMode) contractOf(indexOf(mode).contract)
}

function contractOf(mode: string): { readonly recall: RecallContract; readonly claim: NonNullable<Engine['claim']> } {
  if (mode === 'exact') return { recall: { kind: 'exact' }, claim: { kind: 'proven', claimed: 0 } }
  const certified = /^certified(?:@(.+))?$/.exec(mode)
  if (certified !== null) {
    const missProbability = Number(certified[1] ?? 1e-6)
    if (!(missProbability > 0 && missProbability < 1))
      throw refusal(`modes: expected certified@P with P between 0 and 1, found ${JSON.stringify(mode)}`)
    return { recall: { kind: 'certified', missProbability }, claim: { kind: 'certified', claimed: missProbability } }
  }
  const recall = Number(mode)
  if (!(recall > 0 && recall < 1))
    throw refusal(`modes: expected exact, certified, brute or a target below 1, found ${JSON.stringify(mode)}`)
  return { recall: { kind: 'target', recall }, claim: { kind: 'target', claimed: recall } }
}

/** Without an index at all. */
const bruteMode = 'brute'

/** Modes begin with the index that is to answer them, unless it is the one that collections get by themselves. */
const prefixedIndexes = ['flat', 'hnsw'] as const satisfies readonly IndexKind[]

function indexOf(mode: string): { readonly index: IndexKind; readonly contract: string } {
  const index = prefixedIndexes.find((kind) => mode.startsWith(`${kind}-`))
  return index === undefined ? { index: 'auto', contract: mode } : { index, contract: mode.slice(index.length + 1) }
}

/** One engine a mode and seed, over one gateway a seed and index, which run everything on the calling thread. */
export async function openLakegate(
  dataset: Dataset,
  options: Pick<BenchOptions, 'k' | 'seed' | 'seedCount' | 'modes'>,
): Promise<Engine[]> {
  const indexed = options.modes.filter((mode) => mode !== bruteMode)
  const engines: Engine[] = []
  if (indexed.length < options.modes.length) engines.push(await openBruteForce(dataset, options))
  for (let seed = options.seed; seed < options.seed + options.seedCount; seed++)
    for (const index of ['auto', ...prefixedIndexes] as const) {
      const modes = indexed.filter((mode) => indexOf(mode).index === index)
      if (modes.length > 0) engines.push(...(await openModes(dataset, { k: options.k, seed }, modes, index)))
    }
  return engines
}

async function openModes(
  dataset: Dataset,
  { k, seed }: EngineOptions,
  modes: readonly string[],
  index: IndexKind,
): Promise<readonly Engine[]> {
  const contracts = modes.map((mode) => ({ mode, ...contractOf(indexOf(mode).contract) }))
  const opened = await openGateway(dataset, { workers: 0, seed, index })
  const { signal } = new AbortController()
  const engines = contracts.map(async ({ mode, recall, claim }, i): Promise<Engine> => {
    const search = async (query: Float32Array): Promise<number[]> => {
      const answer = await opened.gateway.search(searchFor(query, k, { recall }), { signal })
      return answer.results.map((result) => Number(result.id))
    }
    return {
      name: 'lakegate',
      mode,
      settings: `index settled after ${Math.round(opened.settledMs)} ms; of the bytes a vector ${Math.round(opened.heldBytesPerVector)} are held by segments`,
      threads: 1,
      claim,
      // A graph answers once the background has built it; what answers until then is measured by other modes.
      buildMs: index === 'hnsw' ? opened.settledMs : opened.buildMs,
      firstQueryMs: await firstQueryMs(search, dataset),
      bytesPerVector: opened.bytesPerVector,
      search,
      close: () => (i === 0 ? opened.close() : undefined),
    }
  })
  return Promise.all(engines)
}
