import { tableFromIPC } from 'apache-arrow'
import { expect, test } from 'vitest'
import type { Cell, ColumnType } from '../../src/core/column.js'
import { backendId } from '../../src/core/generation.js'
import type { RowId } from '../../src/core/id.js'
import { infinityNs } from '../../src/core/temporal.js'
import type { Result } from '../../src/federation/answer.js'
import { receiptJson } from '../../src/server/answer-json.js'
import { arrowStream } from '../../src/server/arrow-answer.js'
import { recordingGateway, sampleAnswer } from './fake-gateway.js'
import { testServer } from './test-server.js'

const result = (id: RowId, metadata: Result['metadata'] = null): Result => ({
  id,
  distance: 0.1,
  backend: backendId('b'),
  collection: 'c',
  metadata,
  vector: null,
})

const arrowMediaType = 'application/vnd.apache.arrow.stream'

const read = (results: readonly Result[]) => tableFromIPC(arrowStream({ results, receipt: null }))

test('Accept asks for it', async () => {
  const reply = await testServer(recordingGateway(sampleAnswer)).inject({
    method: 'POST',
    url: '/v1/query',
    payload: { vector: [1], k: 2 },
    headers: { accept: arrowMediaType },
  })
  expect(reply.headers['content-type']).toBe(arrowMediaType)
  const table = tableFromIPC(reply.rawPayload)
  expect(table.schema.fields.map((field) => `${field.name} ${field.type}`)).toEqual([
    'id Utf8',
    'id_kind Utf8',
    'distance Float32',
    'backend Utf8',
    'collection Utf8',
    'section Utf8',
    'size Int64',
    'built Timestamp<NANOSECOND, UTC>',
    'vector List<Float32>',
  ])
  expect(table.getChild('id')!.toArray()).toEqual(['18446744073709551615', 'ünï "quoted"'])
  expect(table.getChild('id_kind')!.toArray()).toEqual(['integer', 'string'])
  expect(table.getChild('distance')!.toArray()).toEqual(Float32Array.of(0.01, 3.01))
  expect(table.getChild('size')!.toArray()).toEqual(BigInt64Array.of(9007199254740993n, 1n))
  expect(table.getChild('section')!.get(1)).toBeNull()
  expect(table.getChild('built')!.data[0]!.values[0]).toBe(1_700_000_000_000_000_001n)
  expect(table.getChild('vector')!.get(0)).toBeNull()
  expect(table.getChild('vector')!.get(1).toArray()).toEqual(Float32Array.of(0.9, 0, 1e-45))
  expect(table.schema.metadata.get('lakegate.receipt')).toBe(receiptJson(sampleAnswer.receipt!))
})

test('no results are a table of no rows', () => {
  const table = read([])
  expect(table.numRows).toBe(0)
  expect(table.schema.fields.map((field) => field.name)).toEqual(['id', 'distance', 'backend', 'collection'])
})

test.each<[RowId[], string]>([
  [[1n, -(2n ** 63n)], 'Int64'],
  [[1n, 2n ** 64n - 1n], 'Uint64'],
  [[-1n, 2n ** 64n - 1n], 'Utf8'],
  [['a', '1'], 'Utf8'],
])('ids %s are %s', (ids, type) => {
  const table = read(ids.map((id) => result(id)))
  expect(String(table.schema.fields[0]!.type)).toBe(type)
  expect(Array.from(table.getChild('id')!, String)).toEqual(ids.map(String))
})

const column = (type: ColumnType, values: readonly Cell[]) =>
  read(values.map((value, i) => result(BigInt(i), [{ name: 'x', type, value }]))).getChild('x')!

test.each<[ColumnType, readonly Cell[], string, readonly unknown[]]>([
  [{ kind: 'bool' }, [true, null, false], 'Bool', [true, null, false]],
  [{ kind: 'float' }, [1.5, null, -0], 'Float64', [1.5, null, -0]],
  [{ kind: 'int' }, [2n ** 64n - 1n, null], 'Uint64', [2n ** 64n - 1n, null]],
  [{ kind: 'int' }, [2n ** 64n, null], 'Utf8', ['18446744073709551616', null]],
  [{ kind: 'string' }, ['a', null, ''], 'Utf8', ['a', null, '']],
  [{ kind: 'time' }, [5n, null], 'Time64<NANOSECOND>', [5n, null]],
  [
    { kind: 'timestamp', utc: false },
    [253402300800_000000n * 1000n, null],
    'Timestamp<MICROSECOND>',
    [253402300800_000, null],
  ],
  [{ kind: 'timestamp', utc: true }, [infinityNs, null], 'Utf8', ['infinity', null]],
  [{ kind: 'date' }, [19_000n, null], 'Date32<DAY>', [19_000 * 86_400_000, null]],
  [{ kind: 'json' }, [{ a: 2n ** 60n }, null], 'Utf8', ['{"a":1152921504606846976}', null]],
  [{ kind: 'decimal', scale: 2 }, [10n ** 38n, null], 'Utf8', [`${10n ** 36n}.00`, null]],
])('%j of %s', (type, values, arrow, expected) => {
  const vector = column(type, values)
  expect(String(vector.type)).toBe(arrow)
  expect([...vector]).toEqual(expected)
})

test('decimals, binary and lists', () => {
  const decimals = column({ kind: 'decimal', scale: 2 }, [-5n, null, 12345n])
  expect(decimals.type).toMatchObject({ scale: 2, precision: 38 })
  expect(decimals.data[0]!.values).toEqual(
    Uint32Array.of(0xfffffffb, 0xffffffff, 0xffffffff, 0xffffffff, 0, 0, 0, 0, 12345, 0, 0, 0),
  )
  expect([...column({ kind: 'binary' }, [Uint8Array.of(1, 2), null])]).toEqual([Uint8Array.of(1, 2), null])
  const lists = column({ kind: 'list', element: { kind: 'timestamp', utc: false } }, [[1n, null], null, []])
  expect(String(lists.type)).toBe('List<Timestamp<NANOSECOND>>')
  expect(JSON.stringify(lists.toJSON(), (_, v) => (typeof v === 'bigint' ? String(v) : v))).toMatch(
    /^\[\[.+,null\],null,\[\]\]$/,
  )
})

test('a column that two collections type differently is JSON text; one that one lacks is null', () => {
  const table = read([
    result(1n, [{ name: 'x', type: { kind: 'int' }, value: 5n }]),
    result(2n, [
      { name: 'x', type: { kind: 'string' }, value: '5' },
      { name: 'y', type: { kind: 'bool' }, value: true },
    ]),
  ])
  expect([...table.getChild('x')!]).toEqual(['5', '"5"'])
  expect([...table.getChild('y')!]).toEqual([null, true])
})
