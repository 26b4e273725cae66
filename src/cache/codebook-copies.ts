/** A codebook as the kernel reads it: its copies in arenas. */
import assert from 'node:assert'
import { createHash } from 'node:crypto'
import type { Allocation, ArenaPool } from './arena.js'
import type { Centroids } from './centroids.js'
import { bytesOf, type Codebook, seedText } from './codebook.js'
import type { ArenaHandle } from './executor.js'
import {
  codebookBasisAt,
  codebookCellCountAt,
  codebookCellEdgesAt,
  codebookCenterAt,
  codebookCentroidsAt,
  codebookDirectionsAt,
  codebookHadamardAt,
  codebookIntegerNormMaxAt,
  codebookIntegersAt,
  codebookMetricAt,
  codebookNormMaxAt,
  codebookNormsAt,
  codebookPaddedAt,
  codebookPrefixAt,
  codebookRoundsAt,
  codebookScalesAt,
  codebookSkewAt,
  codebookSquaresAt,
  codebookTableAt,
} from './kernel/layout.js'
import { metricNumber } from './metric-number.js'
import { padDimension } from './padding.js'

/** The copies of one codebook in arenas: at most one an arena, each counted in the budget. A copy goes with the last that could use it. */
export class CodebookCopies {
  readonly #pool: ArenaPool
  readonly #codebook: Codebook
  readonly #copies = new Map<number, Allocation>()

  constructor(pool: ArenaPool, codebook: Codebook) {
    this.#pool = pool
    this.#codebook = codebook
  }

