import type { Transferable, Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import type { WorkerReplies, WorkerTask } from './messages.js'
import { closedError } from './slots.js'

interface ThreadsOptions {
  readonly count: number
  /** Tasks a thread is given at once: it runs them one after the other. */
  readonly tasksPerThread: number
}

/**
 * Threads that run tasks, at once from the start. One that dies rejects the tasks it had, and another is started: where that
 * one dies before it is ready, when there is a task again. No task waits for a thread that does not come.
 */
export class Threads {
  readonly #options: ThreadsOptions
  /** Null from when it has given up until there is a task. */
  #pool: Piscina<WorkerTask> | null
  #closed = false

  constructor(options: ThreadsOptions) {
    this.#options = options
    this.#pool = this.#start()
  }

  /** Starting ones too. */
  get all(): readonly Worker[] {
    return this.#pool?.threads ?? []
  }

  /** Rejects when the thread dies, when none can be started, and once closed. */
  run<Task extends WorkerTask>(
    task: Task,
    transferList: readonly Transferable[] = [],
  ): Promise<WorkerReplies[Task['kind']]> {
    if (this.#closed) return Promise.reject(closedError())
    this.#pool ??= this.#start()
    return this.#pool.run(task, { transferList: [...transferList] })
  }

  #start(): Piscina<WorkerTask> {
    const { count, tasksPerThread } = this.#options
    const pool = new Piscina<WorkerTask>({
      filename: new URL('./worker.js', import.meta.url).href,
      minThreads: count,
      maxThreads: count,
      concurrentTasksPerWorker: tasksPerThread,
    })
    // It says so of a thread without tasks: whoever has one next finds out, and it is no reason to end the process.
    pool.on('error', () => undefined)
    // After a thread that died before it was ready piscina starts no other by itself, and tasks that had found no thread would wait for ever.
    pool.on('workerDestroy', () => queueMicrotask(() => this.#giveUp(pool)))
    return pool
  }

  /** Unless it has threads: rejects what waits for one. */
  #giveUp(pool: Piscina<WorkerTask>): void {
    if (this.#closed || pool !== this.#pool || pool.threads.length > 0) return
    this.#pool = null
    void pool.destroy()
  }

  /** Lets tasks finish that threads have: destroying the pool would make their late replies an error event that nobody awaits. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#pool?.close()
  }
}
