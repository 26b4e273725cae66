/** Entry point of a graph's thread: usearch's calls block, so they are made here and nowhere else. */
import { parentPort, workerData } from 'node:worker_threads'
import { GatewayError } from '../../core/errors.js'
import { sealGraphFile, verifyGraphFile } from './graph-file.js'
import type { GraphReplies, GraphReply, GraphRequest, GraphShape, GraphTask } from './graph-messages.js'

const { metric, dimension } = workerData as GraphShape
const { Index, MetricKind, ScalarKind } = await import('usearch')

/** Edges of a node above the lowest level (twice as many there), and candidates looked at while adding: usearch's defaults. */
const connectivity = 16
const expansionAdd = 128

const index = new Index({
  dimensions: dimension,
  // Its distances choose candidates only, and never reach an answer.
  metric: { l2: MetricKind.L2sq, cosine: MetricKind.Cos, dot: MetricKind.IP }[metric],
  quantization: ScalarKind.F32,
  connectivity,
  expansion_add: expansionAdd,
  // usearch looks at as many candidates as this or as are asked for, whichever is more: so each search decides.
  expansion_search: 1,
  multi: false,
})

/** More threads a call would make the graph depend on how they were scheduled. */
const threads = 1

function run(task: GraphTask): GraphReplies[GraphTask['kind']] {
  switch (task.kind) {
    case 'probe':
      return null
    case 'add':
      index.add(BigUint64Array.from(task.rows, BigInt), task.vectors, threads)
      return null
    case 'search': {
      const started = performance.now()
      const { keys } = index.search(task.query, task.candidates, threads)
      const ms = performance.now() - started
      return { rows: Uint32Array.from(keys, Number), ms }
    }
    case 'save':
      index.save(task.path)
      return { bytes: sealGraphFile(task.path, task.description) }
    case 'load': {
      const description = verifyGraphFile(task.path)
      index.load(task.path)
      return { description }
    }
  }
}

parentPort!.on('message', ({ id, task }: GraphRequest) => {
  let reply: GraphReply
  try {
    reply = { id, kind: 'done', reply: run(task) }
  } catch (error) {
    const corrupt = error instanceof GatewayError && error.code === 'LG_CORRUPT'
    reply = { id, kind: 'failed', corrupt, message: error instanceof Error ? error.message : String(error) }
  }
  parentPort!.postMessage(reply)
})
