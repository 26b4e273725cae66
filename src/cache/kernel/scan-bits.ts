/** 1-bit codes of a range of rows. */
import { putCandidate, putLanes } from './candidates'
import { blockBitsAt, groupRows, scratchSumOwnersAt, scratchSumsAt, scratchTableAt, sumsKept } from './layout'
import { lookUp, nibbles } from './lanes'
import { bitBias, bitError, bitGround, bitLimit, bitStep } from './limits'
import { queryBytes, tableTurnBytes } from './query'
import { allowedRows, candidates, lanes } from './rows'

let bits: usize = 0
let table: usize = 0
/** Sums do not depend on the cluster: a group that several clusters share is summed for the first of them. */
let keptSums: usize = 0
let owners: usize = 0

export function beginBits(block: usize, scratch: usize): void {
  bits = block + load<u32>(block, blockBitsAt)
  table = scratch + scratchTableAt
  keptSums = scratch + scratchSumsAt
  owners = scratch + scratchSumOwnersAt
  memory.fill(owners, 0, sumsKept << 2)
}

/** Lower bounds of 1-bit codes, 32 rows at a time; emits rows that are not beyond the limit. */
export function scanBits(from: u32, to: u32, found: i32): i32 {
  const bytes = queryBytes
  const lowNibbles = nibbles()
  const step = f32x4.splat(bitStep)
  const bias = f32x4.splat(bitBias)
  const ground = f32x4.splat(bitGround)
  const error = f32x4.splat(bitError)
  const limit = f32x4.splat(bitLimit)
  const groupBytes = bytes + 3 * groupRows * 4
  const first = from & ~31
  let group = bits + <usize>(first / groupRows) * groupBytes
  let count = found
  for (let row = first; row < to; row += 32, group += groupBytes) {
    let word = allowedRows(row, from, to)
    if (popcnt(word) <= 4) {
      // Cheaper to look at these rows alone.
      while (word != 0) {
        putCandidate(candidates, count++, -f32.MAX_VALUE, row + ctz(word))
        word &= word - 1
      }
      continue
    }
    const end = group + bytes
    const index = row / groupRows
    const owner = owners + (<usize>(index & (sumsKept - 1)) << 2)
    const kept = keptSums + (<usize>(index & (sumsKept - 1)) << 6)
    let r0: v128
    let r1: v128
    let r2: v128
    let r3: v128
    if (load<u32>(owner) == index + 1) {
      r0 = v128.load(kept)
      r1 = v128.load(kept, 16)
      r2 = v128.load(kept, 32)
      r3 = v128.load(kept, 48)
    } else {
      // 16-bit sums of even and odd rows: `a` holds even + 256 * odd, `b` odd.
      let a0 = i16x8.splat(0)
      let b0 = a0
      let a1 = a0
      let b1 = a0
      let entry = table
      // Three columns a turn: with the sums of four V8 runs out of registers. Past the end entries are 0.
      for (let code = group; code < end; code += tableTurnBytes, entry += tableTurnBytes) {
        let c = v128.load(code)
        let t = v128.load(entry)
        let s0 = lookUp(t, v128.and(c, lowNibbles))
        let s1 = lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles))
        c = v128.load(code, 16)
        t = v128.load(entry, 16)
        s0 = i8x16.add(s0, lookUp(t, v128.and(c, lowNibbles)))
        s1 = i8x16.add(s1, lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
        c = v128.load(code, 32)
        t = v128.load(entry, 32)
        s0 = i8x16.add(s0, lookUp(t, v128.and(c, lowNibbles)))
        s1 = i8x16.add(s1, lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
        a0 = i16x8.add(a0, s0)
        b0 = i16x8.add(b0, i16x8.shr_u(s0, 8))
        a1 = i16x8.add(a1, s1)
        b1 = i16x8.add(b1, i16x8.shr_u(s1, 8))
      }
      a0 = i16x8.sub(a0, i16x8.shl(b0, 8))
      a1 = i16x8.sub(a1, i16x8.shl(b1, 8))
      r0 = v128.shuffle<i16>(a0, b0, 0, 8, 1, 9, 2, 10, 3, 11)
      r1 = v128.shuffle<i16>(a0, b0, 4, 12, 5, 13, 6, 14, 7, 15)
      r2 = v128.shuffle<i16>(a1, b1, 0, 8, 1, 9, 2, 10, 3, 11)
      r3 = v128.shuffle<i16>(a1, b1, 4, 12, 5, 13, 6, 14, 7, 15)
      if (row < from || row + groupRows > to) {
        store<u32>(owner, index + 1)
        v128.store(kept, r0)
        v128.store(kept, r1, 16)
        v128.store(kept, r2, 32)
        v128.store(kept, r3, 48)
      }
    }
    const e0 = bitBound(i32x4.extend_low_i16x8_u(r0), end, step, bias, ground, error)
    const e1 = bitBound(i32x4.extend_high_i16x8_u(r0), end + 16, step, bias, ground, error)
    const e2 = bitBound(i32x4.extend_low_i16x8_u(r1), end + 32, step, bias, ground, error)
    const e3 = bitBound(i32x4.extend_high_i16x8_u(r1), end + 48, step, bias, ground, error)
    const e4 = bitBound(i32x4.extend_low_i16x8_u(r2), end + 64, step, bias, ground, error)
    const e5 = bitBound(i32x4.extend_high_i16x8_u(r2), end + 80, step, bias, ground, error)
    const e6 = bitBound(i32x4.extend_low_i16x8_u(r3), end + 96, step, bias, ground, error)
    const e7 = bitBound(i32x4.extend_high_i16x8_u(r3), end + 112, step, bias, ground, error)
    const beyond =
      i32x4.bitmask(f32x4.gt(e0, limit)) |
      (i32x4.bitmask(f32x4.gt(e1, limit)) << 4) |
      (i32x4.bitmask(f32x4.gt(e2, limit)) << 8) |
      (i32x4.bitmask(f32x4.gt(e3, limit)) << 12) |
      (i32x4.bitmask(f32x4.gt(e4, limit)) << 16) |
      (i32x4.bitmask(f32x4.gt(e5, limit)) << 20) |
      (i32x4.bitmask(f32x4.gt(e6, limit)) << 24) |
      (i32x4.bitmask(f32x4.gt(e7, limit)) << 28)
    word &= ~(<u32>beyond)
    if (word == 0) continue
    v128.store(lanes, e0)
    v128.store(lanes, e1, 16)
    v128.store(lanes, e2, 32)
    v128.store(lanes, e3, 48)
    v128.store(lanes, e4, 64)
    v128.store(lanes, e5, 80)
    v128.store(lanes, e6, 96)
    v128.store(lanes, e7, 112)
    count = putLanes(candidates, count, lanes, word, row)
  }
  return count
}

// @ts-ignore: decorator
@inline
function bitBound(sums: v128, factors: usize, step: v128, bias: v128, ground: v128, error: v128): v128 {
  // Sums are below 2^16, and signed integers convert in one instruction.
  const product = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(sums), step), bias)
  return f32x4.sub(
    f32x4.add(f32x4.add(v128.load(factors), ground), f32x4.mul(v128.load(factors, 128), product)),
    f32x4.mul(v128.load(factors, 256), error),
  )
}
