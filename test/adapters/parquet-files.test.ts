/** Which files a path, a directory or a glob stands for. */
import { copyFile, mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openParquet } from '../../src/adapters/parquet.js'
import { listFiles, nameOfUri } from '../../src/adapters/parquet-files.js'
import { makeScratch, type Scratch, writeParquet } from './parquet-files-written.js'
import { never, pullCollection } from './pulled-rows.js'

describe('listing files', () => {
  let scratch: Scratch
  beforeEach(async () => {
    scratch = await makeScratch()
  })
  afterEach(() => scratch.remove())

  async function touch(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      await mkdir(dirname(scratch.path(name)), { recursive: true })
      await writeFile(scratch.path(name), name)
    }
  }

  const list = (uri: string) => listFiles(uri, { signal: never() })
  const names = async (uri: string) => (await list(uri)).files.map(({ name }) => name)

  it('a directory is everything below it, without markers, hidden files and other kinds', async () => {
    await touch('a.parquet', 'b/c.parquet', 'b/d.PARQUET', '_SUCCESS', '.x.parquet', '_y.parquet', 'z.csv')
    await touch('_temporary/t.parquet', '.git/g.parquet', 'b/.a.parquet.crc', '_key=1/k.parquet')
    expect(await names(scratch.path(''))).toEqual(['_key=1/k.parquet', 'a.parquet', 'b/c.parquet', 'b/d.PARQUET'])
  })

  it.each([
    ['*.parquet', ['a.parquet', 'b.parquet']],
    ['?.parquet', ['a.parquet', 'b.parquet']],
    ['[!a].parquet', ['b.parquet']],
    ['{a,z}.parquet', ['a.parquet']],
    ['*/*.parquet', ['x/c.parquet', 'y/a.parquet']],
    ['**/a.parquet', ['a.parquet', 'y/a.parquet', 'y/z/a.parquet']],
    ['**', ['a.parquet', 'b.parquet', 'x/c.parquet', 'y/a.parquet', 'y/z/a.parquet']],
    ['y/**/*.parquet', ['a.parquet', 'z/a.parquet']],
    ['a.par*', ['a.parquet']],
    ['nothing*', []],
  ])('glob %s', async (glob, expected) => {
    await touch('a.parquet', 'b.parquet', 'x/c.parquet', 'y/a.parquet', 'y/z/a.parquet', 'a.csv')
    expect(await names(scratch.path(glob))).toEqual(expected)
  })

  it('reads a path with quotes and glob characters literally', async () => {
    const odd = scratch.path(`it's [1] {a,b} * "?"`)
    await mkdir(odd)
    await writeParquet(scratch.path('plain.parquet'), 'SELECT 1 AS id, [1::FLOAT, 2::FLOAT] AS v')
    await copyFile(scratch.path('plain.parquet'), `${odd}/[x]*.parquet`)
    await writeFile(`${odd}/x.txt`, 'not parquet')
    const pulled = await pullCollection(openParquet({ name: 'source', uri: `${odd}/[x]*.parquet`, options: {} }))
    expect(pulled.rows.map(({ id }) => id)).toEqual([1n])
    expect((await pullCollection(openParquet({ name: 'source', uri: odd, options: {} }))).rows.length).toBe(1)
  })

  it('ends in a loop of symbolic links and lists each directory once', async () => {
    await touch('a/one.parquet', 'b/two.parquet')
    await symlink('..', scratch.path('a/up'))
    await symlink('../b', scratch.path('a/b-again'))
    expect(await names(scratch.path(''))).toEqual(['a/b-again/two.parquet', 'a/one.parquet'])
  })

  it.each([
    ['a link to nothing', 'missing'],
    ['a link to itself', 'bad.parquet'],
  ])('%s makes the listing fail, not shorter', async (_, target) => {
    await touch('good.parquet')
    await symlink(target, scratch.path('bad.parquet'))
    const listing = list(scratch.path(''))
    await expect(listing).rejects.toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
    await expect(listing).rejects.toThrow(/bad\.parquet/)
  })

  it.each(['missing.parquet', 'missing/', 'missing/*.parquet'])(
    'a path that is not there is named: %s',
    async (path) => {
      const call = openParquet({ name: 'source', uri: scratch.path(path), options: {} }).listCollections({
        signal: never(),
      })
      await expect(call).rejects.toMatchObject({ code: 'LG_SOURCE_UNAVAILABLE' })
      await expect(call).rejects.toThrow(/missing/)
    },
  )

  it('opening and listing read no file', async () => {
    await touch('garbage.parquet')
    const adapter = openParquet({ name: 'source', uri: scratch.path(''), options: { collection: 'c' } })
    const signal = never()
    expect((await adapter.listCollections({ signal })).map(({ name }) => name)).toEqual(['c'])
    const generation = await adapter.generation('c', { signal })
    await expect(adapter.manifest('c', generation, { signal })).rejects.toMatchObject({ code: 'LG_CORRUPT' })
  })

  it('the generation follows every change, and other files keep their keys', async () => {
    await touch('a.parquet', 'b.parquet')
    const seen = [await list(scratch.path(''))]
    const steps: readonly (() => Promise<void>)[] = [
      () => touch('c.parquet'),
      () => rm(scratch.path('c.parquet')),
      () => writeFile(scratch.path('b.parquet'), 'B.parquet'),
      () => utimes(scratch.path('b.parquet'), 1, 1),
      () => rename(scratch.path('b.parquet'), scratch.path('d.parquet')),
    ]
    for (const step of steps) {
      await step()
      seen.push(await list(scratch.path('')))
    }
    const generations = seen.map(({ generation }) => generation)
    expect(generations[2]).toBe(generations[0]) // c came and went
    expect(new Set(generations).size).toBe(generations.length - 1)
    expect(new Set(seen.map(({ files }) => files[0]!.key)).size).toBe(1)
  })

  it('partition columns are spelled by directories', async () => {
    await touch('year=2024/lang=a%2Fb%20c%3Dd%25/x.parquet', 'year=__HIVE_DEFAULT_PARTITION__/100%/x.parquet')
    const { files } = await list(scratch.path(''))
    expect(files.map(({ partition }) => Object.fromEntries(partition))).toEqual([
      { year: '2024', lang: 'a/b c=d%' },
      { year: null },
    ])
  })

  it('names a directory that looks like a glob after itself, and a glob alone after where it is', async () => {
    await mkdir(scratch.path('we[i]rd'), { recursive: true })
    expect(nameOfUri(scratch.path('we[i]rd'))).toBe('we[i]rd')
    expect(nameOfUri('*.parquet')).toBe(basename(process.cwd()))
  })

  it.each([
    ['/data/packages.parquet', 'packages'],
    ['/data/lake/', 'lake'],
    ['/data/lake/*.parquet', 'lake'],
    ['/data/my.vectors.parquet', 'my.vectors'],
    ['/data/lake/**/x-*.parquet', 'lake'],
  ])('names %s "%s"', (uri, name) => {
    expect(nameOfUri(uri)).toBe(name)
  })
})

