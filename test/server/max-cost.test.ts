/** max_cost from a request to a source's own estimate and back. */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { BackendAdapter, Cost } from '../../src/adapters/adapter.js'
import { openLocal } from '../../src/adapters/local.js'
import { GatewayError } from '../../src/core/errors.js'
import type { SourceConfig } from '../../src/federation/gateway.js'
import { writeGeneratedParquet } from '../generated-parquet.js'
import { realGateway } from './real-gateway.js'
import { testServer } from './test-server.js'

const { signal } = new AbortController()

/** What the next estimates of the source `warehouse` say. */
let estimate: () => Promise<Cost>
let estimates: number
let app: FastifyInstance
let addSource: (name: string, kind: string, uri: string | null) => Promise<unknown>
let close: () => Promise<void>

/** A source that would charge for being pulled, as a warehouse does: two rows behind an estimate. */
async function openWarehouse(config: SourceConfig): Promise<BackendAdapter> {
  const inner = openLocal(config)
  await inner.writer!.create('docs', { dimension: 2, metric: 'l2', model: null })
  const vectors = Float32Array.of(0, 0, 3, 4)
  await inner.writer!.upsert({ collection: 'docs', ids: [1n, 2n], vectors, dimension: 2, metadata: null }, { signal })
  return Object.assign(Object.create(inner) as BackendAdapter, {
    estimate: async (collection: string) => {
      expect(collection).toBe('docs')
      estimates += 1
      return estimate()
    },
  })
}

beforeEach(async () => {
  const real = await realGateway({ warehouse: openWarehouse })
  estimate = async () => ({ bytes: 5_000_000_000 })
  estimates = 0
  app = testServer(real.gateway)
  addSource = (name, kind, uri) => real.gateway.addSource({ name, kind, uri, options: {} }, { signal })
  close = async () => {
    await app.close()
    await real.close()
  }
  await addSource('wh', 'warehouse', null)
})
afterEach(() => close())

const ask = (fields: object) =>
  app.inject({
    method: 'POST',
    url: '/v1/query',
    payload: { vector: [0, 0], k: 1, collections: ['wh/docs'], ...fields },
  })

describe('max_cost', () => {
  test('refuses a first pull that is estimated to read more, with the numbers, before anything is read', async () => {
    const refused = await ask({ max_cost: { bytes: 4_999_999_999 } })
    expect(refused.statusCode).toBe(413)
    expect(refused.json()).toMatchObject({
      lg_code: 'LG_TOO_LARGE',
      field: 'max_cost.bytes',
      error: expect.stringMatching(/at most 4999999999.* 5000000000 bytes \(wh\/docs 5000000000\)/),
    })
    const { collections } = (await app.inject('/v1/collections')).json() as { collections: { state: string }[] }
    expect(collections).toMatchObject([{ backend: 'wh', state: 'cold' }])
  })

  test('lets through what costs no more; what is in memory costs nothing, and is not estimated again', async () => {
    expect((await ask({ max_cost: { bytes: 5_000_000_000 } })).json().results).toMatchObject([{ id: 1, distance: 0 }])
    expect(estimates).toBe(1)
    expect((await ask({ max_cost: { bytes: 0 } })).json().results).toHaveLength(1)
    expect(estimates).toBe(1)
  })

  test('without it nothing is estimated', async () => {
    expect((await ask({})).statusCode).toBe(200)
    expect(estimates).toBe(0)
  })

  test('an estimate that fails refuses the query: nobody could say what it would cost', async () => {
    estimate = () => Promise.reject(new GatewayError('LG_SOURCE_UNAVAILABLE', 'wh: the dry run failed'))
    const refused = await ask({ max_cost: { bytes: 5_000_000_000 } })
    expect(refused.statusCode).toBe(503)
    expect(refused.json()).toMatchObject({ error: 'wh: the dry run failed' })
  })

  test('counts the collection of a row too, and the sizes of files', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'lakegate-cost-'))
    try {
      const path = join(directory, 'rows.parquet')
      await writeGeneratedParquet(path, { rows: 100, dimension: 2 })
      const fileBytes = statSync(path).size
      await addSource('files', 'parquet', path)
      const ofBoth = { collections: ['files/rows'], vector: undefined, row: { collection: 'wh/docs', id: 1 } }
      estimate = async () => ({ bytes: 1000 })
      const refused = await ask({ ...ofBoth, max_cost: { bytes: 999 + fileBytes } })
      expect(refused.statusCode).toBe(413)
      expect(refused.json().error).toContain(
        `an estimated ${1000 + fileBytes} bytes (files/rows ${fileBytes}, wh/docs 1000)`,
      )
      expect((await ask({ ...ofBoth, max_cost: { bytes: 1000 + fileBytes } })).statusCode).toBe(200)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })
})
