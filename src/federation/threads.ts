import type { Transferable, Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { shuttingDown } from '../core/errors.js'
import type { WorkerReplies, WorkerTask } from './messages.js'

interface ThreadsOptions {
  readonly count: number
  /** Tasks a thread is given at once: it runs them one after the other. */
  readonly tasksPerThread: number
}

/**
 * Threads that run tasks; they are started at once. One that dies rejects the tasks it had, and another is started; after one that
 * died before it was ready, only when a task finds all that are left busy. No task waits for a thread that does not come.
 */
export class Threads {
  readonly #options: ThreadsOptions
  /** Null from when it has given up until there is a task. */
  #pool: Piscina<WorkerTask> | null
  /** Tasks that have not ended. */
  readonly #pending = new Set<Promise<unknown>>()
  #closing: Promise<void> | null = null

  constructor(options: ThreadsOptions) {
    this.#options = options
    this.#pool = this.#start()
  }

  /** Starting ones too. */
  get all(): readonly Worker[] {
    return this.#pool?.threads ?? []
  }

  /** Rejects when the thread dies, when none can be started, and, with LG_OVERLOADED, once closed. */
  run<Task extends WorkerTask>(
    task: Task,
    transferList: readonly Transferable[] = [],
  ): Promise<WorkerReplies[Task['kind']]> {
    if (this.#closing !== null) return Promise.reject(shuttingDown())
    this.#pool ??= this.#start()
    const reply: Promise<WorkerReplies[Task['kind']]> = this.#pool.run(task, { transferList: [...transferList] })
    this.#pending.add(reply)
    const ended = (): void => void this.#pending.delete(reply)
    reply.then(ended, ended)
    return reply
  }

  #start(): Piscina<WorkerTask> {
    const { count, tasksPerThread } = this.#options
    const pool = new Piscina<WorkerTask>({
      filename: new URL('./worker.js', import.meta.url).href,
      minThreads: count,
      maxThreads: count,
      concurrentTasksPerWorker: tasksPerThread,
    })
    // A thread failed without tasks: whoever has one next finds out, and it is no reason to end the process.
    pool.on('error', () => undefined)
    // After a thread that died before it was ready piscina starts no other by itself: tasks in its queue would wait for ever.
    pool.on('workerDestroy', () => queueMicrotask(() => this.#giveUp(pool)))
    return pool
  }

  /** Unless it has threads: rejects what waits for one. */
  #giveUp(pool: Piscina<WorkerTask>): void {
    if (pool !== this.#pool || pool.threads.length > 0) return
    this.#pool = null
    void pool.destroy()
  }

  /** Resolves when all tasks have ended and all threads are gone. */
  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  /** Not by piscina's own close(), which ends threads that are not done yet and waits 30 s for one that died. */
  async #end(): Promise<void> {
    await Promise.allSettled(this.#pending)
    const pool = this.#pool
    // Nothing waits for its threads any more: destroyed twice it would start others.
    this.#pool = null
    await pool?.destroy()
  }
}
