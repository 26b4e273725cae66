/** The rows that a scan goes through: where they are, which may be returned, and where those go that codes do not rule out. */
import {
  blockInverseNormsAt,
  blockQuantizedAt,
  blockRankedAt,
  blockRanksAt,
  blockRecordsAt,
  scratchCandidatesAt,
  scratchLanesAt,
} from './layout'

/** f32[rows][padded]; 0 while they are on disk: then hits are upper bounds, and every row that may be nearer survives. */
export let vectors: usize = 0
export let inverseNorms: usize = 0
/** Tie ranks, or 0. */
export let ranks: usize = 0
let allowed: usize = 0
/** 8-bit codes, and the rows of all positions; 0 when the block has none, and positions are rows. */
export let records: usize = 0
export let candidates: usize = 0
export let lanes: usize = 0

/** @param allow one bit a position, or 0 */
export function beginRows(block: usize, originals: usize, scratch: usize, allow: usize): void {
  vectors = originals
  inverseNorms = block + load<u32>(block, blockInverseNormsAt)
  ranks = atomic.load<u32>(block, blockRankedAt) != 0 ? block + load<u32>(block, blockRanksAt) : 0
  allowed = allow
  records = load<u32>(block, blockQuantizedAt) != 0 ? block + load<u32>(block, blockRecordsAt) : 0
  candidates = scratch + scratchCandidatesAt
  lanes = scratch + scratchLanesAt
}

/** Positions of [from, to) that may be returned, one bit each, of the 32 from `start`, a multiple of 32, on. */
// @ts-ignore: decorator
@inline
export function allowedRows(start: u32, from: u32, to: u32): u32 {
  let word: u32 = allowed != 0 ? load<u32>(allowed + ((<usize>start >> 5) << 2)) : 0xffffffff
  if (start < from) word &= 0xffffffff << (from - start)
  return to - start >= 32 ? word : word & ((1 << (to - start)) - 1)
}
