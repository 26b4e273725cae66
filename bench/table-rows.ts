/** The rows of `lakegate bench table`: what is run, and the bars of issue "the provable index" that it is held to. */
import {
  type Bar,
  fasterThan,
  fasterThanBruteForce,
  filterWithin,
  httpShare,
  medianAtMost,
  memoryBars,
  noneWrong,
  readySoonerThan,
  readyWithin,
  recallReached,
  residentAtMost,
  restartBars,
} from './bars.js'

export interface TableRow {
  readonly name: string
  /** Of `lakegate bench`. */
  readonly args: readonly string[]
  readonly bars: readonly Bar[]
  /** Only run when it is named: it takes many minutes or much memory. */
  readonly long: boolean
}

const filterBars = [...[1, 10, 50].map((percent) => filterWithin(percent, 2)), noneWrong]

const short = (name: string, command: string, bars: readonly Bar[]): TableRow => ({
  name,
  args: command.split(' '),
  bars,
  long: false,
})

export const tableRows: readonly TableRow[] = [
  short(
    'clustered-100k',
    'search --n 100000 --modes exact,certified --peers rabitq@0.999,usearch@0.99,hnswlib@0.999,faiss-ivf@0.99,faiss-rabitq@0.999,faiss-ivf-rabitq@0.999 --seconds 15 --seeds 3',
    [
      fasterThan('exact', 'rabitq', 0.999, 40),
      fasterThan('exact', 'usearch', 0.99, 8),
      fasterThan('exact', 'hnswlib', 0.999, 6),
      readySoonerThan('hnswlib', 0.999, 50),
      ...memoryBars(0.99),
      noneWrong,
    ],
  ),
  short('clustered-1m', 'search --n 1000000 --query-count 100 --modes exact,brute --seconds 10 --seeds 3', [
    fasterThanBruteForce('exact', 150),
    medianAtMost('exact', 250),
    readyWithin(2500),
    noneWrong,
  ]),
  short(
    'mnist',
    'search --dataset mnist784 --query-count 200 --modes exact,certified,0.99 --peers usearch@0.99,usearch@0.998,faiss-rabitq@0.998 --seconds 15 --seeds 3',
    [
      fasterThan('exact', 'usearch', 0.998, 1.5),
      fasterThan('0.99', 'usearch', 0.99, 2.5),
      ...memoryBars(0.99),
      noneWrong,
    ],
  ),
  short(
    'minilm',
    'search --dataset minilm384 --modes exact,certified@1e-5,0.95,brute --peers usearch@0.95,usearch@0.999,usearch@0.9995,hnswlib@0.999,faiss-hnsw@0.999,faiss-ivf@0.999,faiss-rabitq@0.95,faiss-rabitq@0.999,lancedb@0.95,sqlite-vec,duckdb,usearch-exact --seconds 20 --seeds 3',
    [
      fasterThan('certified@1e-5', 'usearch', 0.999, 4),
      fasterThanBruteForce('exact', 6),
      fasterThan('exact', 'usearch', 0.9995, 1.5),
      fasterThan('0.95', 'usearch', 0.95, 1),
      ...memoryBars(0.95),
      noneWrong,
    ],
  ),
  short(
    'hnsw-mnist',
    'search --dataset mnist784 --query-count 200 --modes 0.99,hnsw-0.99 --peers usearch@0.99 --seconds 10',
    [recallReached('hnsw-0.99', 0.99)],
  ),
  short('filters-clustered', 'filters --n 100000 --query-count 200 --seconds 10 --seeds 3', filterBars),
  short('filters-mnist', 'filters --dataset mnist784 --query-count 100 --seconds 10 --seeds 3', filterBars),
  short('filters-minilm', 'filters --dataset minilm384 --seconds 5 --seeds 3', filterBars),
  short('http', 'http --n 100000 --query-count 200 --seconds 60', [httpShare(8, 0.5)]),
  short('restart', 'restart --n 1000000 --seconds 60', restartBars(0.2, 2000)),
  {
    name: 'hnsw-1m',
    args: ['search', ...'--n 1000000 --query-count 100 --modes exact,0.95,hnsw-0.95 --seconds 10'.split(' ')],
    bars: [recallReached('hnsw-0.95', 0.95)],
    long: true,
  },
  {
    name: 'scale-10m',
    args: ['scale', '--n', '10000000', '--query-count', '50'],
    bars: [residentAtMost(6), noneWrong],
    long: true,
  },
]
