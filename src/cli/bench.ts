import type { BenchOptions } from './bench-options.js'
import { defineCommand, misuse, readWhole } from './command.js'

/** bench/suites.ts, which is compiled beside this folder and not part of src. */
interface BenchProgram {
  readonly suites: readonly string[]
  /** False when a bar is missed, or an earlier report not reached. */
  runBench(options: BenchOptions): Promise<boolean>
}

const list = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')

export const bench = defineCommand({
  name: 'bench',
  summary: 'Measure recall against brute force, and speed beside other engines.',
  usage: 'SUITE [--dataset clustered|mnist784|minilm384|sample | --base F.f32 --dim D] [FLAG…]',
  about: `
Suites: search (engines beside each other), build (time until ready, and memory), filters (1, 10 and 50 %),
federation (1, 2 and 4 collections, one and more threads), http (throughput from another process), restart (process
start to first right answer), scale (more rows than memory holds), table (the bars that lakegate is held to; exit code 1 when one is missed), cold (first answer from a Parquet file beside DuckDB reading it), micro (hot functions one by one).
Engines take turns. Peers are installed apart: docs/guides/benchmarks.md.`,
  flags: {
    dataset: { type: 'string', value: 'NAME', about: 'clustered (default), mnist784, minilm384 or sample.' },
    n: { type: 'string', value: 'N', about: 'Rows (default 100000, or all there are).' },
    base: { type: 'string', value: 'F.f32', about: 'Raw little-endian f32 rows instead of a named dataset.' },
    queries: { type: 'string', value: 'Q.f32', about: 'Queries for --base (default: its first rows).' },
    'query-count': { type: 'string', value: 'N', about: 'How many queries (default 300).' },
    dim: { type: 'string', value: 'D', about: 'Dimension of clustered or --base (default 128).' },
    metric: { type: 'string', value: 'l2|cosine|dot', about: 'Default: what the dataset is made for.' },
    k: { type: 'string', short: 'k', value: 'N', about: 'How many neighbours (default 10).' },
    modes: {
      type: 'string',
      value: 'LIST',
      about:
        'Recall contracts: exact, certified, certified@P, 0.95, … (default exact,certified); flat-exact and so on: without clusters; hnsw-0.95: a graph; brute: without codes.',
    },
    peers: {
      type: 'string',
      value: 'LIST',
      about:
        'Other engines as name or name@recall, each tuned to its recall (default .99): usearch, usearch-exact, hnswlib, rabitq, duckdb, lancedb, sqlite-vec, faiss-hnsw, faiss-ivf, faiss-rabitq, faiss-ivf-rabitq.',
    },
    threads: { type: 'string', value: 'N', about: 'Worker threads of the throughput rows (default 2).' },
    seed: { type: 'string', value: 'S', about: 'Seed of data, rotation and peers (default 42).' },
    seeds: { type: 'string', value: 'N', about: 'Seeds of rotation and centroids to measure (default 1).' },
    seconds: { type: 'string', value: 'S', about: 'How long to measure at least (default 10).' },
    shared: { type: 'string', value: 'DIR', about: 'Directory with data/ and fixtures/ (default ../shared).' },
    json: { type: 'string', value: 'FILE', about: 'Write the report here, besides the table on stdout.' },
    rows: {
      type: 'string',
      value: 'LIST',
      about: 'Rows of table to run (default: those that --json lacks, but not the long ones).',
    },
    against: { type: 'string', value: 'FILE', about: 'Fail when ratios fall behind those of this earlier report.' },
  },
  positionals: { min: 1, max: 1, expected: 'one SUITE' },
  async run({ flags, positionals }) {
    const program = (await import(new URL('../bench/suites.js', import.meta.url).href)) as BenchProgram
    const suite = positionals[0]!
    if (!program.suites.includes(suite))
      throw misuse(`bench: expected one of ${program.suites.join(', ')}, found ${JSON.stringify(suite)}`)
    const whole = (
      name: 'n' | 'query-count' | 'dim' | 'k' | 'threads' | 'seed' | 'seeds' | 'seconds',
      fallback: number,
    ): number => readWhole(name, flags[name], name === 'seed' ? 0 : 1, 1e9) ?? fallback
    const reached = await program.runBench({
      suite,
      dataset: flags.dataset ?? (flags.base === undefined ? 'clustered' : null),
      base: flags.base ?? null,
      queries: flags.queries ?? null,
      count: whole('n', 100_000),
      queryCount: whole('query-count', 300),
      dimension: whole('dim', 128),
      metric: flags.metric ?? null,
      k: whole('k', 10),
      modes: flags.modes === undefined ? ['exact', 'certified'] : list(flags.modes),
      peers: list(flags.peers),
      threads: whole('threads', 2),
      seed: whole('seed', 42),
      seedCount: whole('seeds', 1),
      seconds: whole('seconds', 10),
      shared: flags.shared ?? '../shared',
      json: flags.json ?? null,
      rows: list(flags.rows),
      against: flags.against ?? null,
    })
    return reached ? 0 : 1
  },
})
