import { mkdir, rm } from 'node:fs/promises'
import { openParquet } from '../../src/adapters/parquet.js'
import { adapterContract, type ContractRow } from '../contracts/adapter-contract.js'
import { makeScratch, writeParquet } from './parquet-files-written.js'

/** Row groups smaller than the file, so that pulls meet their borders. */
async function writeRows(path: string, rows: readonly ContractRow[]): Promise<void> {
  const json = rows.map(
    ({ id, vector, label }) => `{"id":${id},"v":${JSON.stringify(vector)},"label":${JSON.stringify(label)}}`,
  )
  const table = `SELECT unnest(from_json('[${json.join(',')}]', '[{"id":"BIGINT","label":"VARCHAR","v":"FLOAT[]"}]'), recursive := false) AS r`
  await writeParquet(path, `SELECT r.id AS id, r.label AS label, r.v AS v FROM (${table})`, ', ROW_GROUP_SIZE 4096')
}

adapterContract({
  kind: 'parquet',
  writable: false,
  pushdownReason: /no engine/,
  async open(rows) {
    const scratch = await makeScratch()
    const directory = scratch.path('vectors')
    await mkdir(directory)
    let files = 0
    const add = async (more: readonly ContractRow[]) => {
      await writeRows(`${directory}/part-${files++}.parquet`, more)
    }
    if (rows.length > 0) await add(rows)
    return {
      adapter: openParquet({ name: 'source', uri: directory, options: {} }),
      collection: 'vectors',
      add,
      expire: () => rm(`${directory}/part-0.parquet`),
      close: () => scratch.remove(),
    }
  },
})
