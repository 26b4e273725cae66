import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Metric } from '#lakegate/core/metric.js'
import type { Dataset } from '../dataset.js'
import { timed } from '../engine.js'
import { installedVersion, loadInstalled } from './installed.js'
import { nothingToClose, type OpenPeer } from './peer.js'

interface LanceQuery {
  distanceType(metric: Metric): LanceQuery
  nprobes(count: number): LanceQuery
  refineFactor(factor: number): LanceQuery
  limit(k: number): LanceQuery
  select(columns: readonly string[]): LanceQuery
  toArray(): Promise<readonly { readonly id: number }[]>
}

interface LanceTable {
  createIndex(column: string, options: { readonly config: unknown }): Promise<void>
  query(): { nearestTo(vector: Float32Array): LanceQuery }
  close(): void
}

interface Lance {
  connect(path: string): Promise<{ createTable(name: string, data: unknown): Promise<LanceTable>; close(): void }>
  readonly Index: { ivfPq(options: { readonly distanceType: Metric }): unknown }
}

/** The release of apache-arrow that LanceDB takes, which is not lakegate's. */
type Arrow = Pick<
  typeof import('apache-arrow'),
  'Field' | 'FixedSizeList' | 'Float32' | 'Table' | 'makeData' | 'makeVector'
>

/** Probed partitions that one step of effort adds, and how many times k candidates it re-ranks by their vectors. */
const probesPerStep = 4

/** A table in a temporary directory with LanceDB's default index. It runs threads of its own: one, where that can be said. */
export const openLanceDb: OpenPeer = async (dataset, { k }) => {
  process.env.LANCE_CPU_THREADS = '1'
  process.env.RUST_LOG ??= 'error'
  const lance = loadInstalled<Lance>('@lancedb/lancedb')
  const arrow = loadInstalled<Arrow>('apache-arrow')
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-'))
  const database = await lance.connect(directory)
  const { metric } = dataset
  const build = await timed(async () => {
    const table = await database.createTable('base', tableOf(arrow, dataset))
    await table.createIndex('vector', { config: lance.Index.ivfPq({ distanceType: metric }) })
    return table
  })
  const table = build.value
  return {
    engine: 'lancedb',
    kind: 'ivf-pq',
    version: installedVersion('@lancedb/lancedb'),
    settings: 'default partitions and sub-vectors',
    buildMs: build.ms,
    bytesPerVector: (await folderBytes(directory)) / dataset.count,
    effort: { name: `refine factor, with ${probesPerStep} probes each`, min: 1, max: 256 },
    at: (effort) => ({
      async search(query) {
        const nearest = table
          .query()
          .nearestTo(query)
          .distanceType(metric)
          .nprobes(effort * probesPerStep)
        const found = await nearest.refineFactor(effort).limit(k).select(['id', '_distance']).toArray()
        return found.map(({ id }) => id)
      },
      close: nothingToClose,
    }),
    close() {
      table.close()
      database.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function tableOf(arrow: Arrow, { count, dimension, base }: Dataset): unknown {
  const type = new arrow.FixedSizeList(dimension, new arrow.Field('item', new arrow.Float32(), true))
  const child = arrow.makeData({ type: new arrow.Float32(), length: count * dimension, data: base })
  return new arrow.Table({
    id: arrow.makeVector(Int32Array.from({ length: count }, (_, i) => i)),
    vector: arrow.makeVector(arrow.makeData({ type, length: count, nullCount: 0, child })),
  })
}

async function folderBytes(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}
