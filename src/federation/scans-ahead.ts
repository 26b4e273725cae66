/** Short scans that a thread may have done by the time the main thread comes to them (docs/adr/0017). */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import type { ArenaHandle } from '../cache/executor.js'
import type { ScanWork } from '../cache/kernel.js'
import type { Hits } from '../cache/scan-hits.js'
import type { WorkerTask } from './messages.js'
import { ringBytes, ScanRing } from './scan-ring.js'
import type { RingMessage } from './scan-thread.js'
import { Threads } from './threads.js'

/** A thread that could not start, or died, is not started again sooner. */
const restartMs = 1000
/** How often it is looked whether the thread is done with what nobody waits for. */
const abandonedLookMs = 1

export interface ScanDone {
  readonly hits: Hits
  /** In the kernel. */
  readonly ms: number
}

/** One begun scan. */
interface Begun {
  readonly entry: number
  /** Runs it on the calling thread. */
  readonly run: () => ScanDone
  /** What the calling thread made of it before its turn; throws what that threw. */
  done: (() => ScanDone) | null
  /** Set when it is finished or abandoned while the thread still reads for it: resolves when it no longer does. */
  over: Promise<void> | null
}

/** The thread as it is known here. */
interface Thread {
  readonly port: MessagePort
  /** Ids of the arenas that it was told of. */
  readonly known: Set<number>
  /** What it was told to forget, in the order of its replies. */
  readonly forgetting: Forgetting[]
}

interface Forgetting {
  readonly arenaId: number
  readonly over: Promise<void>
  readonly resolve: () => void
}

export class ScansAhead {
  readonly #slot: number
  readonly #ring: ScanRing
  readonly #memory = new SharedArrayBuffer(ringBytes)
  /** Oldest first. */
  readonly #begun: Begun[] = []
  /** Entries that the thread is not done with although nobody waits for them, and whom to tell when it is. */
  readonly #abandoned: { readonly entry: number; readonly over: () => void }[] = []
  #abandonedTimer: NodeJS.Timeout | null = null
  /** With one thread, which serves the ring as its only task. */
  #threads: Threads | null = null
  #thread: Thread | null = null
  #served: Promise<void> = Promise.resolve()
  #startedMs = Number.NEGATIVE_INFINITY
  #order = 0
  /** Whether several are under way, or were when there were any last: one alone is not worth waking a thread for. */
  #areSeveral = false
  #hadSeveral = false
  #closed = false

  /** @param slot whose scratch area the thread uses */
  constructor(slot: number) {
    this.#slot = slot
    this.#ring = new ScanRing(this.#memory)
  }

