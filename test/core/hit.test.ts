import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareIds, type RowId } from '../../src/core/id.js'

const id = (): fc.Arbitrary<RowId> => fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n), fc.string({ unit: 'binary' }))

test('law 3: characters beyond the basic plane that begin with the same surrogate differ; so do halves of pairs', () => {
  const ordered = ['a\u{10000}', 'a\u{1f600}', 'a\u{1f600}b', 'a\u{1f601}', 'a\u{10ffff}']
  for (let i = 1; i < ordered.length; i++) {
    expect(compareIds(ordered[i - 1]!, ordered[i]!)).toBeLessThan(0)
    expect(compareIds(ordered[i]!, ordered[i - 1]!)).toBeGreaterThan(0)
  }
  expect(compareIds('\ud800', '\ud801')).toBeLessThan(0)
  expect(compareIds('\ud801', '\ud800')).toBeGreaterThan(0)
})

test('law 3: ids order totally, integers before strings, strings by their UTF-8 bytes', () => {
  fc.assert(
    fc.property(id(), id(), id(), (a, b, c) => {
      expect(Math.sign(compareIds(a, b))).toBe(0 - Math.sign(compareIds(b, a)))
      expect(compareIds(a, b) === 0).toBe(a === b)
      if (compareIds(a, b) <= 0 && compareIds(b, c) <= 0) expect(compareIds(a, c)).toBeLessThanOrEqual(0)
      if (typeof a === 'string' && typeof b === 'string')
        expect(Math.sign(compareIds(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
})
