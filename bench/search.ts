/** One query at a time, one thread: lakegate's recall contracts beside other engines over the same vectors. */
import type { Engine } from './engine.js'
import { openPeers } from './engines/open-peers.js'
import { openLakegate } from './lakegate.js'
import { measure } from './measure.js'
import { bruteForce } from './recall.js'
import { reportRows } from './report.js'
import type { DatasetSuite } from './suite.js'

export const searchSuite: DatasetSuite = async (dataset, options, say) => {
  const engines: Engine[] = []
  try {
    say('building lakegate')
    engines.push(...(await openLakegate(dataset, options)))
    const peers = await openPeers(dataset, options.peers, { ...options, say })
    engines.push(...peers.engines)
    say('ground truth by brute force')
    const truth = bruteForce(dataset, options.k)
    const onPass = (pass: number): void => say(pass === 0 ? 'recall counted' : `pass ${pass}`)
    const measured = await measure(dataset, truth, engines, { seconds: options.seconds, onPass })
    return { rows: reportRows(measured, dataset), not_run: peers.notRun }
  } finally {
    for (const engine of engines) await engine.close()
  }
}
