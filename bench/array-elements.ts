import type { DuckDBVector } from '@duckdb/node-api'
import { flatItems } from '#lakegate/adapters/duckdb-vectors.js'

/** The child of a FLOAT[n] array vector, row-major; DuckDB's memory. Its class has the field and does not declare it public. */
export const arrayElements = (vector: DuckDBVector): Float32Array =>
  flatItems((vector as unknown as { readonly childData: DuckDBVector }).childData, Float32Array)
