import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cellToJson } from '../../src/core/cell.js'
import type { Cell, ColumnType } from '../../src/core/column.js'
import { parseJson } from '../../src/core/json.js'
import { parsePredicate } from '../../src/core/predicate.js'
import { bindPredicate } from '../../src/core/predicate-bind.js'
import { evaluatePredicate } from '../../src/core/predicate-evaluate.js'
import {
  formatDate,
  formatTime,
  formatTimestamp,
  infinityNs,
  parseDate,
  parseTime,
  parseTimestamp,
} from '../../src/core/temporal.js'

const utc: ColumnType = { kind: 'timestamp', utc: true }

test.each<[Cell, ColumnType, string]>([
  [null, { kind: 'int' }, 'null'],
  [9223372036854775807n, { kind: 'int' }, '9223372036854775807'],
  [1.5, { kind: 'float' }, '1.5'],
  [2 ** 60, { kind: 'float' }, '1152921504606846976'],
  [Number.NaN, { kind: 'float' }, '"NaN"'],
  [Number.NEGATIVE_INFINITY, { kind: 'float' }, '"-Infinity"'],
  [-5n, { kind: 'decimal', scale: 2 }, '"-0.05"'],
  [12345n, { kind: 'decimal', scale: 0 }, '"12345"'],
  [100n, { kind: 'decimal', scale: 2 }, '"1.00"'],
  ['a"b', { kind: 'string' }, '"a\\"b"'],
  [Uint8Array.of(255, 1), { kind: 'binary' }, '"/wE="'],
  [19782n, { kind: 'date' }, '"2024-02-29"'],
  [-1n, { kind: 'date' }, '"1969-12-31"'],
  [45000_500000000n, { kind: 'time' }, '"12:30:00.5"'],
  [1709208000_000000000n, utc, '"2024-02-29T12:00:00Z"'],
  [-1n, utc, '"1969-12-31T23:59:59.999999999Z"'],
  [infinityNs, utc, '"infinity"'],
  [-infinityNs, utc, '"-infinity"'],
  [253402300800_000000000n, utc, '"+010000-01-01T00:00:00Z"'],
  [-62167219201_000000000n, utc, '"-000001-12-31T23:59:59Z"'],
  [1709208000_120000000n, { kind: 'timestamp', utc: false }, '"2024-02-29T12:00:00.12"'],
  [[1n, null, 2n], { kind: 'list', element: { kind: 'int' } }, '[1,null,2]'],
  [{ a: [12345678901234567890n, 'x'] }, { kind: 'json' }, '{"a":[12345678901234567890,"x"]}'],
])('%o as %o is %s', (cell, type, text) => {
  expect(cellToJson(cell, type)).toBe(text)
})

test('what is returned can be used in a filter', () => {
  const int64 = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)
  const cells: readonly (readonly [ColumnType, fc.Arbitrary<Cell>])[] = [
    [{ kind: 'bool' }, fc.boolean()],
    [{ kind: 'int' }, int64],
    [{ kind: 'float' }, fc.double({ noNaN: true, noDefaultInfinity: true })],
    [{ kind: 'float' }, int64.map(Number)],
    [{ kind: 'decimal', scale: 5 }, fc.bigInt(-(10n ** 38n), 10n ** 38n)],
    [{ kind: 'string' }, fc.string({ unit: 'binary' }).filter((text) => !/[\ud800-\udfff]/u.test(text))],
    [{ kind: 'binary' }, fc.uint8Array()],
    [{ kind: 'date' }, fc.bigInt(-(2n ** 31n), 2n ** 31n - 1n)],
    [{ kind: 'time' }, fc.bigInt(0n, 86_400_000_000_000n - 1n)],
    // The least 64-bit count is no cell: like the one above it, it is read as -infinity.
    [utc, fc.bigInt(1n - 2n ** 63n, 2n ** 63n - 1n).map((seconds) => seconds * 1_000_000_000n)],
    [{ kind: 'timestamp', utc: false }, int64],
  ]
  for (const [type, values] of cells)
    fc.assert(
      fc.property(values, (cell) => {
        const predicate = parsePredicate({ x: parseJson(cellToJson(cell, type)) })
        expect(evaluatePredicate(bindPredicate(predicate, [{ name: 'x', type }]), () => cell)).toBe(true)
      }),
    )
})

test('dates and times are read back as written, over the whole range of their columns', () => {
  const int64 = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)
  fc.assert(
    fc.property(
      fc.bigInt(-(2n ** 31n), 2n ** 31n - 1n),
      fc.bigInt(0n, 86_400_000_000_000n - 1n),
      int64,
      int64,
      (days, time, ns, seconds) => {
        expect(parseDate(formatDate(days))).toBe(days)
        expect(parseTime(formatTime(time))).toEqual({ at: time, exact: true })
        expect(parseTimestamp(formatTimestamp(ns, true))).toEqual({ at: ns, exact: true, zoned: true })
        expect(parseTimestamp(formatTimestamp(ns, false))).toEqual({ at: ns, exact: true, zoned: false })
        const far = seconds * 1_000_000_000n
        expect(parseTimestamp(formatTimestamp(far, false))?.at).toBe(far < -infinityNs ? -infinityNs : far)
        // JavaScript's own calendar, where it reaches.
        const ms = ns / 1_000_000n
        expect(formatTimestamp(ms * 1_000_000n, true).slice(0, 19)).toBe(
          new Date(Number(ms)).toISOString().slice(0, 19),
        )
      },
    ),
    { numRuns: 1000 },
  )
})
