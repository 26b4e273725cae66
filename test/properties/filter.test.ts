import { TimeUnit } from 'apache-arrow'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { evaluateFilter } from '../../src/cache/filter.js'
import type { SegmentMetadata } from '../../src/cache/metadata.js'
import { joinMetadata, metadataFromIpc, metadataToIpc } from '../../src/cache/metadata-arrow.js'
import { cellToValue } from '../../src/core/cell.js'
import type { Cell, Column, ColumnType } from '../../src/core/column.js'
import { parseJson } from '../../src/core/json.js'
import { formatPredicate, type Literal, type Predicate, parsePredicate } from '../../src/core/predicate.js'
import { bindPredicate } from '../../src/core/predicate-bind.js'
import { evaluatePredicate } from '../../src/core/predicate-evaluate.js'
import { formatPredicateText, parsePredicateText } from '../../src/core/predicate-text.js'
import { infinityNs } from '../../src/core/temporal.js'
import { arrowBatch, nsPerUnit } from '../cache/arrow-batch.js'

const scalarTypes: readonly ColumnType[] = [
  { kind: 'bool' },
  { kind: 'int' },
  { kind: 'float' },
  { kind: 'decimal', scale: 2 },
  { kind: 'string' },
  { kind: 'binary' },
  { kind: 'date' },
  { kind: 'time' },
  { kind: 'timestamp', utc: true },
  { kind: 'timestamp', utc: false },
]
const types: readonly ColumnType[] = [
  ...scalarTypes,
  ...scalarTypes.map((element): ColumnType => ({ kind: 'list', element })),
  { kind: 'json' },
]

const letters = fc.constantFrom('a', 'b', 'é', '€', '😀', '%', '_', '\\', '\uffff')
const shortText = fc.string({ unit: letters, maxLength: 4 })
const int64 = fc.oneof(
  { weight: 3, arbitrary: fc.bigInt(-3n, 3n) },
  fc.constantFrom(-(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 32n), 2n ** 31n, 2n ** 32n + 1n),
)
const double = fc.oneof(
  { weight: 2, arbitrary: fc.integer({ min: -2, max: 2 }) },
  fc.double(),
  fc.constantFrom(
    Number.NaN,
    -0,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    2 ** 53,
    0.1,
    Number.MIN_VALUE,
    Number.MAX_VALUE,
  ),
)
const decimal = fc.oneof(int64, fc.constantFrom(10n ** 38n - 1n, 1n - 10n ** 38n, 2n ** 64n, -(2n ** 96n)))
const day = 86_400_000_000_000n

const units = [TimeUnit.SECOND, TimeUnit.MILLISECOND, TimeUnit.MICROSECOND, TimeUnit.NANOSECOND]

/** Timestamps that a column of the unit can hold: up to one before its infinities. */
const timestamp = (unit: TimeUnit): fc.Arbitrary<bigint> =>
  fc.oneof(
    {
      weight: 3,
      arbitrary: int64
        .filter((count) => count > 1n - 2n ** 63n && count < 2n ** 63n - 1n)
        .map((count) => count * nsPerUnit[unit]),
    },
    fc.constantFrom(...[-1n, 1n].flatMap((sign) => [sign * (2n ** 63n - 2n) * nsPerUnit[unit], sign * infinityNs])),
  )

/** Values of a column: few, so that predicates hit them, and the extremes of the type; timestamps of the unit. */
function cellOf(type: ColumnType, unit: TimeUnit): fc.Arbitrary<Cell> {
  switch (type.kind) {
    case 'bool':
      return fc.boolean()
    case 'int':
      return int64
    case 'float':
      return double
    case 'decimal':
      return decimal
    case 'string':
      return shortText
    case 'binary':
      return fc.uint8Array({ maxLength: 2, max: 2 })
    case 'date':
      return fc.oneof(fc.bigInt(-2n, 2n), fc.constantFrom(-(2n ** 31n), 2n ** 31n - 1n))
    case 'time':
      return fc.oneof(fc.bigInt(0n, 2n), fc.constant(day - 1n))
    case 'timestamp':
      return timestamp(unit)
    case 'list':
      return fc.array(nullable(cellOf(type.element, unit)), { maxLength: 3 })
    case 'json':
      return fc.constantFrom<Cell>({ a: 1 }, [], 'x', false)
  }
}

