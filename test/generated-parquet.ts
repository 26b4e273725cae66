import { DuckDBInstance } from '@duckdb/node-api'

interface GeneratedRows {
  readonly rows: number
  readonly dimension: number
  /** Other seeds give other vectors. */
  readonly seed?: number
  /** First id. */
  readonly firstId?: number
  /** So many points, in turn, that rows are near to; without, no place is likelier than others and clusters rule out nothing. */
  readonly points?: number
}

/**
 * Writes a Parquet file with columns id (int64), label (string, ten values) and embedding (list of float32 in [-1, 1), around
 * points [-1.2, 1.2)): the same bytes of data for the same arguments.
 */
export async function writeGeneratedParquet(
  path: string,
  { rows, dimension, seed = 0, firstId = 0, points }: GeneratedRows,
): Promise<void> {
  const random = (row: string): string =>
    `((hash((${row}) * ${dimension} + j + ${seed} * 1000003) % 2000003) / 1000001.5 - 1)`
  const value = points === undefined ? random('i') : `${random(`1000000000 + i % ${points}`)} + 0.2 * ${random('i')}`
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run(`COPY (
      SELECT i + ${firstId} AS id, 'label ' || (i % 10) AS label,
        list_transform(range(${dimension}), j -> (${value})::FLOAT) AS embedding
      FROM range(${rows}) t(i)
    ) TO '${path.replaceAll("'", "''")}' (FORMAT parquet, ROW_GROUP_SIZE 20480)`)
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}
