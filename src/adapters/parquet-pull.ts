/** Streaming one Parquet file as vector batches. */
import type { DuckDBDataChunk } from '@duckdb/node-api'
import { GatewayError } from '../core/errors.js'
import type { RowId } from '../core/id.js'
import type { IdValues, SkippedRows, VectorBatch } from '../core/vector-batch.js'
import { type BatchBuilder, buildBatch } from './arrow-columns.js'
import { selectColumn } from './column-type.js'
import { chunkRowsMax, parquetScan, quoteIdentifier, quoteText, streamChunks } from './duckdb-session.js'
import { flatItems, validity } from './duckdb-vectors.js'
import { isUnchanged, type ParquetFile } from './parquet-files.js'
import { changed, explainFailure, type Footer } from './parquet-footer.js'
import { type Layout, selectId } from './parquet-layout.js'
import { copyVectors, selectVector, type VectorEncoding, vectorEncoding } from './vector-column.js'

interface CallOptions {
  readonly signal: AbortSignal
}

export interface FilePull {
  readonly file: ParquetFile
  readonly footer: Footer
  readonly layout: Layout
  readonly onBadRow: 'refuse' | 'skip'
}

/** A batch is handed on when its vectors, or its metadata of no fixed width, are this large. */
const batchBytes = 8 * 1024 * 1024
const batchRowsMax = 16_384

/** The file's usable rows in order. Throws LG_GENERATION_EXPIRED when the file is not what it was, at the start or the end. */
export async function* pullFile(pull: FilePull, { signal }: CallOptions): AsyncGenerator<VectorBatch, void> {
  const { file } = pull
  signal.throwIfAborted()
  if (!(await isUnchanged(file))) throw changed(file)
  try {
    yield* readBatches(pull, signal)
  } catch (error) {
    throw await explainFailure(error, file, signal)
  }
  signal.throwIfAborted()
}

async function* readBatches(pull: FilePull, signal: AbortSignal): AsyncGenerator<VectorBatch, void> {
  const { file, footer, layout } = pull
  const dimension = layout.dimension
  const type = footer.columns.get(layout.vectorColumn)
  let rowsRead = 0
  if (dimension === null || type === undefined) {
    // No row of this file has a vector: every one is skipped as null.
    if (footer.rows > 0) yield emptyBatch(dimension ?? 0, layout, footer.rows)
    return
  }
  const encoding = vectorEncoding(type)!
  let batch = startBatch(layout, dimension, footer.rows)
  for await (const chunk of streamChunks(selectSql(pull), footer.rows, { signal })) {
    appendChunk(batch, chunk, rowsRead, encoding, pull)
    rowsRead += chunk.rowCount
    if (rowsRead < footer.rows && isFull(batch)) {
      yield finishBatch(batch, file)
      batch = startBatch(layout, dimension, footer.rows - rowsRead)
    }
  }
  if (!(await isUnchanged(file))) throw changed(file)
  const { nullVector, nullId, badVector } = batch.skipped
  if (batch.count > 0 || nullVector + nullId + badVector > 0) yield finishBatch(batch, file)
}

function selectSql({ file, footer, layout }: FilePull): string {
  const vector = footer.columns.get(layout.vectorColumn)!
  const idType = layout.idColumn === null ? undefined : footer.columns.get(layout.idColumn)
  const id = idType === undefined ? 'NULL::VARCHAR' : selectId(quoteIdentifier(layout.idColumn!), idType)
  const metadata = layout.metadata.map(({ name, type }) => {
    const partition = file.partition.get(name)
    if (partition !== undefined) return selectColumn(partition === null ? 'NULL' : quoteText(partition), type, null)
    const source = footer.columns.get(name)
    return selectColumn(source === undefined ? 'NULL' : quoteIdentifier(name), type, source ?? null)
  })
  const expressions = [selectVector(quoteIdentifier(layout.vectorColumn), vector), id, ...metadata]
  const select = expressions.map((expression, index) => `${expression} AS c${index}`).join(', ')
  return `SELECT ${select} FROM ${parquetScan(file.path)}`
}

interface OpenBatch {
  readonly capacity: number
  readonly vectors: Float32Array
  readonly ordinals: Uint32Array
  /** Null while ids are made of the part's name and the row. */
  ids: BigInt64Array | BigUint64Array | RowId[] | null
  readonly metadata: BatchBuilder | null
  readonly skipped: { nullVector: number; nullId: number; badVector: number }
  readonly dimension: number
  count: number
}

