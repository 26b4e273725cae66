/** Files that change while they are read, or were never whole. */
import { copyFile, open, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { BackendAdapter, Manifest } from '../../src/adapters/adapter.js'
import { openParquet } from '../../src/adapters/parquet.js'
import { makeScratch, type Scratch, writeParquet } from './parquet-files-written.js'
import { currentManifest, never, pullCollection } from './pulled-rows.js'

/** Enough for a dozen batches of 16,384 rows. */
const rows = 200_000
const version = (tag: number) =>
  `SELECT i AS id, ${tag} AS version, [${tag}::FLOAT, i::FLOAT, 0.5::FLOAT, 1::FLOAT] AS v FROM range(${rows}) t(i)`

describe('a file that changes under a pull', () => {
  let scratch: Scratch
  let path: string
  let other: string
  let adapter: BackendAdapter
  let manifest: Manifest

  beforeAll(async () => {
    scratch = await makeScratch()
    await writeParquet(scratch.path('one.parquet'), version(1))
    await writeParquet(scratch.path('two.parquet'), version(2))
  })
  afterAll(() => scratch.remove())

  beforeEach(async () => {
    path = scratch.path('table.parquet')
    other = scratch.path('next.parquet')
    await copyFile(scratch.path('one.parquet'), path)
    await copyFile(scratch.path('two.parquet'), other)
    adapter = openParquet({ name: 'source', uri: path, options: {} })
    manifest = await currentManifest(adapter)
  })

  /** Pulls the file, running `change` after the first batch; answers the versions that were seen. */
  async function pullDuring(change: () => Promise<void>, seen: Set<number>): Promise<void> {
    const request = { collection: 'table', manifest, part: manifest.parts[0]! }
    let batches = 0
    for await (const batch of adapter.pullVectors(request, { signal: never() })) {
      for (let row = 0; row < batch.count; row++) seen.add(batch.vectors[row * 4]!)
      if (batches++ === 0) await change()
    }
  }

  const changes: readonly (readonly [string, () => Promise<void>])[] = [
    ['replaced by rename', () => rename(other, path)],
    ['overwritten in place', () => copyFile(other, path)],
    ['truncated', async () => truncate(path, (await stat(path)).size / 2)],
    ['deleted', () => rm(path)],
    ['appended to', async () => writeFile(path, 'more', { flag: 'a' })],
  ]

  it.each(changes)(
    'law 2: %s after the first batch: the pull fails as expired and mixed nothing',
    async (_, change) => {
      const seen = new Set<number>()
      await expect(pullDuring(change, seen)).rejects.toMatchObject({
        code: 'LG_GENERATION_EXPIRED',
        message: expect.stringContaining(path),
      })
      expect(seen).toContain(1)
    },
  )

  it('law 2: replaced by rename during the pull never shows a row of the new file', async () => {
    const seen = new Set<number>()
    await expect(pullDuring(() => rename(other, path), seen)).rejects.toThrow()
    expect([...seen]).toEqual([1])
  })

  it.each(changes)('law 2: %s between manifest and pull: nothing is delivered', async (_, change) => {
    await change()
    const seen = new Set<number>()
    await expect(pullDuring(async () => undefined, seen)).rejects.toMatchObject({ code: 'LG_GENERATION_EXPIRED' })
    expect(seen.size).toBe(0)
  })

  it('the same file again, after a rename away and back, is another part', async () => {
    await rename(path, scratch.path('away'))
    await rename(scratch.path('away'), path)
    const part = (await currentManifest(adapter)).parts[0]!
    expect(part.key).not.toBe(manifest.parts[0]!.key)
  })

  it('law 4: an abort while DuckDB reads rejects with the reason', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const request = { collection: 'table', manifest, part: manifest.parts[0]! }
    const iterator = adapter.pullVectors(request, { signal: controller.signal })[Symbol.asyncIterator]()
    const first = iterator.next()
    controller.abort(reason)
    await expect(first).rejects.toBe(reason)
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
  })
})

describe('a file that was never whole', () => {
  let scratch: Scratch
  beforeAll(async () => {
    scratch = await makeScratch()
    await writeParquet(
      scratch.path('whole.parquet'),
      `SELECT i AS id, [i::FLOAT, 1::FLOAT] AS v FROM range(50000) t(i)`,
    )
  })
  afterAll(() => scratch.remove())

  it.each([
    ['truncated', async (path: string) => truncate(path, 1000)],
    ['empty', async (path: string) => truncate(path, 0)],
    ['not Parquet', async (path: string) => writeFile(path, 'x'.repeat(4096))],
    ['damaged in its data', damage],
  ] as const)('law 10: %s: LG_CORRUPT naming the file, without a foreign stack', async (name, spoil) => {
    const path = scratch.path(`${name}.parquet`)
    await copyFile(scratch.path('whole.parquet'), path)
    await spoil(path)
    // A glob: of a single file the listing would already say that it is no Parquet file.
    const pull = pullCollection(openParquet({ name: 'source', uri: path.replace(/t$/, '[t]'), options: {} }))
    await expect(pull).rejects.toMatchObject({ code: 'LG_CORRUPT', message: expect.stringContaining(path) })
    await expect(pull).rejects.toThrow(/^[^\n]+$/)
  })
})

/** Overwrites page headers near the start, leaving the footer whole. */
async function damage(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.write(Buffer.alloc(2000, 0xff), 0, 2000, 4)
  } finally {
    await file.close()
  }
}
