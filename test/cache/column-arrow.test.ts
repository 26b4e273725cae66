import { Dictionary, makeData, Uint8, Utf8, Vector } from 'apache-arrow'
import { expect, test } from 'vitest'
import { joinChunks } from '../../src/cache/column-arrow.js'

test('law 13: a text that stands in too many rows to be spelled out is refused before memory is taken for it', () => {
  const text = makeData({
    type: new Utf8(),
    length: 1,
    nullCount: 0,
    valueOffsets: Int32Array.of(0, 2 ** 20),
    data: new Uint8Array(2 ** 20),
  })
  const data = new Uint8Array(5000) // 4.9 GiB when spelled out: more than 32 bits hold
  const type = new Dictionary(new Utf8(), new Uint8())
  const chunk = makeData({ type, length: data.length, nullCount: 0, data, dictionary: new Vector([text]) } as never)
  expect(() => joinChunks('notes', { kind: 'string' }, [chunk])).toThrow(
    expect.objectContaining({ code: 'LG_OVER_BUDGET', field: 'columns', message: expect.stringContaining('"notes"') }),
  )
})
