/** Detection and refusal of columns, and what metadata becomes in Arrow. */
import { mkdir } from 'node:fs/promises'
import type { RecordBatch } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openParquet } from '../../src/adapters/parquet.js'
import { joinMetadata } from '../../src/cache/metadata-arrow.js'
import { cellToValue } from '../../src/core/cell.js'
import { makeScratch, type Scratch, writeParquet } from './parquet-files-written.js'
import { currentManifest, never, pullCollection } from './pulled-rows.js'

let scratch: Scratch
let files = 0
beforeAll(async () => {
  scratch = await makeScratch()
})
afterAll(() => scratch.remove())

/** Opens a new directory with one file a query. */
async function source(queries: readonly string[], options: Record<string, unknown> = {}) {
  const directory = scratch.path(`table-${files++}`)
  await mkdir(directory)
  for (const [index, query] of queries.entries()) await writeParquet(`${directory}/${index}.parquet`, query)
  return openParquet({ name: 'source', uri: directory, options })
}

const vector = '[1::FLOAT, 2::FLOAT] AS v'

describe('options', () => {
  const open = (options: Record<string, unknown>) => () => openParquet({ name: 'source', uri: 'x', options })

  it.each([
    [{ colums: ['a'] }, 'LG_UNKNOWN_FIELD', /colums; known: .*columns/],
    [{ on_bad_row: 'ignore' }, 'LG_INVALID_REQUEST', /on_bad_row: expected "refuse" or "skip", got "ignore"/],
    [{ metric: 'l3' }, 'LG_INVALID_REQUEST', /metric: expected "l2"/],
    [{ columns: 'a' }, 'LG_INVALID_REQUEST', /columns: expected a list/],
    [{ id: 5 }, 'LG_INVALID_REQUEST', /id: expected a text/],
  ])('%j is refused by name', (options, code, message) => {
    expect(open(options)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }))
  })
})

describe('vector column', () => {
  it.each([
    ['a list of int64 unless it is named', 'SELECT 1 AS id, [1::BIGINT, 2] AS tags', /no column holds vectors/],
    ['two lists', `SELECT 1 AS id, ${vector}, [0.5::DOUBLE] AS w`, /"v", "w" could each be the vector/],
    ['no list', "SELECT 1 AS id, 'x' AS name", /no column holds vectors/],
    ['two texts', "SELECT 1 AS id, '[1, 2]' AS a, '[3, 4]' AS b", /"a", "b" could each/],
    ['digests', 'SELECT i AS id, unhex(md5(i::VARCHAR)) AS digest FROM range(100) t(i)', /no column holds vectors/],
  ])('refuses %s', async (_, query, message) => {
    const call = pullCollection(await source([query]))
    await expect(call).rejects.toMatchObject({ code: 'LG_UNSUPPORTED', field: 'vector' })
    await expect(call).rejects.toThrow(message)
  })

  it.each([
    ['int64 list', 'SELECT 1 AS id, [1::BIGINT, 2] AS w', [1, 2]],
    ['decimal list', 'SELECT 1 AS id, [1.5::DECIMAL(4,2), 2] AS w', [1.5, 2]],
    ['text without brackets', "SELECT 1 AS id, '1.5,2e1' AS w", [1.5, 20]],
  ])('takes a named %s', async (_, query, expected) => {
    const { rows, manifest } = await pullCollection(await source([`${query}, ${vector}`], { vector: 'w' }))
    expect(manifest.vectorColumn).toBe('w')
    expect([...rows[0]!.vector]).toEqual(expected)
  })

  it('refuses a named column that is not there or cannot be a vector', async () => {
    const query = `SELECT 1 AS id, ${vector}`
    await expect(pullCollection(await source([query], { vector: 'w' }))).rejects.toThrow(
      /no column "w"; there are "id", "v"/,
    )
    await expect(pullCollection(await source([query], { vector: 'id' }))).rejects.toThrow(
      /"id" of 0.parquet is INTEGER/,
    )
  })

  it('narrows float64 and refuses what float32 cannot hold, with row and value', async () => {
    const query = 'SELECT i AS id, [0.1::DOUBLE, CASE i WHEN 3000 THEN 1e300 ELSE 1 END] AS v FROM range(5000) t(i)'
    const refused = pullCollection(await source([query]))
    await expect(refused).rejects.toMatchObject({ code: 'LG_BAD_ROW' })
    await expect(refused).rejects.toThrow(/row 3000 .*1e\+300 at element 1, too large for float32/)
    const { rows, skipped } = await pullCollection(await source([query], { on_bad_row: 'skip' }))
    expect(skipped.badVector).toBe(1)
    expect(rows[0]!.vector[0]).toBe(Math.fround(0.1))
    expect(rows.map(({ ordinal }) => ordinal)).toEqual(
      Array.from({ length: 5000 }, (_, i) => i).filter((i) => i !== 3000),
    )
  })

  it('the dimension is the most common length, also where footers alone do not tell', async () => {
    const query = (lengths: string) =>
      `SELECT i AS id, list_transform(range(${lengths}), x -> x::FLOAT) AS v FROM range(3000) t(i)`
    const even = await currentManifest(await source([query('7')]))
    const odd = await currentManifest(await source([query('CASE WHEN i % 10 = 0 THEN 3 ELSE 7 END')]))
    const nulls = await currentManifest(
      await source([`SELECT id, CASE WHEN id > 2500 THEN v END AS v FROM (${query('7')})`]),
    )
    expect([even.dimension, odd.dimension, nulls.dimension]).toEqual([7, 7, 7])
  })

  it('the dimension of ragged rows is their most common length, whatever whole number they average', async () => {
    const length = 'CASE WHEN i % 3 = 0 THEN 10 ELSE 7 END'
    const adapter = await source([`SELECT i AS id, [x::FLOAT FOR x IN range(${length})] AS v FROM range(3000) t(i)`], {
      on_bad_row: 'skip',
    })
    expect((await currentManifest(adapter)).dimension).toBe(7)
  })
})

