import { Field, makeData, RecordBatch, Schema, Struct, Uint64 } from 'apache-arrow'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { evaluateFilter } from '../../src/cache/filter.js'
import { likeTest } from '../../src/cache/like.js'
import type { SegmentMetadata } from '../../src/cache/metadata.js'
import { joinMetadata, metadataBatch, metadataFromIpc, metadataToIpc } from '../../src/cache/metadata-arrow.js'
import { countRows } from '../../src/cache/row-bitmap.js'
import type { Cell, Column, ColumnType } from '../../src/core/column.js'
import type { Predicate } from '../../src/core/predicate.js'
import { bindPredicate } from '../../src/core/predicate-bind.js'
import { evaluatePredicate } from '../../src/core/predicate-evaluate.js'
import { parsePredicateText } from '../../src/core/predicate-text.js'
import { arrowBatch } from './arrow-batch.js'

function metadataOf(type: ColumnType, cells: readonly Cell[]): SegmentMetadata {
  const columns: Column[] = [{ name: 'x', type }]
  return joinMetadata(columns, [arrowBatch(columns, [cells])])
}

/** Rows kept by a filter on column x. */
function kept(filter: string | Predicate, metadata: SegmentMetadata): number[] {
  const predicate = typeof filter === 'string' ? parsePredicateText(filter) : filter
  const bitmap = evaluateFilter(bindPredicate(predicate, metadata.columns), metadata, metadata.rows)
  const rows = Array.from({ length: metadata.rows }, (_, row) => row).filter(
    (row) => (bitmap[row >> 5]! >> (row & 31)) & 1,
  )
  expect(countRows(bitmap)).toBe(rows.length)
  return rows
}

test('unsigned 64-bit integers keep every digit', () => {
  const child = makeData({
    type: new Uint64(),
    length: 4,
    nullCount: 0,
    data: BigUint64Array.of(0n, 2n ** 63n, 2n ** 64n - 1n, 5n),
  })
  const fields = [new Field('x', child.type, true)]
  const batch = new RecordBatch(
    new Schema(fields),
    makeData({ type: new Struct(fields), length: 4, nullCount: 0, children: [child] }),
  )
  const built = joinMetadata([{ name: 'x', type: { kind: 'int' } }], [batch])
  for (const metadata of [built, metadataFromIpc(metadataToIpc(built))]) {
    expect([0, 1, 2, 3].map((row) => metadata.cell(row, 0))).toEqual([0n, 2n ** 63n, 2n ** 64n - 1n, 5n])
    expect(kept('x > 9223372036854775807', metadata)).toEqual([1, 2])
    expect(kept('x = 18446744073709551615', metadata)).toEqual([2])
    expect(kept('x >= -1 AND x < 5.5', metadata)).toEqual([0, 3])
    expect(kept('x = 18446744073709551616', metadata)).toEqual([])
  }
})

test('strings of few distinct values are held as a dictionary, others as they are; both answer alike', () => {
  const few = Array.from({ length: 1000 }, (_, i) => (i % 7 === 0 ? null : `s${i % 5}`))
  const many = Array.from({ length: 1000 }, (_, i) => `s${i}`)
  const fewHeld = metadataOf({ kind: 'string' }, few)
  const manyHeld = metadataOf({ kind: 'string' }, many)
  expect([fewHeld.data[0]!.layout, manyHeld.data[0]!.layout]).toEqual(['dictionary', 'bytes'])
  expect(metadataToIpc(fewHeld).byteLength).toBeLessThan(metadataToIpc(metadataOf({ kind: 'string' }, many)).byteLength)
  expect(kept("x = 's3'", fewHeld)).toEqual(few.flatMap((value, row) => (value === 's3' ? [row] : [])))
  expect(kept("x NOT LIKE 's_'", manyHeld)).toEqual(many.flatMap((value, row) => (value.length > 2 ? [row] : [])))
})

