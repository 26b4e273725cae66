import { Field, Int64, makeData, RecordBatch, Schema, Struct } from 'apache-arrow'
import type { BackendAdapter, Manifest, Part } from '#lakegate/adapters/adapter.js'
import type { Column } from '#lakegate/core/column.js'
import { type BackendId, generation, partKey } from '#lakegate/core/generation.js'
import type { Metric } from '#lakegate/core/metric.js'

/** Rows of one collection, given as arrays: what a source costs to read is then next to nothing. */
export interface ArrayRows {
  readonly id: BackendId
  readonly metric: Metric
  readonly dimension: number
  /** float32[count * dimension], row-major; borrowed. */
  readonly vectors: Float32Array
  readonly firstId: number
}

const batchRows = 8192
const columns: readonly Column[] = [{ name: 'thousandth', type: { kind: 'int' } }]

/** One collection `rows` of one part; ids are row numbers, and the column `thousandth` is the id modulo 1000. */
export function arrayAdapter(rows: ArrayRows): BackendAdapter {
  const { dimension, vectors, firstId } = rows
  const count = vectors.length / dimension
  const part: Part = {
    key: partKey(`array:${rows.id}:${count}`),
    name: 'rows',
    rows: count,
    bytes: null,
    deleted: null,
  }
  const manifest: Manifest = {
    generation: generation('1'),
    parts: [part],
    dimension: count === 0 ? null : dimension,
    columns,
    vectorColumn: 'vector',
    idColumn: 'id',
    readIdentity: `array ${dimension}`,
  }
  return {
    id: rows.id,
    listCollections: async () => [
      { name: 'rows', metric: rows.metric, model: null, writable: false, freshness: 'cheap' },
    ],
    generation: async () => manifest.generation,
    manifest: async () => manifest,
    async *pullVectors(_request, { signal }) {
      for (let from = 0; from < count; from += batchRows) {
        signal.throwIfAborted()
        const batch = Math.min(batchRows, count - from)
        const ids = BigInt64Array.from({ length: batch }, (_, i) => BigInt(firstId + from + i))
        yield {
          count: batch,
          dimension,
          vectors: vectors.slice(from * dimension, (from + batch) * dimension),
          ordinals: Uint32Array.from({ length: batch }, (_, i) => from + i),
          ids,
          metadata: metadataBatch(firstId + from, batch),
          skipped: { nullVector: 0, nullId: 0, badVector: 0 },
        }
      }
    },
    supportsPushdown: () => ({ kind: 'unsupported', reason: 'arrays answer nothing themselves' }),
    close: () => Promise.resolve(),
  }
}

function metadataBatch(firstId: number, count: number): RecordBatch {
  const values = BigInt64Array.from({ length: count }, (_, i) => BigInt((firstId + i) % 1000))
  const fields = [new Field('thousandth', new Int64(), true)]
  const children = [makeData({ type: new Int64(), length: count, nullCount: 0, data: values })]
  return new RecordBatch(
    new Schema(fields),
    makeData({ type: new Struct(fields), length: count, nullCount: 0, children }),
  )
}
