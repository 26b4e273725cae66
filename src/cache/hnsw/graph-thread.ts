import { Worker } from 'node:worker_threads'
import { GatewayError } from '../../core/errors.js'
import type { GraphReplies, GraphReply, GraphRequest, GraphShape, GraphTask } from './graph-messages.js'

interface Waiting {
  resolve(reply: GraphReplies[GraphTask['kind']]): void
  reject(error: GatewayError): void
}

/** A thread that has one graph to itself. Tasks run one after another. */
export class GraphThread {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0
  /** Why it takes no more tasks. */
  #ended: GatewayError | null = null

  /** @param onLost called once when the thread ends without having been told to */
  constructor(shape: GraphShape, onLost: (error: GatewayError) => void) {
    this.#worker = new Worker(new URL('./graph-worker.js', import.meta.url), { workerData: shape })
    this.#worker.on('message', (reply: GraphReply) => this.#settle(reply))
    const lose = (cause: unknown): void => {
      if (this.#ended !== null) return
      const error = new GatewayError('LG_INTERNAL', 'the thread of the graph ended', { cause })
      this.#end(error)
      onLost(error)
    }
    this.#worker.on('error', lose)
    this.#worker.on('exit', (code) => lose(new Error(`exit code ${code}`)))
  }

  /**
   * Throws LG_CORRUPT for a file that is not usable, LG_INTERNAL when the thread ended.
   * @param transfer buffers of the task that are given away
   */
  run<Task extends GraphTask>(task: Task, transfer: readonly ArrayBuffer[] = []): Promise<GraphReplies[Task['kind']]> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as Waiting['resolve'], reject })
      this.#worker.postMessage({ id, task } satisfies GraphRequest, transfer)
    })
  }

  /** Gives up what is under way; the thread and its memory are gone when this resolves. */
  async close(): Promise<void> {
    this.#end(new GatewayError('LG_INTERNAL', 'the graph was let go'))
    await this.#worker.terminate()
  }

  #settle(reply: GraphReply): void {
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (reply.kind === 'done') waiting?.resolve(reply.reply)
    else waiting?.reject(new GatewayError(reply.corrupt ? 'LG_CORRUPT' : 'LG_INTERNAL', reply.message))
  }

  #end(error: GatewayError): void {
    this.#ended ??= error
    for (const { reject } of this.#waiting.values()) reject(this.#ended)
    this.#waiting.clear()
  }
}