describe('id column', () => {
  it.each([
    ['_id', 'SELECT 7 AS _id, 8 AS row_id'],
    ['document_id', "SELECT 'd' AS document_id, 8 AS row_id"],
    ['row_id', 'SELECT 8 AS row_id, 9 AS ID2'],
  ])('detects %s', async (name, query) => {
    expect((await currentManifest(await source([`${query}, ${vector}`]))).idColumn).toBe(name)
  })

  it('without one, ids are the part and the row', async () => {
    const adapter = await source([`SELECT 'a' AS x, ${vector} FROM range(3)`, `SELECT 'b' AS x, ${vector}`])
    const { rows, manifest } = await pullCollection(adapter)
    expect(manifest.idColumn).toBeNull()
    expect(rows.map(({ id }) => id)).toEqual(['0.parquet:0', '0.parquet:1', '0.parquet:2', '1.parquet:0'])
  })

  it.each([
    ['float', 'SELECT 1.5::DOUBLE AS id', /"id" of 0.parquet is DOUBLE/],
    ['list', "SELECT ['a'] AS id", /"id" of 0.parquet is VARCHAR\[\]/],
    ['date', "SELECT DATE '2024-01-01' AS id", /is DATE/],
  ])('refuses ids of %s', async (_, query, message) => {
    const call = currentManifest(await source([`${query}, ${vector}`]))
    await expect(call).rejects.toMatchObject({ code: 'LG_UNSUPPORTED', field: 'id' })
    await expect(call).rejects.toThrow(message)
  })

  it('refuses integers in one file and text in another', async () => {
    const call = currentManifest(await source([`SELECT 1 AS id, ${vector}`, `SELECT 'a' AS id, ${vector}`]))
    await expect(call).rejects.toThrow(/integers in some files and text in others/)
  })
})

