import { DuckDBInstance } from '@duckdb/node-api'

interface GeneratedRows {
  readonly rows: number
  readonly dimension: number
  /** Other seeds give other vectors. */
  readonly seed?: number
  /** First id. */
  readonly firstId?: number
}

/**
 * Writes a Parquet file with columns id (int64), label (string, ten values) and embedding (list of float32 in [-1, 1)):
 * the same bytes of data for the same arguments.
 */
export async function writeGeneratedParquet(
  path: string,
  { rows, dimension, seed = 0, firstId = 0 }: GeneratedRows,
): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run(`COPY (
      SELECT i + ${firstId} AS id, 'label ' || (i % 10) AS label,
        list_transform(range(${dimension}), j -> ((hash(i * ${dimension} + j + ${seed} * 1000003) % 2000003) / 1000001.5 - 1)::FLOAT) AS embedding
      FROM range(${rows}) t(i)
    ) TO '${path.replaceAll("'", "''")}' (FORMAT parquet, ROW_GROUP_SIZE 20480)`)
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}
