import { toGatewayError } from '../core/errors.js'

/** Runs jobs one after another, in the order they came. */
export class JobQueue<Shared> {
  readonly #shared = new Map<string, Promise<Shared>>()
  #tail: Promise<unknown> = Promise.resolve()

  /** Answers what the job does, or rejects with its failure as a GatewayError; the jobs after it run in either case. */
  add<T>(run: () => Promise<T>): Promise<T> {
    const job = this.#tail.then(run).catch((error: unknown) => Promise.reject(toGatewayError(error)))
    const over = (): void => {} // its caller has the outcome; kept here, a version would keep the arenas it was searched in
    this.#tail = job.then(over, over)
    return job
  }

  /** The same, but a job of this name that waits or is under way is shared. It goes on when its callers leave. */
  share(name: string, run: () => Promise<Shared>): Promise<Shared> {
    const known = this.#shared.get(name)
    if (known !== undefined) return known
    const job = this.add(run)
    this.#shared.set(name, job)
    const done = (): void => {
      this.#shared.delete(name)
    }
    job.then(done, done)
    return job
  }

  /** Resolves when the jobs of now are over. */
  async over(): Promise<void> {
    await this.#tail
  }
}
