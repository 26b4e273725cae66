/** How a query would be answered, told from what is known already: nothing is read, checked or pulled. */
import { chooseSearch } from '../cache/hnsw/calibration.js'
import { type Tuning, tunedScan } from '../cache/tuning.js'
import type { CollectionStatistics, GraphStatistics, VectorCache } from '../cache/vector-cache.js'
import type { RecallContract } from '../core/contract.js'
import type { Metric } from '../core/metric.js'
import type { QueryPlan, ShardPlan } from './gateway.js'
import { versionKey } from './pins.js'
import type { Plan, Shard } from './planner.js'
import type { Query } from './query.js'

export function explainPlan(plan: Plan, query: Query, cache: VectorCache): QueryPlan {
  return {
    shards: plan.shards.map((shard) => explainShard(shard, query, cache)),
    contract: describeContract(query.recall),
    deadlineMs: query.deadlineMs,
  }
}

function explainShard(shard: Shard, query: Query, cache: VectorCache): ShardPlan {
  const { ref, adapter, info } = shard.collection
  const statistics = cache.collectionStatistics(ref)
  const { state, rows, dimension } = statistics
  const resident = state === 'ready' || state === 'refreshing'
  return {
    ref,
    route: 'cache',
    reason: routeReason(shard, query, adapter.supportsPushdown.bind(adapter)),
    state,
    consistency: versionKey(shard.wanted),
    rows,
    dimension,
    metric: info.metric,
    partsMissing: resident && shard.wanted.kind === 'current' ? 0 : partsMissing(shard, cache),
    stages: stages(shard, query, statistics),
  }
}

/** A generation that is held misses nothing; of any other only the source knows the parts. */
function partsMissing({ collection, wanted }: Shard, cache: VectorCache): number | null {
  if (wanted.kind !== 'generation') return null
  const held = cache.history(collection.ref).find(({ generation }) => generation === wanted.generation)
  return held?.held ? 0 : null
}

type SupportsPushdown = Shard['collection']['adapter']['supportsPushdown']

function routeReason({ collection }: Shard, query: Query, supportsPushdown: SupportsPushdown): string {
  if (query.target.kind === 'row') return 'the row is in the cache, and so are its neighbours'
  const verdict = supportsPushdown({
    collection: collection.ref.collection,
    vector: query.target.vector,
    metric: collection.info.metric,
    k: query.k,
    filter: query.filter,
  })
  return verdict.kind === 'unsupported'
    ? `the source cannot search: ${verdict.reason}`
    : 'the cache answers without the source'
}

function stages(
  { wanted, collection }: Shard,
  query: Query,
  { state, index, graph }: CollectionStatistics,
): readonly string[] {
  const resident = state === 'ready' || state === 'refreshing'
  return [
    wanted.kind === 'current' ? checkStage(wanted.consistency.kind) : `find the version ${versionKey(wanted)}`,
    ...(resident ? [] : ['pull the parts that are not cached and build their segments']),
    ...(query.filter === null ? [] : ['evaluate the filter to a bitmap of rows']),
    ...(graph === null ? [] : [graphStage(graph, query)]),
    `${graphAnswers(graph, query) ? 'else ' : ''}search${describeLayout(index)}: ${describeContract(query.recall)}${index.tuning === null ? '' : describeTuned(index.tuning, query, collection.info.metric)}`,
    `merge the ${query.k} nearest`,
  ]
}

function describeLayout(index: CollectionStatistics['index']): string {
  if (index.kind === 'clustered') return ` ${index.centroids} clusters`
  if (index.kind === 'training' || index.tried === null) return ''
  return ` all rows (clusters, tried on ${index.tried.rows}, would rule out too few)`
}

const graphAnswers = (graph: GraphStatistics | null, { recall, k }: Query): boolean =>
  recall.kind === 'target' && graph?.calibration != null && chooseSearch(graph.calibration, k, recall.recall) !== null

/** What the graph does; with a filter that passes a part of the rows, it looks at more of them. */
function graphStage({ state, rows, calibration }: GraphStatistics, { recall, k, filter }: Query): string {
  if (recall.kind !== 'target') return `leave the graph aside: it cannot prove what ${recall.kind} asks for`
  if (calibration === null) return `leave the graph aside: it is ${state === 'building' ? 'being built' : 'not there'}`
  const search = chooseSearch(calibration, k, recall.recall)
  if (search === null) return `leave the graph aside: it was not measured to reach recall ${recall.recall} for ${k}`
  const measured = `recall ${search.recall.toFixed(4)} of ${search.depth} measured with ${calibration.queries} held-out rows`
  const filtered = filter === null ? '' : ', and as many more as the filter leaves out, if it passes enough'
  return `search the graph of ${rows} rows with ${search.candidates} candidates${filtered}: ${measured}; rerank`
}

function checkStage(consistency: 'fresh' | 'ttl' | 'frozen'): string {
  switch (consistency) {
    case 'fresh':
      return 'ask the source for its generation'
    case 'ttl':
      return 'ask the source for its generation when the last check is too old'
    case 'frozen':
      return 'take the version held, without asking the source'
  }
}

function describeContract(contract: RecallContract): string {
  switch (contract.kind) {
    case 'exact':
      return 'exact'
    case 'certified':
      return `certified, miss probability at most ${contract.missProbability}`
    case 'target':
      return `target recall ${contract.recall}`
  }
}

const firstStages = { bits: '1-bit codes', cells: 'cells', prefix: 'prefixes', bytes: '8-bit codes' } as const

function describeGap(gap: number, metric: Metric): string {
  if (gap === Number.POSITIVE_INFINITY) return 'all clusters'
  const most = Number(gap.toPrecision(3))
  return metric === 'dot'
    ? `rows of clusters at most ${most} times the query's length behind the best`
    : `clusters at most ${most} farther, squared, than the nearest`
}

/** How held-out rows say that it is done with the least work. */
function describeTuned(tuning: Tuning, { recall: contract, k, filter }: Query, metric: Metric): string {
  const { choice, recall } = tunedScan(tuning, contract, k, filter === null)
  const proven = choice.first !== 'bits' && choice.gap === Number.POSITIVE_INFINITY
  const certainty = proven
    ? ', proven'
    : contract.kind === 'target'
      ? `, ${describeGap(choice.gap, metric)}, expected recall ${recall}`
      : ''
  return ` (${firstStages[choice.first]} first${certainty}; measured on ${tuning.queries} held-out rows)`
}
