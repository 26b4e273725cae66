/** `lakegate serve` as users start it: a process of its own over a Parquet file and a cache directory. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { request } from 'undici'
import type { Metric } from '#lakegate/core/metric.js'

const main = fileURLToPath(new URL('../cli/main.js', import.meta.url))

/** How long the background may take to settle, and how often it is asked whether it has. */
const settleMsMax = 600_000
const settlePollMs = 250
/** It has settled when nothing changed for so long, and files hold about what memory holds. */
const stillMs = 1500
const writtenShare = 0.9

interface CollectionState {
  /** `trained_at` of a flat one: clusters were tried. */
  readonly index: { readonly kind: string; readonly trained_at?: string; readonly segments: { readonly flat: number } }
  readonly bytes: number
  readonly disk_bytes: number
}

export interface ServeOptions {
  readonly path: string
  readonly cacheDirectory: string
  readonly metric: Metric
  readonly memoryBytes: number
}

/** As requests name it. */
type Recall = 'exact' | number

export interface Served {
  readonly url: string
  readonly pid: number
  /** From the start of the process, by performance.now(). */
  readonly startedMs: number
  /** Row numbers of the nearest. */
  ask(vector: Float32Array, k: number, recall?: Recall): Promise<number[]>
  /** Resolves when all rows are in clusters and on disk, as far as can be seen from outside. */
  settled(): Promise<void>
  stop(): Promise<void>
}

export async function serve({ path, cacheDirectory, metric, memoryBytes }: ServeOptions): Promise<Served> {
  const args = [main, 'serve', path, '--port', '0', '--cache-dir', cacheDirectory, '--metric', metric]
  const memory = `${Math.ceil(memoryBytes / 2 ** 20)}MiB`
  const startedMs = performance.now()
  const child = spawn(process.execPath, [...args, '--memory', memory, '--log-level', 'error'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  const first = once(createInterface({ input: child.stdout }), 'line')
  const line = await Promise.race([first, exited.then(() => null)])
  if (line === null) throw new Error('the server ended before it was ready')
  const url = String(line[0]).replace('lakegate listening on ', '')
  return {
    url,
    pid: child.pid!,
    startedMs,
    async ask(vector, k, recall = 'exact') {
      const body = JSON.stringify({ vector: Array.from(vector), k, recall, deadline_ms: 600_000 })
      const headers = { 'content-type': 'application/json' }
      const reply = await request(`${url}/v1/query`, { method: 'POST', headers, body })
      const text = await reply.body.text()
      if (reply.statusCode !== 200) throw new Error(`answer: ${reply.statusCode} ${text}`)
      const { results } = JSON.parse(text) as { readonly results: readonly { readonly id: number }[] }
      return results.map(({ id }) => id)
    },
    async settled() {
      const { collections } = (await (await request(`${url}/v1/collections`)).body.json()) as {
        readonly collections: readonly { readonly backend: string; readonly collection: string }[]
      }
      const { backend, collection } = collections.find((one) => one.backend !== 'local')!
      let seen = ''
      let sinceMs = performance.now()
      for (const deadlineMs = sinceMs + settleMsMax; performance.now() < deadlineMs; await setTimeout(settlePollMs)) {
        const reply = await request(`${url}/v1/collections/${backend}/${collection}`)
        const { index, bytes, disk_bytes } = (await reply.body.json()) as CollectionState
        const state = JSON.stringify({ index, bytes, disk_bytes })
        if (state !== seen) sinceMs = performance.now()
        seen = state
        const isFlat = index.kind === 'flat' && index.trained_at !== undefined
        const indexed = index.kind !== 'training' && (isFlat || index.segments.flat === 0)
        const done = indexed && disk_bytes >= writtenShare * bytes
        if (done && performance.now() - sinceMs >= stillMs) return
      }
      throw new Error(`the index had not settled after ${settleMsMax / 1000} s`)
    },
    async stop() {
      if (child.exitCode === null) child.kill('SIGTERM')
      await exited
    },
  }
}
