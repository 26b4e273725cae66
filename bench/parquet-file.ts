import * as duckdb from '@duckdb/node-api'
import { flatItems } from '#lakegate/adapters/duckdb-vectors.js'
import { arrayElements } from './array-elements.js'
import type { Dataset } from './dataset.js'

/** A DuckDB table `base` (id INTEGER, embedding FLOAT[dimension]) with the dataset's rows, in row order. */
export async function fillTable(connection: duckdb.DuckDBConnection, dataset: Dataset, firstId = 0): Promise<void> {
  const { dimension, count, base } = dataset
  await connection.run(`CREATE TABLE base (id INTEGER, embedding FLOAT[${dimension}])`)
  const appender = await connection.createAppender('base')
  const types = [duckdb.INTEGER, duckdb.ARRAY(duckdb.FLOAT, dimension)]
  for (let from = 0; from < count; from += 2048) {
    const rows = Math.min(2048, count - from)
    const chunk = duckdb.DuckDBDataChunk.create(types, rows)
    const ids = chunk.getColumnVector(0)
    const vectors = chunk.getColumnVector(1)
    flatItems(ids, Int32Array).set(Int32Array.from({ length: rows }, (_, i) => firstId + from + i))
    arrayElements(vectors).set(base.subarray(from * dimension, (from + rows) * dimension))
    ids.flush()
    vectors.flush()
    appender.appendDataChunk(chunk)
  }
  appender.closeSync()
}

/** Writes id and embedding (a list of float32) as one Parquet file, snappy, row groups of DuckDB's default size. */
export async function writeParquet(path: string, dataset: Dataset, firstId = 0): Promise<void> {
  const instance = await duckdb.DuckDBInstance.create()
  const connection = await instance.connect()
  await fillTable(connection, dataset, firstId)
  await connection.run(`COPY (SELECT id, embedding::FLOAT[] AS embedding FROM base) TO '${path}' (FORMAT parquet)`)
  connection.closeSync()
  instance.closeSync()
}
