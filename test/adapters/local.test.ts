/** The writable source: RVF's counting, replacement, snapshots, metadata without a schema. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { BackendAdapter, CollectionWriter, Manifest } from '../../src/adapters/adapter.js'
import { openLocal } from '../../src/adapters/local.js'
import { compareIds, type RowId } from '../../src/core/id.js'
import { batchRows, currentManifest, never, pullCollection } from './pulled-rows.js'

const signal = never()

async function openStore(dimension: number): Promise<{ adapter: BackendAdapter; writer: CollectionWriter }> {
  const adapter = openLocal({ name: 'local', uri: null, options: {} })
  const writer = adapter.writer!
  await writer.create('default', { dimension, metric: 'l2', model: null })
  return { adapter, writer }
}

function upsert(
  writer: CollectionWriter,
  rows: readonly (readonly [RowId, readonly number[]])[],
  metadata: readonly Record<string, unknown>[] | null = null,
) {
  const dimension = rows[0]?.[1].length ?? 0
  const vectors = Float32Array.from(rows.flatMap(([, vector]) => vector))
  return writer.upsert({ collection: 'default', ids: rows.map(([id]) => id), vectors, dimension, metadata }, { signal })
}

/** id → first element, as a manifest's parts and masks say. */
async function rowsAt(adapter: BackendAdapter, manifest: Manifest): Promise<Map<RowId, number>> {
  const rows: [RowId, number][] = []
  for (const part of manifest.parts) {
    const deleted = new Set(part.deleted?.ordinals)
    for await (const batch of adapter.pullVectors({ collection: 'default', manifest, part }, { signal }))
      for (const row of batchRows(batch, part.name)) if (!deleted.has(row.ordinal)) rows.push([row.id, row.vector[0]!])
  }
  const map = new Map(rows.sort(([a], [b]) => compareIds(a, b)))
  expect(map.size, 'an id is live in one place').toBe(rows.length)
  return map
}

describe('local: counting as RVF does', () => {
  it('repeats the recorded exchanges of a real server', async () => {
    const { writer } = await openStore(4)
    const max = 18446744073709551615n
    expect(
      await upsert(writer, [
        [1n, [0, 0, 0, 0]],
        [2n, [1, 0, 0, 0]],
        [3n, [0, 2, 0, 0]],
        [4n, [0, 0, 3, 0]],
        [max, [1, 1, 1, 1]],
      ]),
    ).toEqual({ accepted: 5, rejected: 0, epoch: 1 })
    expect(await upsert(writer, [[9n, [1, 2]]])).toEqual({ accepted: 0, rejected: 1, epoch: 2 })
    expect(await upsert(writer, [])).toEqual({ accepted: 0, rejected: 0, epoch: 3 })
    expect(await upsert(writer, [[2n, [5, 5, 5, 5]]])).toEqual({ accepted: 1, rejected: 0, epoch: 4 })
    expect(await upsert(writer, [[70n, [7, 7, 7, 7]]], [{ f1: 'x' }])).toEqual({ accepted: 1, rejected: 0, epoch: 5 })
    expect(await writer.delete('default', [3n], { signal })).toEqual({ deleted: 1, epoch: 6 })
    expect(await writer.delete('default', [3n], { signal })).toEqual({ deleted: 0, epoch: 7 })
    expect(await writer.delete('default', [999n], { signal })).toEqual({ deleted: 0, epoch: 8 })
  })

  it('counts writes of nothing before the collection exists', async () => {
    const writer = openLocal({ name: 'local', uri: null, options: {} }).writer!
    expect(await upsert(writer, [])).toEqual({ accepted: 0, rejected: 0, epoch: 1 })
    expect(await writer.delete('default', [1n], { signal })).toEqual({ deleted: 0, epoch: 2 })
    await expect(upsert(writer, [[1n, [1]]])).rejects.toMatchObject({ code: 'LG_COLLECTION_NOT_FOUND' })
  })

  it('rejects rows with values that are not finite, and keeps the others', async () => {
    const { adapter, writer } = await openStore(1)
    const written = await upsert(writer, [
      [1n, [1]],
      [2n, [Number.NaN]],
      [3n, [Number.POSITIVE_INFINITY]],
    ])
    expect(written).toEqual({ accepted: 1, rejected: 2, epoch: 1 })
    expect((await pullCollection(adapter)).rows.map(({ id }) => id)).toEqual([1n])
  })

  it('a write that changes nothing keeps the generation', async () => {
    const { adapter, writer } = await openStore(1)
    const before = await adapter.generation('default', { signal })
    await upsert(writer, [])
    await upsert(writer, [[1n, [1, 2]]])
    await writer.delete('default', [5n], { signal })
    expect(await adapter.generation('default', { signal })).toBe(before)
  })

  it('integer and string ids of the same digits are different rows', async () => {
    const { adapter, writer } = await openStore(1)
    await upsert(writer, [
      [5n, [1]],
      ['5', [2]],
    ])
    expect((await pullCollection(adapter)).rows.length).toBe(2)
  })

  it.each([
    ['ids', { ids: [2n ** 64n], vectors: new Float32Array(1), dimension: 1, metadata: null }],
    ['ids', { ids: ['x'.repeat(5000)], vectors: new Float32Array(1), dimension: 1, metadata: null }],
    ['vectors', { ids: [1n], vectors: new Float32Array(3), dimension: 1, metadata: null }],
    ['metadata', { ids: [1n], vectors: new Float32Array(1), dimension: 1, metadata: [] }],
  ])('refuses a malformed write, naming %s', async (field, request) => {
    const { writer } = await openStore(1)
    await expect(writer.upsert({ collection: 'default', ...request }, { signal })).rejects.toMatchObject({
      code: 'LG_INVALID_REQUEST',
      field,
    })
  })

  it('create is idempotent and refuses another dimension or metric', async () => {
    const { writer } = await openStore(3)
    await writer.create('default', { dimension: 3, metric: 'l2', model: null })
    for (const other of [
      { dimension: 4, metric: 'l2', model: null },
      { dimension: 3, metric: 'dot', model: null },
    ] as const)
      await expect(writer.create('default', other)).rejects.toMatchObject({ code: 'LG_CONFLICT' })
    await expect(writer.create('huge', { dimension: 0, metric: 'l2', model: null })).rejects.toMatchObject({
      code: 'LG_INVALID_REQUEST',
    })
  })
})

