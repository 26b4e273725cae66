/** The k smallest upper bounds of rows so far, a max-heap in the scratch area: k rows are no farther than the largest of them. */
import { scratchCeilingAt } from './layout'

let heap: usize = 0
let capacity: i32 = 0
let count: i32 = 0

export function beginCeiling(scratch: usize, k: i32): void {
  heap = scratch + scratchCeilingAt
  capacity = k
  count = 0
}

/** Distance within which k rows are known to be: Infinity as long as bounds of fewer were offered. */
// @ts-ignore: decorator
@inline
export function ceiling(): f64 {
  return count < capacity ? Infinity : bound(0)
}

// @ts-ignore: decorator
@inline
function bound(index: i32): f64 {
  return load<f64>(heap + (<usize>index << 3))
}

// @ts-ignore: decorator
@inline
function put(index: i32, value: f64): void {
  store<f64>(heap + (<usize>index << 3), value)
}

/** Takes the upper bound of one more row; returns whether the ceiling is lower than before. */
export function offerUpper(upper: f64): bool {
  if (!(upper < ceiling())) return false
  if (count == capacity) {
    siftDown(upper)
    return true
  }
  let index = count++
  while (index > 0) {
    const parent = (index - 1) >> 1
    if (bound(parent) >= upper) break
    put(index, bound(parent))
    index = parent
  }
  put(index, upper)
  return count == capacity
}

/** Puts a bound in the place of the largest. */
function siftDown(upper: f64): void {
  let index = 0
  while (true) {
    let child = 2 * index + 1
    if (child >= capacity) break
    if (child + 1 < capacity && bound(child + 1) > bound(child)) child++
    if (!(bound(child) > upper)) break
    put(index, bound(child))
    index = child
  }
  put(index, upper)
}
