import * as duckdb from '@duckdb/node-api'
import type { Metric } from '#lakegate/core/metric.js'
import { timed } from '../engine.js'
import { fillTable } from '../parquet-file.js'
import { nothingToClose, type OpenPeer } from './peer.js'

const distanceFunction: Readonly<Record<Metric, string>> = {
  l2: 'array_distance',
  cosine: 'array_cosine_distance',
  dot: 'array_negative_inner_product',
}

/** DuckDB's own top-k over an in-memory table, one thread. */
export const openDuckDb: OpenPeer = async (dataset, { k }) => {
  const instance = await duckdb.DuckDBInstance.create(':memory:', { threads: '1' })
  const connection = await instance.connect()
  const { dimension } = dataset
  const build = await timed(() => fillTable(connection, dataset))
  const order = `${distanceFunction[dataset.metric]}(embedding, $1::FLOAT[${dimension}])`
  const statement = await connection.prepare(`SELECT id FROM base ORDER BY ${order} LIMIT ${k}`)
  return {
    engine: 'duckdb',
    kind: 'exact',
    version: duckdb.version(),
    settings: `${distanceFunction[dataset.metric]} over a table in memory`,
    buildMs: build.ms,
    bytesPerVector: dimension * 4 + 4,
    effort: null,
    at: () => ({
      async search(query) {
        statement.bindArray(1, duckdb.arrayValue(Array.from(query)), duckdb.ARRAY(duckdb.FLOAT, dimension))
        const result = await statement.runAndReadAll()
        return result.getColumns()[0] as number[]
      },
      close: nothingToClose,
    }),
    close() {
      connection.closeSync()
      instance.closeSync()
    },
  }
}
