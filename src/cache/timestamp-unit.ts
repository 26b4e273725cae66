/** Timestamps as segments keep them (64-bit counts of a unit, the ends of the range for the infinities) and as cells. */
import type { TimeUnit } from 'apache-arrow'
import type { BoundLiteral } from '../core/predicate-bind.js'
import { infinityNs } from '../core/temporal.js'
import type { ValueTest } from './value-test.js'

const int64Max = 2n ** 63n - 1n

/** By TimeUnit: seconds, milliseconds, microseconds, nanoseconds. */
const nanoseconds = [1_000_000_000n, 1_000_000n, 1000n, 1n] as const satisfies Readonly<Record<TimeUnit, bigint>>

export function toNanoseconds(count: bigint, unit: TimeUnit): bigint {
  if (count >= int64Max) return infinityNs
  return count <= -int64Max ? -infinityNs : count * nanoseconds[unit]
}

/** A test of cells as the same test of counts: a literal finer than the unit falls between two of them. */
export function inUnit(test: ValueTest, unit: TimeUnit): ValueTest {
  const convert = (literal: BoundLiteral) => literalInUnit(literal, unit)
  switch (test.op) {
    case 'in':
      return { op: 'in', values: test.values.map(convert) }
    case 'between':
      return { op: 'between', low: convert(test.low), high: convert(test.high) }
    case 'starts_with':
    case 'like':
      return test
    default:
      return { op: test.op, value: convert(test.value) }
  }
}

function literalInUnit(literal: BoundLiteral, unit: TimeUnit): BoundLiteral {
  if (literal.kind !== 'cut') return literal
  const { at, exact } = literal
  if (at >= infinityNs) return { kind: 'cut', at: int64Max, exact }
  if (at <= -infinityNs) return { kind: 'cut', at: -int64Max, exact }
  const size = nanoseconds[unit]
  const remainder = ((at % size) + size) % size
  const count = (at - remainder) / size
  // Finite times beyond the column's lie between its last one and infinity.
  if (count >= int64Max) return { kind: 'cut', at: int64Max - 1n, exact: false }
  if (count <= -int64Max) return { kind: 'cut', at: -int64Max, exact: false }
  return { kind: 'cut', at: count, exact: exact && remainder === 0n }
}