describe('local: snapshots', () => {
  it('law 7 and 12: every held generation is exactly the writes up to it, through replacements, deletes and merges', async () => {
    const id = fc.oneof(fc.bigInt({ min: 0n, max: 300n }), fc.constantFrom('a', 'b', 'c'))
    const step = fc.oneof(
      fc.record({ put: fc.array(id, { minLength: 1, maxLength: 12 }) }),
      fc.record({ cut: fc.array(id, { minLength: 1, maxLength: 10 }) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }), async (steps) => {
        const { adapter, writer } = await openStore(1)
        const model = new Map<RowId, number>()
        const held: { manifest: Manifest; rows: Map<RowId, number> }[] = []
        let value = 0
        for (const change of steps) {
          if ('put' in change) {
            const rows = change.put.map((key) => [key, value++] as const)
            await upsert(
              writer,
              rows.map(([key, x]) => [key, [x]]),
            )
            for (const [key, x] of rows) model.set(key, x)
          } else {
            const expected = new Set(change.cut.filter((key) => model.has(key))).size
            expect((await writer.delete('default', change.cut, { signal })).deleted).toBe(expected)
            for (const key of change.cut) model.delete(key)
          }
          const rows = new Map([...model].sort(([a], [b]) => compareIds(a, b)))
          held.push({ manifest: await currentManifest(adapter, 'default'), rows })
        }
        for (const { manifest, rows } of held.slice(-30)) {
          const again = await adapter.manifest('default', manifest.generation, { signal })
          expect(again).toEqual(manifest)
          expect(await rowsAt(adapter, again)).toEqual(rows)
        }
      }),
      { numRuns: 40 },
    )
  })

  it('many small writes stay few parts', async () => {
    const { adapter, writer } = await openStore(1)
    for (let i = 0; i < 2000; i++) await upsert(writer, [[BigInt(i), [i]]])
    const manifest = await currentManifest(adapter)
    expect(manifest.parts.length).toBeLessThan(40)
    expect((await rowsAt(adapter, manifest)).size).toBe(2000)
  })

  it('part keys of two processes never meet', async () => {
    const keys = []
    for (let i = 0; i < 2; i++) {
      const { adapter, writer } = await openStore(1)
      await upsert(writer, [[1n, [1]]])
      keys.push((await currentManifest(adapter)).parts[0]!.key)
    }
    expect(keys[0]).not.toBe(keys[1])
  })
})

describe('local: metadata', () => {
  it('finds types, widens them, and keeps what does not join as JSON', async () => {
    const { adapter, writer } = await openStore(1)
    await upsert(
      writer,
      [
        [1n, [1]],
        [2n, [2]],
      ],
      [
        { n: 1, big: 2n ** 63n, s: 'x', b: true, tags: ['a', null], mixed: 1, o: { k: 2n ** 60n }, none: [] },
        { n: null, s: null, __proto__x: 'y' },
      ],
    )
    await upsert(writer, [[3n, [3]]], [{ n: 0.5, mixed: 'text', tags: [] }])
    const { manifest, rows } = await pullCollection(adapter)
    expect(Object.fromEntries(manifest.columns.map(({ name, type }) => [name, type]))).toEqual({
      n: { kind: 'float' },
      big: { kind: 'int' },
      s: { kind: 'string' },
      b: { kind: 'bool' },
      tags: { kind: 'list', element: { kind: 'string' } },
      mixed: { kind: 'json' },
      o: { kind: 'json' },
      none: { kind: 'list', element: { kind: 'string' } },
      __proto__x: { kind: 'string' },
    })
    const byId = new Map(rows.map(({ id, metadata }) => [id, metadata]))
    expect(byId.get(1n)).toMatchObject({
      n: 1,
      big: 2n ** 63n,
      s: 'x',
      b: true,
      mixed: '1',
      o: '{"k":1152921504606846976}',
    })
    expect(byId.get(2n)).toMatchObject({ n: null, s: null, mixed: null, __proto__x: 'y' })
    expect(byId.get(3n)).toMatchObject({ n: 0.5, mixed: '"text"', s: null })
    expect([...(byId.get(1n)!.tags as Iterable<unknown>)]).toEqual(['a', null])
  })
})
