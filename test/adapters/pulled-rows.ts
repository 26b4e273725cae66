/** A whole collection as plain rows, for oracles. */
import type { BackendAdapter, Manifest } from '../../src/adapters/adapter.js'
import { compareIds, type RowId } from '../../src/core/id.js'
import { distance, type Metric } from '../../src/core/metric.js'
import type { VectorBatch } from '../../src/core/vector-batch.js'

export interface PulledRow {
  readonly id: RowId
  readonly part: string
  readonly ordinal: number
  readonly vector: Float32Array
  readonly metadata: Readonly<Record<string, unknown>>
}

export interface PulledCollection {
  readonly manifest: Manifest
  readonly rows: readonly PulledRow[]
  readonly skipped: { readonly nullVector: number; readonly nullId: number; readonly badVector: number }
}

export const never = (): AbortSignal => new AbortController().signal

export async function currentManifest(adapter: BackendAdapter, collection?: string): Promise<Manifest> {
  const signal = never()
  const name = collection ?? (await adapter.listCollections({ signal }))[0]!.name
  return await adapter.manifest(name, await adapter.generation(name, { signal }), { signal })
}

/** Pulls every part and leaves out the rows that masks delete. */
export async function pullCollection(adapter: BackendAdapter, collection?: string): Promise<PulledCollection> {
  const signal = never()
  const name = collection ?? (await adapter.listCollections({ signal }))[0]!.name
  const manifest = await currentManifest(adapter, name)
  const rows: PulledRow[] = []
  const skipped = { nullVector: 0, nullId: 0, badVector: 0 }
  for (const part of manifest.parts) {
    const deleted = new Set(part.deleted?.ordinals)
    for await (const batch of adapter.pullVectors({ collection: name, manifest, part }, { signal })) {
      skipped.nullVector += batch.skipped.nullVector
      skipped.nullId += batch.skipped.nullId
      skipped.badVector += batch.skipped.badVector
      for (const row of batchRows(batch, part.name)) if (!deleted.has(row.ordinal)) rows.push(row)
    }
  }
  return { manifest, rows, skipped }
}

export function batchRows(batch: VectorBatch, part: string): PulledRow[] {
  return Array.from({ length: batch.count }, (_, i) => ({
    id: batch.ids[i]!,
    part,
    ordinal: batch.ordinals[i]!,
    vector: batch.vectors.subarray(i * batch.dimension, (i + 1) * batch.dimension),
    metadata: batch.metadata?.get(i)?.toJSON() ?? {},
  }))
}

export function nearest(rows: readonly PulledRow[], metric: Metric, query: Float32Array, k: number) {
  return rows
    .map(({ id, vector }) => ({ id, distance: distance(metric, query, vector) }))
    .sort((a, b) => a.distance - b.distance || compareIds(a.id, b.id))
    .slice(0, k)
}
