import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readBundleWitness, writeBundle } from '../../src/cache/bundle.js'
import { seededRandom } from '../../src/core/clock.js'
import { ask, never, openCache } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'
import { randomFile, ScriptedSource } from './scripted-source.js'

const random = seededRandom(29)

test('a published bundle is up to date until the generation changes; without one it is missing', async () => {
  const directory = await scratchDirectory()
  const { cache } = await openCache()
  const source = new ScriptedSource(4)
  source.files.set('a', randomFile('1', 10, 4, random))
  const collection = source.collection()
  const check = () => cache.checkBundle(collection, directory, { signal: never })
  expect(await check()).toBe('bundle-missing')
  await expect(cache.publishBundle(collection, directory, { signal: never, piiPolicy: null })).rejects.toMatchObject({
    code: 'LG_PRIMING',
  })
  await ask(cache, collection, new Float32Array(4))
  await cache.publishBundle(collection, directory, { signal: never, piiPolicy: 'no e-mail' })
  expect(await readdir(directory)).toEqual(['table.rulake.json'])
  expect(await check()).toBe('up-to-date')
  const bundle = JSON.parse(await readFile(join(directory, 'table.rulake.json'), 'utf8')) as Record<string, unknown>
  expect(bundle).toMatchObject({ format_version: 2, data_ref: 'scripted/rows', dim: 4, generation: source.generation })
  expect(bundle.pii_policy).toBe('no e-mail')
  expect(bundle.rvf_witness).toBe(cache.collectionStatistics(collection.ref).witness)
  source.files.set('b', randomFile('1', 10, 4, random, 100n))
  await ask(cache, collection, new Float32Array(4))
  expect(await check()).toBe('invalidated')
})

test('reads what ruLake writes: numbered generations, 64-bit seeds, optional fields', async () => {
  const directory = await scratchDirectory()
  const witness = '9e9219c766b941ffe3a191b4bc9e54edd846b28243a568ac66fe2d0915954418'
  await writeFile(
    join(directory, 'table.rulake.json'),
    `{"format_version":2,"data_ref":"gs://bucket/a.parquet","dim":128,"rotation_seed":42,"rerank_factor":20,"generation":1,
      "rvf_witness":"${witness}","pii_policy":null,"lineage_id":"run 7"}`,
  )
  expect(await readBundleWitness(directory)).toBe(witness)
  const large = (await readFile(join(directory, 'table.rulake.json'), 'utf8')).replace(':42', ':18446744073709551615')
  await writeFile(join(directory, 'table.rulake.json'), large)
  await expect(readBundleWitness(directory)).rejects.toMatchObject({ code: 'LG_CORRUPT', field: 'rvf_witness' })
})

const good = {
  format_version: 2,
  data_ref: 'x',
  dim: 1,
  rotation_seed: 1,
  rerank_factor: 1,
  generation: 'g',
  rvf_witness: 'w',
}
test.each([
  ['not JSON', 'nope', undefined],
  ['not UTF-8', Buffer.of(0xff, 0xfe), undefined],
  ['an array', '[]', undefined],
  ['null', 'null', undefined],
  ['deeply nested', `${'['.repeat(20_000)}`, undefined],
  ['of 65537 bytes', JSON.stringify(good).padEnd(65_537), undefined],
  ['of another version', JSON.stringify({ ...good, format_version: 3 }), 'format_version'],
  ['with a long string', JSON.stringify({ ...good, data_ref: 'x'.repeat(4097) }), 'data_ref'],
  ['with a negative dimension', JSON.stringify({ ...good, dim: -1 }), 'dim'],
  ['with a dimension in text', JSON.stringify({ ...good, dim: '1' }), 'dim'],
  [
    'with a seed past 64 bits',
    JSON.stringify(good).replace('"rotation_seed":1', '"rotation_seed":18446744073709551616'),
    'rotation_seed',
  ],
  ['without a generation', JSON.stringify({ ...good, generation: undefined }), 'generation'],
  ['with a policy that is an object', JSON.stringify({ ...good, pii_policy: {} }), 'pii_policy'],
  ['whose witness is wrong', JSON.stringify(good), 'rvf_witness'],
])('a bundle that is %s is refused', async (_, content, field) => {
  const directory = await scratchDirectory()
  await writeFile(join(directory, 'table.rulake.json'), content)
  await expect(readBundleWitness(directory)).rejects.toMatchObject({ code: 'LG_CORRUPT', field })
})

test('a bundle that cannot be read or written says so', async () => {
  const directory = await scratchDirectory()
  await mkdir(join(directory, 'table.rulake.json'))
  await expect(readBundleWitness(directory)).rejects.toThrow('table.rulake.json')
  const long = { dataRef: 'x'.repeat(4097), dimension: 1, generation: 'g', piiPolicy: null }
  await expect(writeBundle(directory, long, never)).rejects.toMatchObject({ code: 'LG_TOO_LARGE', field: 'data_ref' })
})
