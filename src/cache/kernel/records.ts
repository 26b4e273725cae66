/** Where a row's 8-bit code and its factors are. */
import { recordTailBytes } from './layout'

/** The code: i8[padded]. */
// @ts-ignore: decorator
@inline
export function recordCode(records: usize, position: u32, padded: usize): usize {
  return records + <usize>(position >> 2) * ((padded << 2) + recordTailBytes) + <usize>(position & 3) * padded
}

/** The row's lane of the tail's first four. */
// @ts-ignore: decorator
@inline
export function recordTail(records: usize, position: u32, padded: usize): usize {
  return records + <usize>(position >> 2) * ((padded << 2) + recordTailBytes) + (padded << 2) + (<usize>(position & 3) << 2)
}
