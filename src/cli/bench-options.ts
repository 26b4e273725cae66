/** What `lakegate bench` was asked for. bench/ is compiled apart from src/ and takes it from here. */
export interface BenchOptions {
  readonly suite: string
  readonly dataset: string | null
  readonly base: string | null
  readonly queries: string | null
  readonly count: number
  readonly queryCount: number
  readonly dimension: number
  readonly metric: string | null
  readonly k: number
  readonly modes: readonly string[]
  /** `name` or `name@recall`. */
  readonly peers: readonly string[]
  readonly threads: number
  readonly seed: number
  /** How many seeds of lakegate's rotation and centroids are measured beside each other, from `seed` on. */
  readonly seedCount: number
  readonly seconds: number
  readonly shared: string
  readonly json: string | null
  /** Rows of the table to run; empty: those that its report lacks. */
  readonly rows: readonly string[]
  /** An earlier report that this one must not fall behind. */
  readonly against: string | null
}