describe('a single file that is no Parquet file', () => {
  let scratch: Scratch
  beforeEach(async () => {
    scratch = await makeScratch()
  })
  afterEach(() => scratch.remove())

  it.each([
    ['text', Buffer.from('id,embedding\n1,"[0,1]"\n')],
    ['nothing', Buffer.alloc(0)],
    ['only the marks', Buffer.from('PAR1PAR1')],
    ['cut off', Buffer.from('PAR1 and then nothing more')],
    ['without its beginning', Buffer.from('and then nothing more PAR1')],
  ])('is refused when the source is listed: %s', async (_what, bytes) => {
    const path = scratch.path('rows.parquet')
    await writeFile(path, bytes)
    const adapter = openParquet({ name: 'rows', uri: path, options: {} })
    await expect(adapter.listCollections({ signal: never() })).rejects.toMatchObject({
      code: 'LG_UNSUPPORTED',
      field: 'uri',
      message: expect.stringContaining(`${path} of ${bytes.length} bytes`),
    })
  })

  it('is left to the first query inside a directory, which is not read when it is listed', async () => {
    await writeFile(scratch.path('rows.parquet'), 'text')
    const adapter = openParquet({ name: 'rows', uri: scratch.path(''), options: {} })
    expect(await adapter.listCollections({ signal: never() })).toHaveLength(1)
  })
})