describe('metadata', () => {
  it('joins files that differ: missing columns are null, numbers widen', async () => {
    const adapter = await source([
      `SELECT 1 AS id, ${vector}, 1::INTEGER AS n, 'x' AS s, 1.5::DECIMAL(4,1) AS d`,
      `SELECT 2 AS id, ${vector}, 2.5::DOUBLE AS n, 1.25::DECIMAL(6,2) AS d, true AS late`,
    ])
    const { rows, manifest } = await pullCollection(adapter)
    expect(manifest.columns).toEqual([
      { name: 'n', type: { kind: 'float' } },
      { name: 's', type: { kind: 'string' } },
      { name: 'd', type: { kind: 'decimal', scale: 2 } },
      { name: 'late', type: { kind: 'bool' } },
    ])
    expect(rows.map(({ metadata: { n, s, late } }) => ({ n, s, late }))).toEqual([
      { n: 1, s: 'x', late: null },
      { n: 2.5, s: null, late: true },
    ])
  })

  it('refuses types that do not join, naming file and column', async () => {
    const call = currentManifest(
      await source([`SELECT 1 AS id, ${vector}, 1 AS n`, `SELECT 2 AS id, ${vector}, 'x' AS n`]),
    )
    await expect(call).rejects.toMatchObject({ code: 'LG_UNSUPPORTED' })
    await expect(call).rejects.toThrow(/"n" is VARCHAR in 1.parquet and int in files before it/)
  })

  it('keeps a subset, in the order asked, and refuses one that is not there', async () => {
    const query = `SELECT 1 AS id, 'a' AS a, 'b' AS b, ${vector}`
    const { rows } = await pullCollection(await source([query], { columns: ['b', 'id'] }))
    expect(rows[0]!.metadata).toEqual({ b: 'b', id: 1n })
    const call = currentManifest(await source([query], { columns: ['c'] }))
    await expect(call).rejects.toThrow(/no column "c"; there are "id", "a", "b", "v"/)
  })

  it('leaves other vector columns out unless they are asked for', async () => {
    const query = `SELECT 1 AS id, ${vector}, [1::FLOAT] AS w`
    expect((await currentManifest(await source([query], { vector: 'v' }))).columns).toEqual([])
    const { rows } = await pullCollection(await source([query], { vector: 'v', columns: ['w'] }))
    expect(JSON.stringify(rows[0]!.metadata)).toBe('{"w":[1]}')
  })

  it('has the Arrow form that arrow-columns.ts promises, with nulls in every column', async () => {
    const values: Readonly<Record<string, readonly [string, string, unknown]>> = {
      bool: ['true', 'Bool', true],
      int8: ['-5::TINYINT', 'Int64', -5n],
      uint32: ['4000000000::UINTEGER', 'Int64', 4000000000n],
      int64: ['9007199254740993::BIGINT', 'Int64', 9007199254740993n],
      uint64: ['18446744073709551615::UBIGINT', 'Uint64', 18446744073709551615n],
      float32: ['0.5::FLOAT', 'Float64', 0.5],
      float64: ['0.1::DOUBLE', 'Float64', 0.1],
      decimal: ['-1.25::DECIMAL(9,2)', 'Decimal[38e+2]', -125n],
      text: ["'naïve 🦆 text'", 'Utf8', 'naïve 🦆 text'],
      uuid: ["'4AC2C1B0-0000-4000-8000-0000000000FF'::UUID", 'Utf8', '4ac2c1b0-0000-4000-8000-0000000000ff'],
      blob: ["'\\x00\\xFF'::BLOB", 'Binary', Uint8Array.of(0, 255)],
      day: ["DATE '1899-12-31'", 'Date32<DAY>', Date.UTC(1899, 11, 31)],
      clock: ["TIME '04:46:55.755516'", 'Time64<NANOSECOND>', 17215755516000n],
      ts: ["TIMESTAMP '2020-06-30 04:46:55.755'", 'Timestamp<MICROSECOND>', 1593492415755],
      tz: ["TIMESTAMPTZ '2020-06-30 04:46:55.755+00'", 'Timestamp<MICROSECOND, UTC>', 1593492415755],
      ms: ["TIMESTAMP_MS '9999-12-31 23:59:59.999'", 'Timestamp<MICROSECOND>', 253402300799999],
      ns: ["TIMESTAMP_NS '1969-12-31 23:59:59.999000000'", 'Timestamp<NANOSECOND>', -1],
      words: ["['a', NULL, 'ccc']", 'List<Utf8>', ['a', null, 'ccc']],
      flags: ['[true, false, NULL]', 'List<Bool>', [true, false, null]],
      json: [
        "{'big': 9007199254740993, 'nan': 'NaN'::DOUBLE, 'text': 'NaN \"Infinity\"'}",
        'Utf8',
        '{"big":9007199254740993,"nan":null,"text":"NaN \\"Infinity\\""}',
      ],
      map: ["MAP {'k': 1}", 'Utf8', '{"k":1}'],
      nested: ['[[1, 2], [3]]', 'Utf8', '[[1,2],[3]]'],
    }
    const list = Object.entries(values).map(([name, [sql]]) => `CASE WHEN i % 3 <> 1 THEN ${sql} END AS "${name}"`)
    const adapter = await source([`SELECT i AS id, ${vector}, ${list.join(', ')} FROM range(5000) t(i)`])
    const manifest = await currentManifest(adapter)
    const { name } = (await adapter.listCollections({ signal: never() }))[0]!
    const request = { collection: name, manifest, part: manifest.parts[0]! }
    let rows = 0
    for await (const { metadata, count, ordinals } of adapter.pullVectors(request, { signal: never() })) {
      for (const [column, [, type, value]] of Object.entries(values)) {
        const vector = metadata!.getChild(column)!
        expect(String(vector.type), column).toBe(type)
        for (const row of [0, 1, count - 1]) {
          const cell: unknown = vector.get(row)
          const isNull = ordinals[row]! % 3 === 1
          expect(isNull ? cell : plain(cell), `${column} of row ${row}`).toEqual(isNull ? null : value)
        }
        expect(vector.nullCount).toBe([...ordinals].filter((ordinal) => ordinal % 3 === 1).length)
      }
      rows += count
    }
    expect(rows).toBe(5000)
  })

  it('keeps each file of a collection in its own unit of time; far years, infinity and absent columns among them', async () => {
    const cell = async (sql: string) => {
      const adapter = await source([
        `SELECT 1 AS id, ${vector}, ${sql} AS ends, [${sql}] AS list`,
        `SELECT 2 AS id, ${vector}, TIMESTAMP_NS '2024-01-01 00:00:00.000000001' AS ends, TIME '00:00:01' AS clock, [TIMESTAMPTZ '2024-01-01 00:00:00+00'] AS zoned`,
      ])
      const manifest = await currentManifest(adapter)
      const { name } = (await adapter.listCollections({ signal: never() }))[0]!
      const found: unknown[] = []
      for (const part of manifest.parts) {
        const batches: RecordBatch[] = []
        for await (const { metadata } of adapter.pullVectors({ collection: name, manifest, part }, { signal: never() }))
          batches.push(metadata!)
        const metadata = joinMetadata(manifest.columns, batches)
        found.push(
          Object.fromEntries(
            manifest.columns.map(({ name, type }, c) => [name, cellToValue(metadata.cell(0, c), type)]),
          ),
        )
      }
      return found
    }
    const written = {
      "TIMESTAMP '9999-12-31 23:59:59.999999'": '9999-12-31T23:59:59.999999',
      "TIMESTAMP_MS '9999-12-31'": '9999-12-31T00:00:00',
      "TIMESTAMP_S '0001-01-01'": '0001-01-01T00:00:00',
      "TIMESTAMP '12345-01-01'": '+012345-01-01T00:00:00',
      "TIMESTAMP 'infinity'": 'infinity',
      "TIMESTAMP '-infinity'": '-infinity',
    }
    for (const [sql, text] of Object.entries(written))
      expect(await cell(sql), sql).toEqual([
        { ends: text, list: [text], clock: null, zoned: null },
        { ends: '2024-01-01T00:00:00.000000001', list: null, clock: '00:00:01', zoned: ['2024-01-01T00:00:00Z'] },
      ])
  })
})

/** Arrow's lists and decimals as plain values. */
function plain(cell: unknown): unknown {
  if (cell instanceof Uint32Array)
    return BigInt.asIntN(
      128,
      cell.reduceRight((value, word) => (value << 32n) | BigInt(word), 0n),
    )
  if (cell instanceof Uint8Array) return cell
  if (typeof cell === 'object' && cell !== null && Symbol.iterator in cell) return [...(cell as Iterable<unknown>)]
  return cell
}

it('long texts make batches shorter', async () => {
  const adapter = await source([`SELECT i AS id, ${vector}, repeat('x', 4000) AS body FROM range(16000) t(i)`])
  const manifest = await currentManifest(adapter)
  const { name } = (await adapter.listCollections({ signal: never() }))[0]!
  const counts: number[] = []
  const request = { collection: name, manifest, part: manifest.parts[0]! }
  for await (const { count } of adapter.pullVectors(request, { signal: never() })) counts.push(count)
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(16000)
  expect(Math.max(...counts)).toBeLessThan(5000)
})
