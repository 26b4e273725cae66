/**
 * From vectors in memory to answers: the first proven answer, and the last improvement of the index behind the answers;
 * beside the builds of other engines. And the bytes a vector takes then.
 */
import { type Dataset, row } from './dataset.js'
import { reasonOf } from './engines/open-peers.js'
import { peerNamed } from './engines/peers.js'
import { openGateway, searchFor } from './lakegate.js'
import { bruteForce, countHits, type GroundTruth } from './recall.js'
import { type Report, type ReportRow, round, timingRow } from './report.js'
import type { DatasetSuite } from './suite.js'

const roundsMin = 3

interface Built {
  readonly readyMs: number
  readonly clusteredMs: number
  readonly bytesPerVector: number
  readonly heldBytesPerVector: number
  /** Of one query's answer, when it was ready. */
  readonly recall: number
}

export const buildSuite: DatasetSuite = async (dataset, options, say) => {
  const { k, seed } = options
  const opens = options.peers.map((name) => ({ name, open: peerNamed(name) }))
  const truth = bruteForce({ ...dataset, queryCount: 1 }, k)
  const built: Built[] = []
  const others: ReportRow[] = []
  const notRun: { engine: string; reason: string }[] = []
  for (let i = 0; i < Math.max(roundsMin, options.seedCount, opens.length); i++) {
    say(`building lakegate, seed ${seed + i}`)
    built.push(await buildOnce(dataset, truth, { k, seed: seed + i }))
    const other = opens[i]
    if (other === undefined) continue
    say(`building ${other.name}`)
    try {
      const peer = await other.open(dataset, { k, seed })
      await peer.close()
      others.push(
        timingRow('built', [peer.buildMs * 1000], {
          engine: peer.engine,
          settings: `${peer.version} ${peer.kind}: ${peer.settings}`,
          build_ms: round(peer.buildMs, 1),
          bytes_per_vector: peer.bytesPerVector === null ? null : round(peer.bytesPerVector, 1),
        }),
      )
    } catch (error) {
      notRun.push({ engine: other.name, reason: reasonOf(error) })
    }
  }
  return { rows: [...lakegateRows(built), ...others], not_run: notRun } satisfies Pick<Report, 'rows' | 'not_run'>
}

function lakegateRows(built: readonly Built[]): ReportRow[] {
  const [{ bytesPerVector, heldBytesPerVector }] = built as [Built]
  const recall = Math.min(...built.map((one) => one.recall))
  const timed = (mode: string, read: (one: Built) => number): ReportRow => {
    const row = timingRow(
      mode,
      built.map((one) => read(one) * 1000),
    )
    return { ...row, build_ms: round(row.p50_us / 1000, 1), recall_at_k: recall }
  }
  return [
    timed('ready to answer', ({ readyMs }) => readyMs),
    {
      ...timed('index settled', ({ clusteredMs }) => clusteredMs),
      bytes_per_vector: round(bytesPerVector, 1),
      settings: `of the bytes a vector ${round(heldBytesPerVector, 1)} are held by segments`,
    },
  ]
}

async function buildOnce(
  dataset: Dataset,
  truth: GroundTruth,
  { k, seed }: { readonly k: number; readonly seed: number },
): Promise<Built> {
  const opened = await openGateway(dataset, { workers: 0, seed })
  try {
    const query = searchFor(row(dataset.queries, dataset.dimension, 0), k)
    const { results } = await opened.gateway.search(query, { signal: new AbortController().signal })
    const ids = results.map(({ id }) => Number(id))
    return {
      readyMs: opened.buildMs,
      clusteredMs: opened.settledMs,
      bytesPerVector: opened.bytesPerVector,
      heldBytesPerVector: opened.heldBytesPerVector,
      recall: countHits(dataset, truth, 0, ids) / Math.min(k, dataset.count),
    }
  } finally {
    await opened.close()
  }
}