  /** Byte offset of the copy in `arena`, made when it is not there yet; null when the budget has no room for it. */
  place(arena: ArenaHandle): number | null {
    const present = this.#copies.get(arena.id)
    if (present !== undefined) return present.offset
    const leave = (): void => {
      this.#copies.get(arena.id)!.free()
      this.#copies.delete(arena.id)
    }
    const allocation = this.#pool.allocateCompanion(codebookLayout(this.#codebook).bytes, arena, leave)
    if (allocation === null) return null
    writeCodebook(this.#codebook, allocation)
    this.#copies.set(arena.id, allocation)
    return allocation.offset
  }

  get bytes(): number {
    let bytes = 0
    for (const copy of this.#copies.values()) bytes += copy.bytes
    return bytes
  }

  /** Frees every copy. No job may use them any more. */
  release(): void {
    for (const copy of this.#copies.values()) copy.free()
    this.#copies.clear()
  }
}

/** Number of centroids of a codebook's copy. */
export const centroidCountOf = (memory: WebAssembly.Memory, copy: number): number =>
  copy === 0 ? 0 : new Uint32Array(memory.buffer, copy + codebookCentroidsAt, 1)[0]!

/** Sign bits of a rotation: as many of SHAKE256's as there are words, so that the seed's 128 bits decide all of them. */
function writeSigns(seed: bigint, words: Uint32Array): void {
  const bits = createHash('shake256', { outputLength: Math.ceil(words.length / 8) })
    .update(`rotation ${seedText(seed)}`)
    .digest()
  for (let i = 0; i < words.length; i++) words[i] = ((bits[i >> 3]! >> (i & 7)) & 1) * 0x80000000
}

/** Rounds of random signs and a Hadamard transform: one more when it covers only a part of the coordinates at a time. */
function rotationShape(paddedDimension: number): { readonly hadamard: number; readonly rounds: number } {
  const hadamard = 2 ** Math.floor(Math.log2(paddedDimension))
  return { hadamard, rounds: hadamard === paddedDimension ? 3 : 4 }
}

/** Where the parts of a copy lie, from its start. */
interface CodebookLayout {
  readonly integers: number
  readonly scales: number
  readonly squares: number
  readonly norms: number
  readonly table: number
  readonly basis: number
  readonly edges: number
  readonly bytes: number
}

function codebookLayout(codebook: Codebook): CodebookLayout {
  const padded = padDimension(codebook.dimension)
  const align = (bytes: number): number => Math.ceil(bytes / 64) * 64
  const integers = align(codebookCenterAt + padded * 4 * (1 + rotationShape(padded).rounds))
  const count = codebook.centroids?.count ?? 0
  const scales = align(integers + count * padded * 2)
  const squares = align(scales + count * 4)
  const norms = align(squares + count * 8)
  const table = align(norms + count * 4)
  const basis = align(table + (codebook.centroids?.table.byteLength ?? 0))
  const edges = basis + align((codebook.basis?.count ?? 0) * padded * 4)
  const bytes = edges + align(codebook.basis?.cells?.edges.byteLength ?? 0)
  return { integers, scales, squares, norms, table, basis, edges, bytes }
}

function writeCodebook(codebook: Codebook, allocation: Allocation): void {
  const padded = padDimension(codebook.dimension)
  const { hadamard, rounds } = rotationShape(padded)
  const layout = codebookLayout(codebook)
  assert(allocation.bytes >= layout.bytes, 'a copy fills its allocation')
  const words = allocation.u32()
  words.fill(0)
  words[codebookPaddedAt / 4] = padded
  words[codebookMetricAt / 4] = metricNumber(codebook.metric)
  words[codebookRoundsAt / 4] = rounds
  words[codebookHadamardAt / 4] = hadamard
  allocation.f32().set(codebook.center, codebookCenterAt / 4)
  writeSigns(codebook.seed, words.subarray(codebookCenterAt / 4 + padded).subarray(0, rounds * padded))
  if (codebook.centroids !== null) writeCentroids(codebook.centroids, padded, allocation, layout)
  if (codebook.basis !== null) {
    words[codebookDirectionsAt / 4] = codebook.basis.count
    words[codebookBasisAt / 4] = layout.basis
    words[codebookPrefixAt / 4] = codebook.basis.prefix
    allocation.f32().set(codebook.basis.vectors, layout.basis / 4)
    new Float64Array(allocation.arena.memory.buffer, allocation.offset + codebookSkewAt, 1)[0] = codebook.basis.skew
    if (codebook.basis.cells !== null) {
      words[codebookCellCountAt / 4] = codebook.basis.cells.count
      words[codebookCellEdgesAt / 4] = layout.edges
      allocation.f32().set(codebook.basis.cells.edges, layout.edges / 4)
    }
  }
}

function writeCentroids(centroids: Centroids, padded: number, allocation: Allocation, layout: CodebookLayout): void {
  const { count, table, integers, scales } = centroids
  const words = allocation.u32()
  words[codebookCentroidsAt / 4] = count
  words[codebookIntegersAt / 4] = layout.integers
  words[codebookScalesAt / 4] = layout.scales
  words[codebookSquaresAt / 4] = layout.squares
  words[codebookNormsAt / 4] = layout.norms
  words[codebookTableAt / 4] = layout.table
  allocation.u8().set(bytesOf(integers), layout.integers)
  allocation.f32().set(scales, layout.scales / 4)
  allocation.u8().set(table, layout.table)
  const integerNorms = Float64Array.from({ length: count }, (_, index) => {
    const vector = integers.subarray(index * padded, (index + 1) * padded)
    return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
  })
  // NaN stays, here and in the maximum: such centroids are not used.
  const norms = integerNorms.map((norm, index) => norm * scales[index]!)
  allocation.f32().set(
    norms.map((norm) => norm * (1 + 1e-6)),
    layout.norms / 4,
  )
  const { buffer } = allocation.arena.memory
  new Float64Array(buffer, allocation.offset + layout.squares, count).set(norms.map((norm) => norm * norm))
  const put = (at: number, value: number): void => {
    new Float64Array(buffer, allocation.offset + at, 1)[0] = value
  }
  put(codebookNormMaxAt, Math.max(...norms) * (1 + 1e-6))
  put(codebookIntegerNormMaxAt, Math.max(...integerNorms))
}
