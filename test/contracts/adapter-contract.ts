/** What every BackendAdapter promises, run over a real source that each adapter's test sets up. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { BackendAdapter, Manifest } from '../../src/adapters/adapter.js'
import { compareIds, type RowId } from '../../src/core/id.js'
import type { VectorBatch } from '../../src/core/vector-batch.js'
import { batchRows, currentManifest, never, pullCollection } from '../adapters/pulled-rows.js'

export interface ContractRow {
  readonly id: RowId
  readonly vector: readonly number[]
  /** Metadata column `label`. */
  readonly label: string | null
}

export interface ContractSource {
  readonly adapter: BackendAdapter
  readonly collection: string
  /** Adds rows, as a writer of the source would. */
  add(rows: readonly ContractRow[]): Promise<void>
  /** Makes the current generation unreadable: replaces or deletes what it consists of, until the source forgets it. */
  expire(): Promise<void>
  close(): Promise<void>
}

export interface AdapterContract {
  readonly kind: string
  /** Opens a source that holds these rows; [] is a collection without rows. */
  open(rows: readonly ContractRow[]): Promise<ContractSource>
  /** Words that the reason for not pushing down must contain. */
  readonly pushdownReason: RegExp
  readonly writable: boolean
}

const dimension = 8
/** More rows than one DuckDB chunk, so that pulls have several batches or chunks. */
const rowCount = 20_000

const contractRows = (from: number, count: number): ContractRow[] =>
  Array.from({ length: count }, (_, index) => ({
    id: BigInt(from + index) * 1_000_000_007n,
    vector: Array.from({ length: dimension }, (_, i) => Math.fround(Math.sin((from + index) * dimension + i))),
    label: (from + index) % 7 === 0 ? null : `label ${(from + index) % 5}`,
  }))

