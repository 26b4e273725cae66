import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { writeParquet } from '../adapters/parquet-files-written.js'
import { scratchDirectory } from '../cache/scratch-directory.js'
import { realGateway } from './real-gateway.js'
import { testServer } from './test-server.js'

async function openServer() {
  const real = await realGateway()
  const app = testServer(real.gateway)
  onTestFinished(async () => {
    await app.close()
    await real.close()
  })
  return app
}

const writeRows = (path: string, from: number) =>
  writeParquet(path, `SELECT range AS id, [range, 1]::FLOAT[] AS v FROM range(${from}, ${from + 3})`)

test.each([
  ['a directory', (directory: string) => directory],
  ['a file', (directory: string) => join(directory, 'a.parquet')],
  ['a glob', (directory: string) => join(directory, '*.parquet')],
])('a bundle is published beside %s and watched', async (_, uriIn) => {
  const directory = await scratchDirectory()
  await writeRows(join(directory, 'a.parquet'), 0)
  const app = await openServer()
  await app.inject({
    method: 'POST',
    url: '/v1/sources',
    payload: { name: 's', uri: uriIn(directory), collection: 'c', pii_policy: 'no e-mail' },
  })
  const url = '/v1/collections/s/c/bundle'
  const watch = async () => (await app.inject(url)).json()
  expect(await watch()).toEqual({ verdict: 'BundleMissing' })

  const published = await app.inject({ method: 'POST', url })
  expect(published.statusCode).toBe(200)
  const { generation, witness } = (await app.inject('/v1/collections/s/c')).json()
  expect(published.json()).toEqual({ generation, witness })
  expect(await readdir(directory)).toEqual(['a.parquet', 'table.rulake.json'])
  expect(JSON.parse(await readFile(join(directory, 'table.rulake.json'), 'utf8'))).toMatchObject({
    pii_policy: 'no e-mail',
  })
  expect(await watch()).toEqual({ verdict: 'UpToDate' })

  await writeRows(join(directory, 'a.parquet'), 10)
  expect((await app.inject({ method: 'POST', url: '/v1/collections/s/c/refresh' })).json()).toMatchObject({
    changed: true,
  })
  expect(await watch()).toEqual({ verdict: 'Invalidated' })
  await app.inject({ method: 'POST', url })
  expect(await watch()).toEqual({ verdict: 'UpToDate' })

  await rm(join(directory, 'table.rulake.json'))
  expect(await watch()).toEqual({ verdict: 'BundleMissing' })
})

test('a source without a directory is refused, an unknown collection is not found', async () => {
  const app = await openServer()
  await app.inject({ method: 'POST', url: '/v1/ingest', payload: { vectors: [[1, 2]], ids: [1] } })
  for (const method of ['GET', 'POST'] as const) {
    expect((await app.inject({ method, url: '/v1/collections/local/default/bundle' })).json()).toMatchObject({
      lg_code: 'LG_UNSUPPORTED',
      field: 'collection',
    })
    expect((await app.inject({ method, url: '/v1/collections/local/none/bundle' })).statusCode).toBe(404)
  }
})
