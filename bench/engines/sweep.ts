/** The least effort at which an engine reaches a recall, found on queries that are not the measured ones. */
import { type Dataset, row } from '../dataset.js'
import { askOnce } from '../engine.js'
import { bruteForce, countHits, type GroundTruth } from '../recall.js'
import type { Peer, Searcher } from './peer.js'

/** Bisection stops when a step would change the effort by less. */
const precision = 0.05

export interface Swept {
  readonly searcher: Searcher
  readonly effort: number | null
  /** On the tuning queries. */
  readonly recall: number
}

/** Queries of the dataset that are for tuning, as a dataset of its own. */
export interface TuningSet {
  readonly dataset: Dataset
  readonly truth: GroundTruth
}

export function tuningSet(whole: Dataset, k: number): TuningSet {
  const dataset = { ...whole, queries: whole.tuning, queryCount: whole.tuning.length / whole.dimension }
  return { dataset, truth: bruteForce(dataset, k) }
}

/** The smallest effort whose recall is at least `recall`; the largest there is when none is. The caller closes the searcher. */
export async function sweep(peer: Peer, tuning: TuningSet, recall: number): Promise<Swept> {
  const { effort } = peer
  if (effort === null) {
    const searcher = await peer.at(0)
    return { searcher, effort: null, recall: await recallOf(searcher, tuning) }
  }
  const trials = new Map<number, number>()
  const reaches = async (value: number): Promise<boolean> => {
    const searcher = await peer.at(value)
    const found = await recallOf(searcher, tuning)
    searcher.close()
    trials.set(value, found)
    return found >= recall
  }
  let below = effort.min - 1
  let enough = effort.min
  while (!(await reaches(enough))) {
    below = enough
    if (enough === effort.max) break
    enough = Math.min(effort.max, enough * 2)
  }
  while (enough - below > Math.max(1, enough * precision)) {
    const middle = Math.floor((below + enough) / 2)
    if (await reaches(middle)) enough = middle
    else below = middle
  }
  return { searcher: await peer.at(enough), effort: enough, recall: trials.get(enough)! }
}

async function recallOf(searcher: Searcher, { dataset, truth }: TuningSet): Promise<number> {
  let hits = 0
  for (let q = 0; q < dataset.queryCount; q++) {
    const { ids } = await askOnce(searcher.search, row(dataset.queries, dataset.dimension, q))
    hits += countHits(dataset, truth, q, ids)
  }
  return hits / (dataset.queryCount * truth.k)
}
