/** The thread that takes short scans from a ring, until the ring is closed or there have been none for a while. */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { collectGarbage } from '../cache/collect-garbage.js'
import { runScan } from '../cache/kernel.js'
import { type FoundScan, ScanRing } from './scan-ring.js'

export interface ServeScans {
  readonly memory: SharedArrayBuffer
  /** Takes RingMessages, and replies to each that says what to forget once it is forgotten. */
  readonly port: MessagePort
  /** Whose scratch area it uses. */
  readonly slot: number
}

/** What does not fit a ring: sent before the news are told. */
export type RingMessage =
  | { readonly kind: 'know'; readonly arenaId: number; readonly memory: WebAssembly.Memory }
  | { readonly kind: 'forget'; readonly arenaId: number }

/** Falling asleep and being woken costs both threads more than waiting for the next request of a turn to be read. */
const awakeMs = 0.1
/** A process whose only work left is this thread's should end: it is started again when it is wanted. */
const asleepMs = 5000

/** Blocks the thread: messages are looked for whenever there are news. */
export function serveScans({ memory, port, slot }: ServeScans): void {
  const ring = new ScanRing(memory)
  const arenas = new Map<number, WebAssembly.Memory>()
  const hear = (): void => {
    for (let found = receiveMessageOnPort(port); found !== undefined; found = receiveMessageOnPort(port)) {
      const message = found.message as RingMessage
      if (message.kind === 'know') {
        arenas.set(message.arenaId, message.memory)
      } else {
        arenas.delete(message.arenaId)
        collectGarbage()
        port.postMessage(null)
      }
    }
  }
  const memoryOf = (arenaId: number): WebAssembly.Memory => {
    if (!arenas.has(arenaId)) hear()
    return arenas.get(arenaId)!
  }
  const run = ({ entry, arenaId, work }: FoundScan): void => {
    const started = performance.now()
    try {
      ring.finish(entry, runScan(memoryOf(arenaId), slot, work), performance.now() - started)
    } catch {
      // Whoever asked scans again, and has the error.
      ring.finish(entry, null, 0)
    }
  }
  let seen: number
  do {
    seen = ring.news
    hear()
    for (let scan = ring.take(); scan !== null; scan = ring.take()) run(scan)
  } while (!ring.isClosed && ring.wait(seen, { awakeMs, asleepMs }))
  port.close()
}