const nullable = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(values, { freq: 5 })

/** Literals that a column of the type takes: values of it, values between two of them, values it cannot hold. */
function literalOf(type: ColumnType): fc.Arbitrary<Literal> {
  // Of any unit: a column's own, finer and coarser ones.
  const written = fc
    .constantFrom(...units)
    .chain((unit) => cellOf(type, unit))
    .map((cell) => cellToValue(cell, type) as Literal)
  switch (type.kind) {
    case 'int':
      return fc.oneof(
        written,
        fc.constantFrom<Literal>(
          0.5,
          -0.5,
          2.5,
          1e30,
          -1e30,
          2n ** 63n,
          2n ** 64n + 1n,
          -(2n ** 63n) - 1n,
          2 ** 53 + 2,
          5e-324,
        ),
      )
    case 'float':
      return fc.oneof(
        double.filter(Number.isFinite),
        fc.constantFrom<Literal>(2n ** 53n + 1n, -(2n ** 53n) - 1n, 10n ** 308n * 5n, 10n ** 25n),
      )
    case 'decimal':
      return fc.oneof(
        written,
        written.map((text) => `${text}5`),
        fc.constantFrom<Literal>(0.01, 1, 0.105, -0.015, 2n ** 200n, '1e3', 1e-7),
      )
    case 'time':
    case 'timestamp':
      return fc.oneof(
        written,
        written.map((text) => {
          if (/infinity$/.test(text as string)) return text
          const [, start, fraction, zone] = /^(.*?:\d\d:\d\d)(?:\.(\d+))?(Z?)$/.exec(text as string)!
          return `${start}.${(fraction ?? '').padEnd(9, '0')}5${zone}`
        }),
      )
    default:
      return written
  }
}

function testOf({ name, type }: Column): fc.Arbitrary<Predicate> {
  const isNull = fc.boolean().map((negated): Predicate => ({ op: 'is_null', column: name, negated }))
  if (type.kind === 'json') return isNull
  if (type.kind === 'list')
    return fc.oneof(
      {
        weight: 4,
        arbitrary: literalOf(type.element).map((value): Predicate => ({ op: 'contains', column: name, value })),
      },
      isNull,
    )
  const value = literalOf(type)
  const op = fc.constantFrom('eq', 'ne', 'lt', 'le', 'gt', 'ge')
  const tests: fc.Arbitrary<Predicate>[] = [
    isNull,
    ...Array(3).fill(fc.record({ op, column: fc.constant(name), value })),
    fc.record({ op: fc.constant('between'), column: fc.constant(name), low: value, high: value }),
    fc.record({
      op: fc.constant('in'),
      column: fc.constant(name),
      values: fc.array(value, { maxLength: 24, size: 'max' }),
    }),
  ]
  if (type.kind === 'string') {
    const pattern = shortText.map((text) => (/(^|[^\\])(\\\\)*\\$/.test(text) ? `${text}\\` : text))
    tests.push(fc.record({ op: fc.constant('like'), column: fc.constant(name), value: pattern }))
    tests.push(fc.record({ op: fc.constant('starts_with'), column: fc.constant(name), value: shortText }))
  }
  return fc.oneof(...tests)
}

function predicateOf(columns: readonly Column[]): fc.Arbitrary<Predicate> {
  return fc.letrec<{ node: Predicate }>((tie) => ({
    node: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(...columns).chain(testOf),
      fc.record({ op: fc.constant('not'), term: tie('node') }),
      fc.record({
        op: fc.constantFrom('and', 'or'),
        terms: fc.array(tie('node'), { minLength: 2, maxLength: 3 }),
      }),
    ),
  })).node
}

const columnsOf = fc
  .array(fc.constantFrom(...types), { minLength: 1, maxLength: 4 })
  .map((chosen) => chosen.map((type, i): Column => ({ name: `c${i}`, type })))

