/**
 * Cells: 4 bits for each of some principal coordinates and for the norm of what is left. How far a row is at least follows
 * from a table a query, 32 rows at a time (vector approximation, Weber, Schek and Blott 1998; docs/rounding.md, "Cells").
 */
import {
  blockCellCountAt,
  blockCellErrorMaxAt,
  blockCellsAt,
  cellEdgesStride,
  codebookCellCountAt,
  codebookCellEdgesAt,
  groupRows,
  scratchCellPointAt,
  scratchPrincipalAt,
  scratchTableAt,
} from './layout'
import { lookUp, nibbles } from './lanes'
import { measureRest, projectionError, rest, restError } from './principal'

/** What the threshold is worth in the table: sums are of 8 bits and stop at 255. */
const tableLimit: f64 = 250
/** A table is made anew when the threshold's square has fallen to this share of the one it was made for. */
const staleShare: f64 = 0.9

/* The query. */
/** Number of cells a row; 0 when the codebook has none. */
export let cellCount: u32 = 0
let edges: usize = 0
let point: usize = 0
let table: usize = 0
/** How far the point may be from where the query is. */
let pointError: f64 = 0

/* The block. */
let codes: usize = 0
let rowError: f64 = 0

/* The table. */
/** What it was made for; 0 when there is none. */
let tableSquare: f64 = 0
let tableScale: f32 = 0
let limit: u32 = 0

/** Writes f32[count]: the first coordinates of what was projected, and last the norm of what they leave. Returns its error. */
function locate(scratch: usize, count: u32): f64 {
  const target = scratch + scratchCellPointAt
  const last = <usize>(count - 1) << 2
  measureRest(scratch, count - 1)
  memory.copy(target, scratch + scratchPrincipalAt, last)
  store<f32>(target + last, <f32>rest)
  return projectionError + restError
}

/** Codes the row that was projected; returns how far it may be from where its cells say. */
export function encodeCells(block: usize, codebook: usize, scratch: usize, position: u32): f64 {
  const count = load<u32>(block, blockCellCountAt)
  const error = locate(scratch, count)
  const lane = position & (groupRows - 1)
  const shift = (lane >> 4) << 2
  let code = block + load<u32>(block, blockCellsAt) + <usize>(position / groupRows) * (<usize>count << 4) + (lane & 15)
  let edge = codebook + load<u32>(codebook, codebookCellEdgesAt)
  for (let index: u32 = 0; index < count; index++, code += 16, edge += cellEdgesStride) {
    const value = f32x4.splat(load<f32>(scratch + scratchCellPointAt + (<usize>index << 2)))
    // The number of upper edges that are not above it.
    const cell =
      popcnt(i32x4.bitmask(f32x4.ge(value, v128.load(edge, 4)))) +
      popcnt(i32x4.bitmask(f32x4.ge(value, v128.load(edge, 20)))) +
      popcnt(i32x4.bitmask(f32x4.ge(value, v128.load(edge, 36)))) +
      popcnt(i32x4.bitmask(f32x4.ge(value, v128.load(edge, 52))))
    const other = <u32>load<u8>(code) & (0xf0 >> shift)
    store<u8>(code, <u8>(other | (cell << shift)))
  }
  return error
}

/** Prepares the query that was projected. */
export function prepareCells(scratch: usize, codebook: usize): void {
  cellCount = load<u32>(codebook, codebookCellCountAt)
  if (cellCount == 0) return
  edges = codebook + load<u32>(codebook, codebookCellEdgesAt)
  point = scratch + scratchCellPointAt
  table = scratch + scratchTableAt
  pointError = locate(scratch, cellCount)
}

export function beginCells(block: usize): void {
  codes = block + load<u32>(block, blockCellsAt)
  rowError = load<f64>(block, blockCellErrorMaxAt)
  tableSquare = 0
}

/** Makes the table fit rows within `reach` of the query; returns whether it can rule out any. */
export function followCells(reach: f64): bool {
  const extent = reach + pointError + rowError
  const square = extent * extent * (1 + 1e-9)
  if (!(square >= 1e-30 && square <= 1e30)) return false
  if (!(square <= tableSquare && square >= staleShare * tableSquare)) makeTable(square)
  limit = <u32>(square * <f64>tableScale * (1 + 2e-6))
  return true
}

/** For every cell its squared distance from the query's coordinate, rounded down to a share of the threshold. */
function makeTable(square: f64): void {
  tableSquare = square
  tableScale = <f32>(tableLimit / square)
  const scale = f32x4.splat(tableScale)
  for (let index: u32 = 0; index < cellCount; index++) {
    const value = f32x4.splat(load<f32>(point + (<usize>index << 2)))
    const edge = edges + <usize>index * cellEdgesStride
    const c0 = shares(edge, value, scale)
    const c1 = shares(edge + 16, value, scale)
    const c2 = shares(edge + 32, value, scale)
    const c3 = shares(edge + 48, value, scale)
    const entries = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(c0, c1), i16x8.narrow_i32x4_s(c2, c3))
    v128.store(table + (<usize>index << 4), entries)
  }
}

/** Of four cells from the one whose lower edge is at `edge` on. */
// @ts-ignore: decorator
@inline
function shares(edge: usize, value: v128, scale: v128): v128 {
  const below = f32x4.sub(v128.load(edge), value)
  const above = f32x4.sub(value, v128.load(edge, 4))
  const gap = f32x4.max(f32x4.splat(0), f32x4.max(below, above))
  return i32x4.trunc_sat_f32x4_s(f32x4.mul(f32x4.mul(gap, gap), scale))
}

/** Of the 32 rows from position `start`, a multiple of 32, on: those that their cells do not put beyond the threshold. */
// @ts-ignore: decorator
@inline
export function rowsWithinCells(start: u32): u32 {
  const lowNibbles = nibbles()
  let s0 = i8x16.splat(0)
  let s1 = s0
  let entry = table
  let code = codes + <usize>(start / groupRows) * (<usize>cellCount << 4)
  const end = code + (<usize>cellCount << 4)
  for (; code < end; code += 64, entry += 64) {
    let c = v128.load(code)
    let t = v128.load(entry)
    s0 = i8x16.add_sat_u(s0, lookUp(t, v128.and(c, lowNibbles)))
    s1 = i8x16.add_sat_u(s1, lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
    c = v128.load(code, 16)
    t = v128.load(entry, 16)
    s0 = i8x16.add_sat_u(s0, lookUp(t, v128.and(c, lowNibbles)))
    s1 = i8x16.add_sat_u(s1, lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
    c = v128.load(code, 32)
    t = v128.load(entry, 32)
    s0 = i8x16.add_sat_u(s0, lookUp(t, v128.and(c, lowNibbles)))
    s1 = i8x16.add_sat_u(s1, lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
    c = v128.load(code, 48)
    t = v128.load(entry, 48)
    s0 = i8x16.add_sat_u(s0, lookUp(t, v128.and(c, lowNibbles)))
    s1 = i8x16.add_sat_u(s1, lookUp(t, v128.and(i16x8.shr_u(c, 4), lowNibbles)))
  }
  const most = i8x16.splat(<i8>limit)
  return <u32>i8x16.bitmask(i8x16.le_u(s0, most)) | (<u32>i8x16.bitmask(i8x16.le_u(s1, most)) << 16)
}
