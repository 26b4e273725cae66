import { threadId } from 'node:worker_threads'
import { collectGarbage } from '../cache/collect-garbage.js'
import { compareRows } from '../cache/compare-rows.js'
import type { ArenaHandle } from '../cache/executor.js'
import { runEncode, runScan, runTraining } from '../cache/kernel.js'
import type { WorkerReplies, WorkerTask } from './messages.js'
import { serveScans } from './scan-thread.js'

/** Every message makes a new object for the same memory; keeping the first keeps its kernel instance. */
const memories = new Map<number, WebAssembly.Memory>()

function memoryOf(arena: ArenaHandle): WebAssembly.Memory {
  const known = memories.get(arena.id)
  if (known !== undefined) return known
  memories.set(arena.id, arena.memory)
  return arena.memory
}

/** Entry point of a worker thread: one call a task. */
export default function runTask(task: WorkerTask): WorkerReplies[WorkerTask['kind']] {
  if (task.kind === 'ping') return null
  if (task.kind === 'serve') {
    serveScans(task)
    return null
  }
  if (task.kind === 'compare') return compareRows(task.work)
  if (task.kind === 'forget') {
    memories.delete(task.arenaId)
    collectGarbage()
    return { threadId }
  }
  const memory = memoryOf(task.arena)
  const started = performance.now()
  if (task.kind === 'encode') {
    const maxima = runEncode(memory, task.slot, task.work)
    return { maxima, ms: performance.now() - started }
  }
  if (task.kind === 'train') {
    runTraining(memory, task.slot, task.call)
    return { ms: performance.now() - started }
  }
  const hits = runScan(memory, task.slot, task.work)
  return { hits, ms: performance.now() - started }
}
