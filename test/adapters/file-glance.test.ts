/** A glance may only say "unchanged" where a listing would; it may always say nothing. */
import { mkdir, rename, utimes } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openParquet } from '../../src/adapters/parquet.js'
import { generation } from '../../src/core/generation.js'
import { makeScratch, type Scratch, writeParquet } from './parquet-files-written.js'

const call = { signal: new AbortController().signal }
const onLinux = process.platform === 'linux'

describe('isStill', () => {
  let scratch: Scratch
  beforeAll(async () => {
    scratch = await makeScratch()
  })
  afterAll(() => scratch.remove())

  const write = (name: string, from: number) =>
    writeParquet(scratch.path(name), `SELECT range AS id, [range, 1]::FLOAT[] AS v FROM range(${from}, ${from + 3})`)
  const open = (uri: string) => openParquet({ name: 's', uri, options: { collection: 'c' } })

  it('is true for one local file that is as it was listed, and only for that generation', async () => {
    await write('a.parquet', 0)
    const source = open(scratch.path('a.parquet'))
    expect(source.isStill!('c', generation('g'))).toBe(false)
    const listed = await source.generation('c', call)
    expect(source.isStill!('c', listed)).toBe(onLinux)
    expect(source.isStill!('c', generation('g'))).toBe(false)
    expect(source.isStill!('d', listed)).toBe(false)
  })

  it.each([
    ['rewritten in place', (path: string) => utimes(path, 1, 1)],
    [
      'replaced by another of its size',
      async (path: string) => {
        await write('other.parquet', 10)
        await rename(scratch.path('other.parquet'), path)
      },
    ],
    ['gone', (path: string) => rename(path, `${path}.bak`)],
  ])('is false once the file was %s', async (_, change) => {
    await write('b.parquet', 0)
    const path = scratch.path('b.parquet')
    const source = open(path)
    const listed = await source.generation('c', call)
    await change(path)
    expect(source.isStill!('c', listed)).toBe(false)
  })

  it('says nothing of a directory', async () => {
    await mkdir(scratch.path('d'))
    await write('d/a.parquet', 0)
    const source = open(dirname(scratch.path('d/a.parquet')))
    expect(source.isStill!('c', await source.generation('c', call))).toBe(false)
  })
})