const scenario = fc.tuple(columnsOf, fc.constantFrom(...units)).chain(([columns, unit]) =>
  fc.record({
    unit: fc.constant(unit),
    columns: fc.constant(columns),
    /** Rows of each batch. */
    batches: fc.array(
      fc
        .nat(45)
        .chain((rows) =>
          fc.tuple(
            ...columns.map(({ type }) => fc.array(nullable(cellOf(type, unit)), { minLength: rows, maxLength: rows })),
          ),
        ),
      { minLength: 1, maxLength: 3 },
    ),
    skip: fc.nat(3),
    predicate: predicateOf(columns),
  }),
)

/** Metadata through Arrow, IPC and memory shared with workers, as a segment has it. */
function throughIpc(metadata: SegmentMetadata): SegmentMetadata {
  const ipc = metadataToIpc(metadata)
  const bytes = new Uint8Array(new SharedArrayBuffer(ipc.byteLength + 64), 64, ipc.byteLength)
  bytes.set(ipc)
  return metadataFromIpc(bytes)
}

test('laws 1 and 3: a filter over columns keeps the rows the reference evaluator keeps, whatever the batches', () => {
  fc.assert(
    fc.property(scenario, ({ columns, unit, batches, skip, predicate }) => {
      const cells = columns.map((_, c) => batches.flatMap((batch) => batch[c]!.slice(skip)))
      const arrow = batches.map((batch) => arrowBatch(columns, batch, unit).slice(skip))
      const built = joinMetadata(columns, arrow)
      const bound = bindPredicate(predicate, columns)
      const rows = cells[0]!.length
      const expected = Array.from(
        { length: rows },
        (_, row) => evaluatePredicate(bound, (c) => cells[c]![row]!) === true,
      )
      for (const metadata of [built, throughIpc(built)]) {
        expect(metadata.rows).toBe(rows)
        expect(metadata.columns).toEqual(columns)
        for (const [c, column] of cells.entries()) expect(column.map((_, row) => metadata.cell(row, c))).toEqual(column)
        const kept = evaluateFilter(bound, metadata, rows)
        expect(
          Array.from({ length: 32 * kept.length }, (_, row) => ((kept[row >> 5]! >>> (row & 31)) & 1) === 1),
        ).toEqual([...expected, ...Array(32 * kept.length - rows).fill(false)])
      }
    }),
    { numRuns: 1000 },
  )
})

test.each(types)('law 1: every test of a column of %o agrees with the reference evaluator', (type) => {
  const column: Column = { name: 'x', type }
  fc.assert(
    fc.property(
      fc
        .constantFrom(...units)
        .chain((unit) =>
          fc.tuple(fc.constant(unit), fc.array(nullable(cellOf(type, unit)), { minLength: 1, maxLength: 40 })),
        ),
      testOf(column),
      ([unit, cells], predicate) => {
        const metadata = joinMetadata([column], [arrowBatch([column], [cells], unit)])
        const bound = bindPredicate(predicate, [column])
        const kept = evaluateFilter(bound, metadata, cells.length)
        expect(cells.map((_, row) => ((kept[row >> 5]! >>> (row & 31)) & 1) === 1)).toEqual(
          cells.map((cell) => evaluatePredicate(bound, () => cell) === true),
        )
      },
    ),
    { numRuns: 400 },
  )
})

test('a predicate is the same through its text, its JSON and its canonical text', () => {
  const named = fc.array(
    fc.record({
      name: fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('and', '"x"', 'not', 'NULL')),
      type: fc.constantFrom(...types),
    }),
    { minLength: 1, maxLength: 3 },
  )
  fc.assert(
    fc.property(named.chain(predicateOf), (drawn) => {
      const predicate = parsePredicateText(formatPredicateText(drawn))
      expect(parsePredicateText(formatPredicateText(predicate))).toStrictEqual(predicate)
      expect(parsePredicate(parseJson(formatPredicate(predicate)))).toEqual(predicate)
      expect(formatPredicate(parsePredicate(parseJson(formatPredicate(drawn))))).toBe(formatPredicate(predicate))
    }),
    { numRuns: 1000 },
  )
})
