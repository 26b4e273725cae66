/** Rows whose originals are on disk and that no bound of others rules out: behind the hits in the scratch area. */
import { hitBytes, hitsRoom, scratchHitsAt } from './layout'

let entries: usize = 0
let capacity: i32 = 0
let count: i32 = 0
let overflowed: bool = false

export function beginSurvivors(scratch: usize, k: i32): void {
  entries = scratch + scratchHitsAt + <usize>k * hitBytes
  capacity = hitsRoom - k
  count = 0
  overflowed = false
}

/** Survivors of the last scan, or -1 when there were more than fit: then its rows are to be scanned in smaller ranges. */
export function survivorCount(): i32 {
  return overflowed ? -1 : count
}

/** `lower` is at most `threshold`, beyond which rows are out. */
export function putSurvivor(lower: f64, position: u32, row: u32, threshold: f64): void {
  if (overflowed) return
  if (count == capacity) {
    keepWithin(threshold)
    // Leaving out a few again and again would take longer than starting over.
    if (count > capacity - (capacity >> 3)) {
      overflowed = true
      return
    }
  }
  const entry = entries + <usize>count * hitBytes
  count++
  store<f64>(entry, lower)
  store<u32>(entry, position, 8)
  store<u32>(entry, row, 12)
}

/** Leaves out those that are beyond the threshold by now. */
export function keepWithin(threshold: f64): void {
  let kept = 0
  for (let index = 0; index < count; index++) {
    const entry = entries + <usize>index * hitBytes
    if (load<f64>(entry) > threshold) continue
    memory.copy(entries + <usize>kept * hitBytes, entry, hitBytes)
    kept++
  }
  count = kept
}