test('columns of nulls only, and no rows, keep nothing but IS NULL', () => {
  for (const kind of ['bool', 'int', 'float', 'string', 'date'] as const) {
    const nulls = metadataOf({ kind }, Array(40).fill(null))
    expect(kept('x IS NULL', nulls)).toHaveLength(40)
    expect(kept('x IS NOT NULL', nulls)).toEqual([])
    expect(kept('x IS NULL', metadataOf({ kind }, []))).toEqual([])
  }
  expect(kept("x = 'a'", metadataOf({ kind: 'string' }, Array(40).fill(null)))).toEqual([])
})

test('long in-lists of every kind of column', () => {
  const ints = Array.from({ length: 100 }, (_, i) => BigInt(i))
  const list = Array.from({ length: 30 }, (_, i) => i * 3)
  const expected = list.toSorted((a, b) => a - b)
  expect(kept(`x IN (${list})`, metadataOf({ kind: 'int' }, ints))).toEqual(expected)
  expect(kept(`x IN (${list})`, metadataOf({ kind: 'float' }, ints.map(Number)))).toEqual(expected)
  expect(kept(`x IN (${list.map((i) => `'${i}'`)})`, metadataOf({ kind: 'string' }, ints.map(String)))).toEqual(
    expected,
  )
})

test('LIKE agrees with the reference on texts that nearly match, row after row', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é'), maxLength: 8 })
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '%', '_', '\\_'), maxLength: 8 })
  const x: ColumnType = { kind: 'string' }
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 40 }), pattern, (cells, value) => {
      const like: Predicate = { op: 'like', column: 'x', value }
      const bound = bindPredicate(like, [{ name: 'x', type: x }])
      const expected = cells.flatMap((cell, row) => (evaluatePredicate(bound, () => cell) === true ? [row] : []))
      expect(kept(like, metadataOf(x, cells))).toEqual(expected)
    }),
    { numRuns: 2000 },
  )
})

test('LIKE may be asked of rows in any order', () => {
  const bytes = Buffer.from('xaby' + 'xxxx' + 'ab')
  const passes = likeTest('%ab%')
  const rows = [
    [8, 10, true],
    [4, 8, false],
    [0, 4, true],
    [1, 2, false],
  ] as const
  for (const [start, end, expected] of rows) expect(passes(bytes, start, end)).toBe(expected)
})

test('a hostile LIKE pattern costs text times pattern at most', () => {
  const cells = Array.from({ length: 4 }, (_, i) => 'a'.repeat(2000 + i))
  expect(kept(`x LIKE '${'%a'.repeat(500)}b'`, metadataOf({ kind: 'string' }, cells))).toEqual([])
})

test('strings that segments keep as a dictionary are joined with others, also from the middle of a segment', () => {
  const type: ColumnType = { kind: 'string' }
  const few = Array.from({ length: 1000 }, (_, i) => (i % 7 === 0 ? null : i % 7 === 1 ? '' : `s${i % 5}`))
  const held = metadataFromIpc(metadataToIpc(metadataOf(type, few)))
  expect(held.data[0]!.layout).toBe('dictionary')
  const joined = joinMetadata(held.columns, [
    metadataBatch(held).slice(13, 900),
    arrowBatch(held.columns, [['other', null, '\u00e9']]),
    metadataBatch(held),
  ])
  const expected = [...few.slice(13, 900), 'other', null, '\u00e9', ...few]
  expect(expected.map((_, row) => joined.cell(row, 0))).toEqual(expected)
})

test("a batch whose Arrow type is not the column's is a defect, named", () => {
  const columns: Column[] = [{ name: 'x', type: { kind: 'int' } }]
  const batch = arrowBatch([{ name: 'x', type: { kind: 'float' } }], [[1]])
  expect(() => joinMetadata(columns, [batch])).toThrow(/column "x" is int, but was delivered as Arrow Float64/)
})
