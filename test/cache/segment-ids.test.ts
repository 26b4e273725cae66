import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { joinIds, readIds } from '../../src/cache/segment-ids.js'
import type { RowId } from '../../src/core/id.js'
import type { IdValues } from '../../src/core/vector-batch.js'

const integers = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n })
const texts = fc.oneof(
  fc.constantFrom('', 'a', 'aa', 'aaa', 'é', '\u{1F600}', '5', 'i5', 's5'),
  fc.string({ unit: 'binary' }),
)
const ids: fc.Arbitrary<IdValues> = fc.oneof(
  fc
    .array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 20 })
    .map((list) => BigInt64Array.from(list)),
  fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 20 }).map((list) => BigUint64Array.from(list)),
  fc.array(texts, { maxLength: 20 }),
  fc.array(fc.oneof(integers, texts), { maxLength: 20 }),
)

test('ids come back as they were, are found wherever they are, and survive their bytes', () => {
  fc.assert(
    fc.property(fc.array(ids, { minLength: 1, maxLength: 4 }), fc.oneof(integers, texts), (batches, absent) => {
      const list = batches.flatMap((batch) => Array.from<RowId>(batch))
      const joined = joinIds(batches)
      const copied = joined.sections().map((section) => Uint8Array.from(section))
      for (const segment of [joined, readIds(joined.kind, copied)]) {
        expect(segment.count).toBe(list.length)
        expect(list.map((_, row) => segment.get(row))).toEqual(list)
        expect(Array.from<RowId>(segment.slice(1, list.length))).toEqual(list.slice(1))
        for (const id of [...list, absent])
          expect(segment.find(id)).toEqual(list.flatMap((other, row) => (other === id ? [row] : [])))
      }
    }),
  )
})
