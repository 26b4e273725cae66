/** Builds the peers that were asked for and tunes each to the recalls it was named with. */
import type { Dataset } from '../dataset.js'
import { type Engine, type EngineOptions, firstQueryMs } from '../engine.js'
import { refusal } from '../refusal.js'
import type { Report } from '../report.js'
import type { OpenPeer, Peer } from './peer.js'
import { peerNamed } from './peers.js'
import { type Swept, sweep, type TuningSet, tuningSet } from './sweep.js'

const recallDefault = 0.99

export interface OpenedPeers {
  readonly engines: readonly Engine[]
  readonly notRun: Report['not_run']
}

/** What engines that must reach a recall are called in reports. */
export const recallMode = (recall: number): string => `recall >= ${recall}`

/**
 * One engine for every `name` (exact ones) or `name@recall`, an index being built once. A peer that cannot run is named
 * with its reason. Refuses names that are not known.
 */
export async function openPeers(
  dataset: Dataset,
  asked: readonly string[],
  options: EngineOptions & { readonly say: (line: string) => void },
): Promise<OpenedPeers> {
  const wanted = parsePeers(asked)
  const engines: Engine[] = []
  const notRun: { engine: string; reason: string }[] = []
  if (wanted.size === 0) return { engines, notRun }
  const tuning = tuningSet(dataset, options.k)
  for (const [name, { open, recalls }] of wanted) {
    options.say(`building ${name}`)
    try {
      const peer = await open(dataset, options)
      engines.push(...(await tunedEngines(peer, dataset, tuning, recalls)))
    } catch (error) {
      notRun.push({ engine: name, reason: reasonOf(error) })
    }
  }
  return { engines, notRun }
}

/** One engine a recall; the first closes the peer, and so does a failure. */
async function tunedEngines(
  peer: Peer,
  dataset: Dataset,
  tuning: TuningSet,
  recalls: readonly number[],
): Promise<readonly Engine[]> {
  try {
    const first = await peer.at(peer.effort?.min ?? 0)
    const firstMs = await firstQueryMs(first.search, dataset)
    first.close()
    const engines: Engine[] = []
    for (const recall of peer.effort === null ? recalls.slice(0, 1) : recalls) {
      const swept = await sweep(peer, tuning, recall)
      const closesPeer = engines.length === 0
      const close = (): void | Promise<void> => {
        swept.searcher.close()
        return closesPeer ? peer.close() : undefined
      }
      engines.push({ ...engineOf(peer, swept, recall), firstQueryMs: firstMs, close })
    }
    return engines
  } catch (error) {
    await peer.close()
    throw error
  }
}

/** Refuses names that are not known and recalls that are none. */
export function parsePeers(
  asked: readonly string[],
): Map<string, { readonly open: OpenPeer; readonly recalls: number[] }> {
  const recalls = new Map<string, { readonly open: OpenPeer; readonly recalls: number[] }>()
  for (const text of asked) {
    const [name, value] = text.split('@') as [string, string | undefined]
    const recall = value === undefined ? recallDefault : Number(value)
    if (!(recall > 0 && recall <= 1))
      throw refusal(`peers: expected name@recall with a recall above 0 and up to 1, found ${JSON.stringify(text)}`)
    const known = recalls.get(name) ?? { open: peerNamed(name), recalls: [] }
    known.recalls.push(recall)
    recalls.set(name, known)
  }
  return recalls
}

function engineOf(peer: Peer, swept: Swept, recall: number): Omit<Engine, 'close' | 'firstQueryMs'> {
  const tuned =
    swept.effort === null ? '' : `, ${peer.effort!.name} ${swept.effort} (recall ${swept.recall.toFixed(4)} when tuned)`
  return {
    name: peer.engine,
    mode: peer.effort === null ? peer.kind : recallMode(recall),
    settings: `${peer.version} ${peer.kind}: ${peer.settings}${tuned}`,
    threads: 1,
    claim: null,
    buildMs: peer.buildMs,
    bytesPerVector: peer.bytesPerVector,
    search: swept.searcher.search,
  }
}

export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND'
    ? 'not installed (npm install --prefix bench/peers)'
    : (message.split('\n')[0] ?? message)
}
