/** Metadata columns as Arrow: how sources deliver them and files keep them. Loads Arrow, which a segment without metadata does not need. */
import assert from 'node:assert'
import {
  RecordBatch as Batch,
  Field,
  makeData,
  type RecordBatch,
  Schema,
  Struct,
  Table,
  tableFromIPC,
  tableToIPC,
} from 'apache-arrow'
import type { Column } from '../core/column.js'
import { joinChunks, toArrow, viewArrow } from './column-arrow.js'
import { SegmentMetadata } from './metadata.js'
import type { SegmentSpace } from './resident-segment.js'

/** Schema metadata of the IPC form: the logical columns, which Arrow's types say only in part. */
const columnsKey = 'lakegate.columns'

/**
 * Joins batches, as a pull delivers them, into new memory. Strings of few distinct values become dictionaries.
 * @param columns  of the manifest, in the order of the batches' columns
 * Throws LG_OVER_BUDGET when a column's text passes 2 GiB.
 */
export function joinMetadata(columns: readonly Column[], batches: readonly RecordBatch[]): SegmentMetadata {
  const rows = batches.reduce((sum, batch) => sum + batch.numRows, 0)
  const data = columns.map(({ name, type }, index) => {
    const chunks = batches.map((batch) => batch.data.children[index])
    return joinChunks(
      name,
      type,
      chunks.map((chunk) => chunk ?? missing(name)),
    )
  })
  return new SegmentMetadata(rows, columns, data)
}

/** Reads metadataToIpc's bytes without copying them: they must start at a multiple of 8 bytes and stay as they are. */
export function metadataFromIpc(bytes: Uint8Array): SegmentMetadata {
  assert(bytes.byteOffset % 8 === 0, 'metadata starts at a multiple of 8 bytes')
  const table = tableFromIPC(bytes)
  const batch = table.batches[0]
  const columns = JSON.parse(table.schema.metadata.get(columnsKey) ?? 'null') as readonly Column[] | null
  assert(
    batch !== undefined && columns !== null && table.batches.length === 1,
    'metadata is one batch of known columns',
  )
  return new SegmentMetadata(batch.numRows, columns, batch.data.children.map(viewArrow))
}

/** The metadata of a space whose sections hold their content; null without. */
export function viewMetadata({ sections }: SegmentSpace): SegmentMetadata | null {
  const bytes = sections.get('metadata')
  return bytes === undefined ? null : metadataFromIpc(bytes)
}

/** One Arrow IPC stream of one batch. */
export function metadataToIpc(metadata: SegmentMetadata): Uint8Array {
  const batch = metadataBatch(metadata)
  return tableToIPC(new Table(batch.schema, [batch]), 'stream')
}

/** Borrows the columns. */
export function metadataBatch({ rows: length, columns, data }: SegmentMetadata): RecordBatch {
  const children = data.map((column, i) => toArrow(column, columns[i]!.type))
  const fields = children.map((child, i) => new Field(columns[i]!.name, child.type, true))
  const schema = new Schema(fields, new Map([[columnsKey, JSON.stringify(columns)]]))
  const rows = makeData({ type: new Struct(fields), length, nullCount: 0, children })
  return new Batch(schema, rows)
}

function missing(name: string): never {
  assert.fail(`column ${JSON.stringify(name)} is missing from a batch`)
}