export function adapterContract(contract: AdapterContract): void {
  describe(`${contract.kind}: adapter contract`, () => {
    let source: ContractSource
    const rows = contractRows(0, rowCount)
    beforeAll(async () => {
      source = await contract.open(rows)
    })
    afterAll(() => source.close())

    it('lists its collections', async () => {
      const infos = await source.adapter.listCollections({ signal: never() })
      expect(infos.map(({ name }) => name)).toEqual([source.collection])
      expect(infos[0]).toMatchObject({ metric: 'l2', model: null, writable: contract.writable })
      expect(source.adapter.writer !== undefined).toBe(contract.writable)
    })

    it('gives the same generation and manifest while nothing changes', async () => {
      const signal = never()
      const first = await source.adapter.generation(source.collection, { signal })
      expect(await source.adapter.generation(source.collection, { signal })).toBe(first)
      const manifest = await source.adapter.manifest(source.collection, first, { signal })
      expect(manifest.generation).toBe(first)
      expect(await source.adapter.manifest(source.collection, first, { signal })).toEqual(manifest)
      expect(new Set(manifest.parts.map(({ key }) => key)).size).toBe(manifest.parts.length)
    })

    it('describes the collection', async () => {
      const manifest = await currentManifest(source.adapter, source.collection)
      expect(manifest.dimension).toBe(dimension)
      expect(manifest.idColumn).toBe('id')
      expect(manifest.columns).toEqual([{ name: 'label', type: { kind: 'string' } }])
      expect(manifest.readIdentity).not.toBe('')
    })

    it('pulls exactly the rows of the source', async () => {
      const pulled = await pullCollection(source.adapter, source.collection)
      expect(pulled.skipped).toEqual({ nullVector: 0, nullId: 0, badVector: 0 })
      expect(pulled.rows.length).toBe(rowCount)
      const byId = [...pulled.rows].sort((a, b) => compareIds(a.id, b.id))
      for (const [index, row] of byId.entries()) {
        const expected = rows[index]!
        if (row.id !== expected.id || row.metadata.label !== expected.label) expect(row).toMatchObject(expected)
        if (!row.vector.every((value, i) => value === expected.vector[i]))
          expect([...row.vector]).toEqual(expected.vector)
      }
    })

    it('law 3: pulls in ascending source ordinals, the same way each time', async () => {
      const manifest = await currentManifest(source.adapter, source.collection)
      for (const part of manifest.parts) {
        const request = { collection: source.collection, manifest, part }
        const first = await collect(source.adapter.pullVectors(request, { signal: never() }))
        const ordinals = first.flatMap((batch) => [...batch.ordinals])
        expect(ordinals.every((ordinal, index) => index === 0 || ordinal > ordinals[index - 1]!)).toBe(true)
        const second = await collect(source.adapter.pullVectors(request, { signal: never() }))
        expect(ids(second)).toEqual(ids(first))
      }
    })

    it('hands over vectors that no later batch overwrites', async () => {
      const manifest = await currentManifest(source.adapter, source.collection)
      const copies: Float32Array[] = []
      const batches: VectorBatch[] = []
      for (const part of manifest.parts)
        for await (const batch of source.adapter.pullVectors(
          { collection: source.collection, manifest, part },
          { signal: never() },
        )) {
          batches.push(batch)
          copies.push(batch.vectors.slice())
        }
      expect(batches.map(({ vectors }) => vectors)).toEqual(copies)
      for (const batch of batches) {
        expect(batch.vectors.length).toBe(batch.count * batch.dimension)
        expect(batch.ordinals.length).toBe(batch.count)
        expect(batch.ids.length).toBe(batch.count)
        expect(batch.metadata?.numRows).toBe(batch.count)
      }
    })

    it('law 4: a call that was cancelled before it began rejects with the reason', async () => {
      const reason = new Error('stop before the start')
      const signal = AbortSignal.abort(reason)
      const manifest = await currentManifest(source.adapter, source.collection)
      const part = manifest.parts[0]!
      const { adapter, collection } = source
      await expect(adapter.listCollections({ signal })).rejects.toBe(reason)
      await expect(adapter.generation(collection, { signal })).rejects.toBe(reason)
      await expect(adapter.manifest(collection, manifest.generation, { signal })).rejects.toBe(reason)
      await expect(collect(adapter.pullVectors({ collection, manifest, part }, { signal }))).rejects.toBe(reason)
    })

    it('law 4: a pull that is cancelled between batches rejects and never looks like the end', async () => {
      const { adapter, collection } = source
      const manifest = await currentManifest(adapter, collection)
      for (const part of manifest.parts) {
        const controller = new AbortController()
        const reason = new Error('stop in the middle')
        const pull = async () => {
          for await (const _ of adapter.pullVectors({ collection, manifest, part }, { signal: controller.signal }))
            controller.abort(reason)
        }
        await expect(pull()).rejects.toBe(reason)
      }
    })

    it('survives a consumer that stops early', async () => {
      const { adapter, collection } = source
      const manifest = await currentManifest(adapter, collection)
      for (let i = 0; i < 20; i++)
        for await (const batch of adapter.pullVectors(
          { collection, manifest, part: manifest.parts[0]! },
          { signal: never() },
        )) {
          expect(batch.count).toBeGreaterThan(0)
          break
        }
      expect((await pullCollection(adapter, collection)).rows.length).toBe(rowCount)
    })

    it('names a collection that does not exist', async () => {
      const call = source.adapter.generation('no such collection', { signal: never() })
      await expect(call).rejects.toMatchObject({ code: 'LG_COLLECTION_NOT_FOUND' })
      await expect(call).rejects.toThrow(/no such collection/)
    })

    it('refuses a generation it never had', async () => {
      const unknown = 'never-was' as Manifest['generation']
      const call = source.adapter.manifest(source.collection, unknown, { signal: never() })
      await expect(call).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
    })

    it('says why it does not push down', () => {
      const verdict = source.adapter.supportsPushdown({
        collection: source.collection,
        vector: new Float32Array(dimension),
        metric: 'l2',
        k: 10,
        filter: null,
      })
      expect(verdict).toMatchObject({ kind: 'unsupported', reason: expect.stringMatching(contract.pushdownReason) })
    })
  })

  describe(`${contract.kind}: adapter contract, changes`, () => {
    it('an empty collection has no rows and says so', async () => {
      const source = await contract.open([])
      try {
        const pulled = await pullCollection(source.adapter, source.collection)
        expect(pulled.rows).toEqual([])
      } finally {
        await source.close()
      }
    })

    it('new rows make a new generation, and parts that stayed keep their key', async () => {
      const source = await contract.open(contractRows(0, 100))
      try {
        const before = await currentManifest(source.adapter, source.collection)
        await source.add(contractRows(100, 10))
        const after = await currentManifest(source.adapter, source.collection)
        expect(after.generation).not.toBe(before.generation)
        expect(after.readIdentity).toBe(before.readIdentity)
        const keys = after.parts.map(({ key }) => key)
        expect(before.parts.every(({ key }) => keys.includes(key))).toBe(true)
        expect(after.parts.length).toBe(before.parts.length + 1)
        expect((await pullCollection(source.adapter, source.collection)).rows.length).toBe(110)
      } finally {
        await source.close()
      }
    })

    it('law 2: a generation that is gone is refused, by manifest and by pull', async () => {
      const source = await contract.open(contractRows(0, 100))
      try {
        const { adapter, collection } = source
        const manifest = await currentManifest(adapter, collection)
        await source.expire()
        const signal = never()
        const part = manifest.parts[0]!
        const pull = collect(adapter.pullVectors({ collection, manifest, part }, { signal }))
        await expect(pull).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
        const current = await adapter.generation(collection, { signal })
        expect(current).not.toBe(manifest.generation)
      } finally {
        await source.close()
      }
    })
  })
}

async function collect(batches: AsyncIterable<VectorBatch>): Promise<VectorBatch[]> {
  const all: VectorBatch[] = []
  for await (const batch of batches) all.push(batch)
  return all
}

const ids = (batches: readonly VectorBatch[]): RowId[] =>
  batches.flatMap((batch) => batchRows(batch, '').map(({ id }) => id))
