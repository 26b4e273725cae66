import { copyFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listFiles, type ParquetFile } from '../../src/adapters/parquet-files.js'
import { readFooters } from '../../src/adapters/parquet-footer.js'
import { makeScratch, runDuckDB, type Scratch } from './parquet-files-written.js'
import { never } from './pulled-rows.js'

/** Pairs whose columns have one name and two types, some told apart by the logical type alone. */
const queries = [
  "SELECT 1::BIGINT AS id, [1, 2]::FLOAT[] AS v, TIMESTAMP '2020-01-01' AS at FROM range(3)",
  "SELECT 1::BIGINT AS id, [1, 2]::FLOAT[] AS v, TIMESTAMPTZ '2020-01-01 00:00:00+00' AS at FROM range(5)",
  "SELECT 1::UBIGINT AS id, [1, 2]::FLOAT[] AS v, TIMESTAMP '2020-01-01' AS at FROM range(3)",
  'SELECT 1::DECIMAL(18, 2) AS id, [1, 2]::DOUBLE[] AS v',
  'SELECT 1::DECIMAL(18, 3) AS id, [1, 2]::DOUBLE[] AS v',
  "SELECT {'a': 1, 'b': [{'c': 'x'}]} AS id",
  "SELECT {'a': 1, 'b': [{'d': 'x'}]} AS id",
  "SELECT 'a' AS id, '\\x01'::BLOB AS v FROM range(0)",
]

let scratch: Scratch
let files: readonly ParquetFile[]
beforeAll(async () => {
  scratch = await makeScratch()
  const names = [...queries.keys()].map((i) => scratch.path(`some [${i}] {it's} *.parquet`))
  await runDuckDB(
    ...queries.map((query, i) => `COPY (${query}) TO '${names[i]!.replaceAll("'", "''")}' (FORMAT parquet)`),
  )
  // More than one query's worth, so that files of every kind meet.
  for (let i = 0; i < 300; i++) await copyFile(names[i % names.length]!, scratch.path(`copy ${i}.parquet`))
  files = (await listFiles(scratch.path(''), { signal: never() })).files
})
afterAll(() => scratch.remove())

const readOne = async (file: ParquetFile) => (await readFooters([file], { signal: never() }))[0]!

describe('the footers of many files', () => {
  it('are what each file by itself says', async () => {
    const together = await readFooters(files, { signal: never() })
    expect(together.length).toBe(308)
    const texts = new Set<string>()
    for (const [index, file] of files.entries()) {
      const { columns, rows } = together[index]!
      const alone = await readOne(file)
      expect(rows).toBe(alone.rows)
      const text = [...columns].map(([name, type]) => `${name} ${type}`).join(', ')
      expect(text).toBe([...alone.columns].map(([name, type]) => `${name} ${type}`).join(', '))
      texts.add(text)
    }
    expect(texts.size).toBe(queries.length)
  })

  it('name the one file that is broken', async () => {
    const path = scratch.path('copy 77.parquet')
    await writeFile(path, 'PAR1 but nothing else of ParquetPAR1')
    const { files: changed } = await listFiles(scratch.path(''), { signal: never() })
    await expect(readFooters(changed, { signal: never() })).rejects.toMatchObject({
      code: 'LG_CORRUPT',
      message: expect.stringContaining(`parquet file ${path}: `),
    })
    await copyFile(scratch.path('copy 7.parquet'), path)
  })

  it('law 2: are refused as expired when one was replaced since the listing', async () => {
    await copyFile(scratch.path('copy 1.parquet'), scratch.path('copy 2.parquet'))
    await expect(readFooters(files, { signal: never() })).rejects.toMatchObject({
      code: 'LG_GENERATION_EXPIRED',
      message: expect.stringContaining('copy 2.parquet'),
    })
  })

  it('law 4: are not read on when the caller leaves', async () => {
    const reason = new Error('left')
    await expect(readFooters(files, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})
