/** The best rows so far: a max-heap by (distance, order) in the scratch area. */
import { hitBytes, scratchHitsAt } from './layout'

let heap: usize = 0
let capacity: i32 = 0
let limit: f64 = 0
export let hitCount: i32 = 0
/** Rows farther than this are not wanted; equal ones are. */
export let threshold: f64 = 0
/** Smallest distance of a row that lost against rows of the heap by order alone, or was pushed out. */
export let lost: f64 = 0

export function beginHits(scratch: usize, k: i32, distanceMax: f64): void {
  heap = scratch + scratchHitsAt
  capacity = k
  limit = distanceMax
  hitCount = 0
  threshold = distanceMax
  lost = Infinity
}

/** From now on no row farther than this is wanted: k of the scan's rows are as near. */
export function limitTo(distance: f64): void {
  limit = distance
  threshold = distance
}

/** Offers a row; returns whether the threshold may have moved. */
export function offer(distance: f64, order: u32, row: u32): bool {
  if (!(distance <= threshold)) return false
  if (hitCount < capacity) {
    siftUp(hitCount++, distance, order, row)
    if (hitCount < capacity) return false
  } else {
    const worst = load<f64>(heap)
    if (distance == worst && order > load<u32>(heap, 8)) {
      lost = min<f64>(lost, distance)
      return false
    }
    lost = min<f64>(lost, worst)
    siftDown(0, capacity, distance, order, row)
  }
  threshold = min<f64>(limit, load<f64>(heap))
  return true
}

/** Sorts the heap in place, ascending. */
export function sortHits(): void {
  for (let last = hitCount - 1; last > 0; last--) {
    const end = heap + <usize>last * hitBytes
    const distance = load<f64>(end)
    const order = load<u32>(end, 8)
    const row = load<u32>(end, 12)
    memory.copy(end, heap, hitBytes)
    siftDown(0, last, distance, order, row)
  }
}

// @ts-ignore: decorator
@inline
function isWorse(entry: usize, distance: f64, order: u32): bool {
  const other = load<f64>(entry)
  return other > distance || (other == distance && load<u32>(entry, 8) > order)
}

// @ts-ignore: decorator
@inline
function put(index: i32, distance: f64, order: u32, row: u32): void {
  const entry = heap + <usize>index * hitBytes
  store<f64>(entry, distance)
  store<u32>(entry, order, 8)
  store<u32>(entry, row, 12)
}

function siftUp(start: i32, distance: f64, order: u32, row: u32): void {
  let index = start
  while (index > 0) {
    const parent = (index - 1) >> 1
    const entry = heap + <usize>parent * hitBytes
    if (isWorse(entry, distance, order)) break
    memory.copy(heap + <usize>index * hitBytes, entry, hitBytes)
    index = parent
  }
  put(index, distance, order, row)
}

function siftDown(start: i32, count: i32, distance: f64, order: u32, row: u32): void {
  let index = start
  while (true) {
    let child = 2 * index + 1
    if (child >= count) break
    let entry = heap + <usize>child * hitBytes
    if (child + 1 < count) {
      const right = entry + hitBytes
      if (isWorse(right, load<f64>(entry), load<u32>(entry, 8))) {
        child++
        entry = right
      }
    }
    if (!isWorse(entry, distance, order)) break
    memory.copy(heap + <usize>index * hitBytes, entry, hitBytes)
    index = child
  }
  put(index, distance, order, row)
}
