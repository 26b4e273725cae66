/** One query at a time, one thread: lakegate's recall contracts beside other engines over the same vectors. */
import { fileURLToPath } from 'node:url'
import type { Engine } from './engine.js'
import { openLakegate } from './lakegate.js'
import { measure } from './measure.js'
import { peerEngines } from './peers.js'
import { bruteForce } from './recall.js'
import { refusal } from './refusal.js'
import { reportRow } from './report.js'
import type { Suite } from './suite.js'

const peersDirectory = fileURLToPath(new URL('../../bench/peers/', import.meta.url))

export const searchSuite: Suite = async (dataset, options, say) => {
  const available = peerEngines(peersDirectory)
  const engines: Engine[] = []
  const notRun: { engine: string; reason: string }[] = []
  try {
    say('building lakegate')
    engines.push(...(await openLakegate(dataset, options)))
    for (const name of options.peers) {
      const open = available[name]
      if (open === undefined) throw refusal(`peers: expected ${Object.keys(available).join(', ')}, found ${name}`)
      say(`building ${name}`)
      try {
        engines.push(...(await open(dataset, options)))
      } catch (error) {
        notRun.push({ engine: name, reason: reasonOf(error) })
      }
    }
    say('ground truth by brute force')
    const truth = bruteForce(dataset, options.k)
    const onPass = (pass: number): void => say(pass === 0 ? 'recall counted' : `pass ${pass}`)
    const measured = await measure(dataset, truth, engines, { seconds: options.seconds, onPass })
    return { rows: measured.map((measurement) => reportRow(measurement, dataset)), not_run: notRun }
  } finally {
    for (const engine of engines) await engine.close()
  }
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND'
    ? 'not installed (npm install --prefix bench/peers)'
    : (message.split('\n')[0] ?? message)
}