  /**
   * Leaves a scan to whoever comes to it first; null when there is no room for it.
   * @param run the same scan on the calling thread
   */
  begin(arena: ArenaHandle, work: ScanWork, run: () => ScanDone): Begun | null {
    this.#collectAbandoned()
    if (this.#closed) return null
    if (this.#begun.length > 0) this.#start()
    this.#tellOf(arena)
    const entry = this.#ring.queue(arena.id, this.#order++, work)
    if (entry === null) return null
    const begun: Begun = { entry, run, done: null, over: null }
    this.#begun.push(begun)
    if (this.#begun.length > 1) this.#areSeveral = true
    if (this.#areSeveral) {
      this.#ring.expect(true)
      this.#ring.tell()
    }
    return begun
  }

  /** Its hits, after which it is gone. Waits for the thread no longer than `patienceMs`; while it waits, it does what is queued. */
  finish(begun: Begun, patienceMs: number): ScanDone {
    this.#leave(begun)
    if (begun.done !== null) return begun.done()
    const { entry } = begun
    if (this.#ring.takeBack(entry)) return begun.run()
    while (!this.#ring.isDone(entry) && this.#runLast()) {}
    const until = performance.now() + patienceMs
    while (!this.#ring.isDone(entry))
      if (performance.now() > until) {
        // The thread is not running: whatever comes of it is collected later.
        this.#leaveToThread(begun)
        return begun.run()
      }
    return this.#ring.collect(entry) ?? begun.run()
  }

  /** Nobody wants it any more. */
  abandon(begun: Begun): void {
    this.#leave(begun)
    if (begun.done === null && !this.#ring.takeBack(begun.entry)) this.#leaveToThread(begun)
  }

  #leaveToThread(begun: Begun): void {
    begun.over = new Promise((over) => {
      this.#abandoned.push({ entry: begun.entry, over })
    })
    this.#collectAbandoned()
  }

  #leave(begun: Begun): void {
    // The last of as many as there were: one that was alone says that the next may be.
    if (this.#begun.length === 1) {
      this.#ring.expect(false)
      this.#areSeveral = this.#hadSeveral
      this.#hadSeveral = false
    } else {
      this.#hadSeveral = true
    }
    this.#begun.splice(this.#begun.indexOf(begun), 1)
  }

  /** Runs the scan that the thread would come to last; false when it has taken all. */
  #runLast(): boolean {
    for (let i = this.#begun.length - 1; i >= 0; i--) {
      const begun = this.#begun[i]!
      if (begun.done !== null || !this.#ring.takeBack(begun.entry)) continue
      begun.done = outcomeOf(begun.run)
      return true
    }
    return false
  }

  #collectAbandoned(): void {
    for (let i = this.#abandoned.length - 1; i >= 0; i--) {
      const { entry, over } = this.#abandoned[i]!
      if (!this.#ring.isDone(entry)) continue
      this.#ring.collect(entry)
      this.#abandoned.splice(i, 1)
      over()
    }
    if (this.#abandoned.length > 0)
      this.#abandonedTimer ??= setTimeout(() => {
        this.#abandonedTimer = null
        this.#collectAbandoned()
      }, abandonedLookMs).unref()
  }

  #tellOf({ id, memory }: ArenaHandle): void {
    if (this.#thread === null || this.#thread.known.has(id)) return
    this.#thread.known.add(id)
    this.#thread.port.postMessage({ kind: 'know', arenaId: id, memory } satisfies RingMessage)
  }

  /** Starts the thread, unless it runs or was started just now. */
  #start(): void {
    if (this.#thread !== null || performance.now() - this.#startedMs < restartMs) return
    this.#startedMs = performance.now()
    this.#threads ??= new Threads({ count: 1, tasksPerThread: 1 })
    const { port1: port, port2 } = new MessageChannel()
    const thread: Thread = { port, known: new Set(), forgetting: [] }
    port.on('message', () => thread.forgetting.shift()?.resolve())
    port.unref()
    this.#thread = thread
    const task: WorkerTask = { kind: 'serve', memory: this.#memory, port: port2, slot: this.#slot }
    this.#served = this.#threads.run(task, [port2]).then(
      () => this.#gone(thread),
      () => this.#gone(thread), // what it had begun is scanned again by who asked
    )
  }

  #gone(thread: Thread): void {
    this.#thread = null
    this.#ring.failRunning()
    this.#collectAbandoned()
    thread.port.close()
    for (const { resolve } of thread.forgetting) resolve()
  }

  /** Resolves when the thread does not refer to the arena. */
  async forget(arenaId: number): Promise<void> {
    const thread = this.#thread
    if (thread === null) return
    if (thread.known.delete(arenaId)) {
      let resolve!: () => void
      const over = new Promise<void>((resolved) => {
        resolve = resolved
      })
      thread.forgetting.push({ arenaId, over, resolve })
      thread.port.postMessage({ kind: 'forget', arenaId } satisfies RingMessage)
      this.#ring.tell()
    }
    await thread.forgetting.findLast((one) => one.arenaId === arenaId)?.over
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#ring.close()
    await this.#served
    await this.#threads?.close()
  }
}

/** Runs it, and answers what answers or throws the same. */
function outcomeOf(run: () => ScanDone): () => ScanDone {
  try {
    const done = run()
    return () => done
  } catch (error) {
    return () => {
      throw error
    }
  }
}
