import {
  type BitColumn,
  type BytesColumn,
  type DictionaryColumn,
  type FloatColumn,
  readInteger,
  type WordColumn,
} from './column-data.js'
import type { BytesTest } from './like.js'
import { addRow } from './row-bitmap.js'
import type { NumberTest } from './value-test.js'

/*
 * The loops of a filter: each sets, in a bitmap, the bits of the rows that pass, and reads null rows as they come. They
 * build a word of 32 rows at a time without branching on the data, which at middling selectivity costs more than the test:
 * V8 compiles Number(a < b) to an instruction, and `a < b ? 1 : 0` to a branch.
 */

export function matchBits(column: BitColumn, test: NumberTest<bigint>, out: Uint32Array): void {
  const passes = (value: bigint) =>
    test.kind === 'members'
      ? test.members.has(value)
      : test.intervals.some(({ low, high }) => low <= value && value <= high)
  const ones = passes(1n) ? 0xffffffff : 0
  const zeros = passes(0n) ? 0xffffffff : 0
  for (let i = 0; i < out.length; i++) out[i] = (column.bits[i]! & ones) | (~column.bits[i]! & zeros)
}

export function matchIntegers(column: WordColumn, test: NumberTest<bigint>, out: Uint32Array): void {
  if (test.kind === 'members') {
    for (let row = 0; row < column.rows; row++) if (test.members.has(readInteger(column, row))) addRow(out, row)
    return
  }
  for (const interval of test.intervals) {
    // x is in [low, high] when x - low, without sign and modulo the width, is at most high - low.
    const low = wordsOf(interval.low, column.width)
    const span = wordsOf(interval.high - interval.low, column.width)
    if (column.width === 1) match32(column.words, low[0]!, span[0]! >>> 0, out)
    else if (column.width === 2) match64(column.words, low[0]!, low[1]!, span[0]! >>> 0, span[1]! >>> 0, out)
    else match128(column.words, low, new Uint32Array(span.buffer), out)
  }
}

function wordsOf(value: bigint, width: number): Int32Array {
  return Int32Array.from({ length: width }, (_, i) => Number(BigInt.asIntN(32, value >> BigInt(32 * i))))
}

function match32(words: Int32Array, low: number, span: number, out: Uint32Array): void {
  const rows = words.length
  for (let row = 0, word = 0; row < rows; word++) {
    const end = Math.min(row + 32, rows)
    let passed = 0
    for (let bit = 0; row < end; row++, bit++) passed |= Number((words[row]! - low) >>> 0 <= span) << bit
    out[word]! |= passed
  }
}

function match64(words: Int32Array, low0: number, low1: number, span0: number, span1: number, out: Uint32Array): void {
  const rows = words.length >>> 1
  const low0Unsigned = low0 >>> 0
  for (let row = 0, word = 0; row < rows; word++) {
    const end = Math.min(row + 32, rows)
    let passed = 0
    for (let bit = 0; row < end; row++, bit++) {
      const x0 = words[2 * row]!
      const borrow = Number(x0 >>> 0 < low0Unsigned)
      const d0 = (x0 - low0) >>> 0
      const d1 = (words[2 * row + 1]! - low1 - borrow) >>> 0
      const under = Number(d1 < span1)
      const level = Number(d1 === span1)
      const fits = Number(d0 <= span0)
      passed |= (under | (level & fits)) << bit
    }
    out[word]! |= passed
  }
}

function match128(words: Int32Array, low: Int32Array, span: Uint32Array, out: Uint32Array): void {
  const rows = words.length >>> 2
  const difference = new Uint32Array(4)
  for (let row = 0; row < rows; row++) {
    let borrow = 0
    for (let i = 0; i < 4; i++) {
      const signed = (words[4 * row + i]! >>> 0) - (low[i]! >>> 0) - borrow
      difference[i] = signed
      borrow = signed < 0 ? 1 : 0
    }
    let top = 3
    while (top > 0 && difference[top] === span[top]) top--
    if (difference[top]! <= span[top]!) addRow(out, row)
  }
}

export function matchDoubles({ values, rows }: FloatColumn, test: NumberTest<number>, out: Uint32Array): void {
  if (test.kind === 'members') {
    for (let row = 0; row < rows; row++) if (test.members.has(values[row]!)) addRow(out, row)
    return
  }
  for (const { low, high } of test.intervals) matchInterval(values, low, high, out)
}

function matchInterval(values: Float64Array, low: number, high: number, out: Uint32Array): void {
  const rows = values.length
  for (let row = 0, word = 0; row < rows; word++) {
    const end = Math.min(row + 32, rows)
    let passed = 0
    for (let bit = 0; row < end; row++, bit++) {
      const value = values[row]!
      passed |= (Number(value >= low) & Number(value <= high)) << bit
    }
    out[word]! |= passed
  }
}

export function matchBytes({ bytes, offsets, rows }: BytesColumn, passes: BytesTest, out: Uint32Array): void {
  for (let row = 0; row < rows; row++) if (passes(bytes, offsets[row]!, offsets[row + 1]!)) addRow(out, row)
}

/** `passing`: 1 for each code that passes. */
export function matchCodes({ codes, rows }: DictionaryColumn, passing: Uint8Array, out: Uint32Array): void {
  // A column of nulls only has no values: its codes point nowhere.
  if (passing.length === 0) return
  for (let row = 0, word = 0; row < rows; word++) {
    const end = Math.min(row + 32, rows)
    let passed = 0
    for (let bit = 0; row < end; row++, bit++) passed |= passing[codes[row]!]! << bit
    out[word]! |= passed
  }
}
