/** faiss, in a Python process beside this one (bench/peers/faiss_peer.py has the protocol). */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Dataset } from '../dataset.js'
import type { EngineOptions } from '../engine.js'
import { peersDirectory } from './installed.js'
import { type Effort, nothingToClose, type OpenPeer, type Peer } from './peer.js'

const python = join(peersDirectory, '.venv/bin/python')

/** Kinds of index that the process builds, by the name they go by here. */
const kinds = {
  hnsw: { engine: 'faiss-hnsw', effort: (k: number): Effort => ({ name: 'efSearch', min: k, max: 4096 }) },
  ivf: { engine: 'faiss-ivf', effort: (): Effort => ({ name: 'nprobe', min: 1, max: 1024 }) },
  rabitq: { engine: 'faiss-rabitq', effort: (): Effort => ({ name: 'refine factor', min: 1, max: 1024 }) },
  'ivf-rabitq': { engine: 'faiss-ivf-rabitq', effort: (): Effort => ({ name: 'nprobe', min: 1, max: 1024 }) },
} as const

export const openFaiss =
  (kind: keyof typeof kinds): OpenPeer =>
  (dataset, options) =>
    open(kind, dataset, options)

async function open(kind: keyof typeof kinds, dataset: Dataset, { k }: EngineOptions): Promise<Peer> {
  if (!existsSync(python)) throw new Error('not installed (npm run faiss --prefix bench/peers)')
  const process = startProcess()
  try {
    const { version } = (await process.reply()) as { readonly version: string }
    const { metric, dimension: dim, count } = dataset
    const built = (await process.ask({ op: 'build', kind, metric, dim, count }, dataset.base)) as {
      readonly ms: number
      readonly bytes: number
      readonly settings: string
    }
    return {
      engine: kinds[kind].engine,
      kind,
      version,
      settings: built.settings,
      buildMs: built.ms,
      bytesPerVector: built.bytes / count,
      effort: kinds[kind].effort(k),
      at: (effort) => ({
        search: async (query) =>
          (await process.ask({ op: 'search', k, effort }, query)) as { readonly ids: number[]; readonly us: number },
        close: nothingToClose,
      }),
      close: process.close,
    }
  } catch (error) {
    await process.close()
    throw error
  }
}

interface PeerProcess {
  /** The next line that the process says. Rejects when it says an error, or ends. */
  reply(): Promise<unknown>
  ask(request: Readonly<Record<string, unknown>>, vectors: Float32Array): Promise<unknown>
  close(): Promise<void>
}

function startProcess(): PeerProcess {
  const child = spawn(python, [join(peersDirectory, 'faiss_peer.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  child.stdin.on('error', () => undefined) // its end is seen by reply()
  const reply = async (): Promise<unknown> => {
    const line = await lines.next()
    if (line.done === true) throw new Error('the faiss process ended')
    const message = JSON.parse(line.value) as { readonly error?: string }
    if (message.error !== undefined) throw new Error(message.error)
    return message
  }
  return {
    reply,
    ask(request, vectors) {
      child.stdin.write(`${JSON.stringify(request)}\n`)
      child.stdin.write(Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength))
      return reply()
    },
    async close() {
      child.stdin.end()
      await ended
    },
  }
}
