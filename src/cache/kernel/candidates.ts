/** Rows of a chunk that an estimate could not rule out: (f32 estimate, u32 row) in the scratch area. */

export const candidateBytes: usize = 8

/** Order of estimates only decides in which order rows are looked at. */
// @ts-ignore: decorator
@inline
export function estimateOf(candidates: usize, index: i32): f32 {
  return load<f32>(candidates + (<usize>index << 3))
}

// @ts-ignore: decorator
@inline
export function rowOf(candidates: usize, index: i32): u32 {
  return load<u32>(candidates + (<usize>index << 3), 4)
}

// @ts-ignore: decorator
@inline
export function putCandidate(candidates: usize, index: i32, estimate: f32, row: u32): void {
  const entry = candidates + (<usize>index << 3)
  store<f32>(entry, estimate)
  store<u32>(entry, row, 4)
}

/** Puts the lanes whose bits are set in `kept`; `lanes`: their estimates in memory, lane 0 being `row`. Returns the new count. */
// @ts-ignore: decorator
@inline
export function putLanes(candidates: usize, count: i32, lanes: usize, kept: u32, row: u32): i32 {
  let end = count
  for (let left = kept; left != 0; left &= left - 1) {
    const lane = ctz(left)
    putCandidate(candidates, end++, load<f32>(lanes + (<usize>lane << 2)), row + lane)
  }
  return end
}

/** Makes a min-heap by estimate. */
export function heapify(candidates: usize, count: i32): void {
  for (let index = (count >> 1) - 1; index >= 0; index--) sift(candidates, index, count)
}

/** Moves the smallest of `count` candidates behind the other `count - 1`. */
export function popSmallest(candidates: usize, count: i32): void {
  const last = candidates + (<usize>(count - 1) << 3)
  const smallest = load<u64>(candidates)
  store<u64>(candidates, load<u64>(last))
  store<u64>(last, smallest)
  sift(candidates, 0, count - 1)
}

function sift(candidates: usize, start: i32, count: i32): void {
  let index = start
  const moved = load<u64>(candidates + (<usize>index << 3))
  const estimate = estimateOf(candidates, index)
  while (true) {
    let child = 2 * index + 1
    if (child >= count) break
    if (child + 1 < count && estimateOf(candidates, child + 1) < estimateOf(candidates, child)) child++
    if (!(estimateOf(candidates, child) < estimate)) break
    store<u64>(candidates + (<usize>index << 3), load<u64>(candidates + (<usize>child << 3)))
    index = child
  }
  store<u64>(candidates + (<usize>index << 3), moved)
}
