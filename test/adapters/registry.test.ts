import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { adapters, detectKind, isAdapterKind } from '../../src/adapters/registry.js'
import { makeScratch, type Scratch } from './parquet-files-written.js'

describe('kind of a path', () => {
  let scratch: Scratch
  beforeAll(async () => {
    scratch = await makeScratch()
    for (const name of [
      'x.parquet',
      'lake/a/b.parquet',
      'delta/_delta_log/00000000000000000000.json',
      'iceberg/metadata/v1.metadata.json',
      'lance/_versions/1.manifest',
      'plain/metadata/notes.txt',
      'store.rvf',
      'rows.csv',
    ]) {
      await mkdir(dirname(scratch.path(name)), { recursive: true })
      await writeFile(scratch.path(name), '')
    }
  })
  afterAll(() => scratch.remove())

  it.each(['x.parquet', 'lake', 'lake/*/*.parquet', 'plain'])('%s is parquet', async (name) => {
    expect(await detectKind(scratch.path(name))).toBe('parquet')
  })

  it.each([
    ['delta', /a Delta table/],
    ['iceberg', /an Iceberg table/],
    ['lance', /a Lance table/],
    ['store.rvf', /an \.rvf file/],
    ['rows.csv', /a kind that is not known/],
  ])('%s is refused, saying what it is and what is supported', async (name, message) => {
    const call = detectKind(scratch.path(name))
    await expect(call).rejects.toMatchObject({ code: 'LG_UNSUPPORTED' })
    await expect(call).rejects.toThrow(message)
    await expect(call).rejects.toThrow(/supported now: a \.parquet file, a directory or a glob/)
  })

  it('refuses what is neither a file nor a directory, whatever its name', async () => {
    await symlink('/dev/null', scratch.path('device.parquet'))
    await expect(detectKind(scratch.path('device.parquet'))).rejects.toThrow(
      /device\.parquet is neither a file nor a directory; supported now/,
    )
  })

  it('refuses object stores and names a path that is not there', async () => {
    await expect(detectKind('s3://lake/x.parquet')).rejects.toMatchObject({ code: 'LG_UNSUPPORTED' })
    const missing = detectKind(scratch.path('nothing.parquet'))
    await expect(missing).rejects.toMatchObject({
      code: 'LG_SOURCE_UNAVAILABLE',
      message: expect.stringContaining('nothing.parquet'),
    })
  })
})

describe('registry', () => {
  it('opens each kind without I/O', () => {
    for (const [kind, open] of Object.entries(adapters)) {
      expect(isAdapterKind(kind)).toBe(true)
      expect(open({ name: 'n', uri: '/nowhere', options: {} }).id).toBe('n')
    }
    expect(isAdapterKind('toString')).toBe(false)
  })
})