/** @param rowsLeft  of the file; the last batch is no larger */
function startBatch(layout: Layout, dimension: number, rowsLeft: number): OpenBatch {
  const rows = Math.min(batchRowsMax, Math.floor(batchBytes / (4 * dimension)))
  const capacity = Math.min(rowsLeft, Math.max(chunkRowsMax, rows - (rows % chunkRowsMax)))
  return {
    capacity,
    vectors: new Float32Array(capacity * dimension),
    ordinals: new Uint32Array(capacity),
    ids: null,
    metadata: layout.metadata.length === 0 ? null : buildBatch(layout.metadata),
    skipped: { nullVector: 0, nullId: 0, badVector: 0 },
    dimension,
    count: 0,
  }
}

/** Whether another chunk may not fit. */
const isFull = ({ capacity, count, metadata }: OpenBatch): boolean =>
  capacity - count < chunkRowsMax || (metadata !== null && metadata.bytes() >= batchBytes)

function appendChunk(
  batch: OpenBatch,
  chunk: DuckDBDataChunk,
  firstRow: number,
  encoding: VectorEncoding,
  { file, layout, onBadRow }: FilePull,
): void {
  const hasId = layout.idColumn === null ? null : validity(chunk.getColumnVector(1))
  const rows = rowsWhere(chunk.rowCount, hasId)
  batch.skipped.nullId += chunk.rowCount - rows.length
  const { dimension, count } = batch
  const copied = copyVectors(chunk.getColumnVector(0), encoding, rows, dimension, batch.vectors, count * dimension)
  const [bad] = copied.bad
  if (bad !== undefined && onBadRow === 'refuse')
    throw new GatewayError(
      'LG_BAD_ROW',
      `parquet file ${file.path}, row ${firstRow + bad.row} (from 0): column ${JSON.stringify(layout.vectorColumn)} has ${bad.found}. ` +
        'Mend the file, or set on_bad_row = "skip" to leave such rows out',
      { field: 'on_bad_row' },
    )
  batch.skipped.badVector += copied.bad.length
  batch.skipped.nullVector += copied.nulls
  const { kept } = copied
  for (let i = 0; i < kept.length; i++) batch.ordinals[count + i] = firstRow + kept[i]!
  if (layout.idColumn !== null) appendIds(batch, chunk, kept)
  for (const [index, column] of batch.metadata?.columns.entries() ?? [])
    column.append(chunk.getColumnVector(2 + index), kept)
  batch.count += kept.length
}

function rowsWhere(count: number, isWanted: ((row: number) => boolean) | null): Uint32Array {
  const rows = new Uint32Array(count)
  let length = 0
  for (let row = 0; row < count; row++) if (isWanted === null || isWanted(row)) rows[length++] = row
  return rows.subarray(0, length)
}

function appendIds(batch: OpenBatch, chunk: DuckDBDataChunk, rows: Uint32Array): void {
  const vector = chunk.getColumnVector(1)
  const type = vector.type.toString()
  if (type === 'VARCHAR') {
    batch.ids ??= []
    const ids = batch.ids as RowId[]
    for (const row of rows) ids.push(String(vector.getItem(row)))
  } else if (type === 'UBIGINT') {
    batch.ids ??= new BigUint64Array(batch.capacity)
    const ids = batch.ids as BigUint64Array
    const items = flatItems(vector, BigUint64Array)
    for (let i = 0; i < rows.length; i++) ids[batch.count + i] = items[rows[i]!]!
  } else {
    batch.ids ??= new BigInt64Array(batch.capacity)
    const ids = batch.ids as BigInt64Array
    const items = flatItems(vector, BigInt64Array)
    for (let i = 0; i < rows.length; i++) ids[batch.count + i] = items[rows[i]!]!
  }
}

/** The filled part of an open batch; short ones are copied, so that they do not hold the room they did not need. */
function finishBatch(batch: OpenBatch, file: ParquetFile): VectorBatch {
  const { count, dimension, skipped } = batch
  const fits = count === batch.capacity
  const ordinals = fits ? batch.ordinals : batch.ordinals.slice(0, count)
  return {
    count,
    dimension,
    vectors: fits ? batch.vectors : batch.vectors.slice(0, count * dimension),
    ordinals,
    ids: finishIds(batch.ids, ordinals, file),
    metadata: batch.metadata === null ? null : batch.metadata.finish(count),
    skipped,
  }
}

function finishIds(ids: OpenBatch['ids'], ordinals: Uint32Array, file: ParquetFile): IdValues {
  if (ids === null) return Array.from(ordinals, (row) => `${file.name}:${row}`)
  return Array.isArray(ids) ? ids : ids.slice(0, ordinals.length)
}

function emptyBatch(dimension: number, layout: Layout, nullVector: number): VectorBatch {
  const skipped: SkippedRows = { nullVector, nullId: 0, badVector: 0 }
  const metadata = layout.metadata.length === 0 ? null : buildBatch(layout.metadata).finish(0)
  return { count: 0, dimension, vectors: new Float32Array(), ordinals: new Uint32Array(), ids: [], metadata, skipped }
}
