import type { Worker } from 'node:worker_threads'
import { onTestFinished } from 'vitest'

/** Threads that are started from now on, until the test ends. One that has ended has the id -1. */
export function startedThreads(): Worker[] {
  const threads: Worker[] = []
  const remember = (thread: Worker): number => threads.push(thread)
  process.on('worker', remember)
  onTestFinished(() => void process.off('worker', remember))
  return threads
}

export const runningCount = (threads: readonly Worker[]): number =>
  threads.filter(({ threadId }) => threadId !== -1).length

/** Kills every thread that is started, before it is ready, until it is called off or the test ends. */
export function killStarting(): () => void {
  const kill = (thread: Worker): void => void thread.terminate()
  process.on('worker', kill)
  const off = () => void process.off('worker', kill)
  onTestFinished(off)
  return off
}
