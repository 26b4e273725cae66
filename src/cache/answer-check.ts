/**
 * Brute force over a version's originals, to check an answer by (law 6). It shares nothing with the search it checks but the
 * rows: float64 distances by core's definition, delete masks looked up row by row, predicates by core's reference evaluator.
 */
import { setImmediate } from 'node:timers/promises'
import type { Column } from '../core/column.js'
import { distance, type Metric } from '../core/metric.js'
import { type BoundPredicate, bindPredicate } from '../core/predicate-bind.js'
import { evaluatePredicate } from '../core/predicate-evaluate.js'
import type { Allocation } from './arena.js'
import { originalsBytes } from './block.js'
import type { MemoryBudget } from './budget.js'
import { isDeleted } from './deleted-rows.js'
import type { KernelExecutor } from './executor.js'
import { Pins, type Segment } from './segment.js'
import { compareShardHits, type MaskedSegment } from './shelf.js'
import type { AnswerCheck, CheckedAnswer, RowLocation, ShardAnswer, ShardHit, ShardQuery } from './vector-cache.js'

interface CheckTarget {
  /** In version order. */
  readonly segments: readonly MaskedSegment[]
  readonly columns: readonly Column[]
  readonly metric: Metric
  readonly executor: KernelExecutor
  readonly budget: MemoryBudget
}

type RunOptions = Parameters<AnswerCheck['run']>[0]

/** Values (rows times dimension) that a thread compares before it may do something else: about a millisecond. */
const stretchValues = 256 * 1024
/** How long the calling thread may be kept before others get their turn. */
const turnMs = 0.5

export function checkAnswer(target: CheckTarget, query: ShardQuery, { hits }: ShardAnswer): AnswerCheck {
  const asked = { ...query, vector: query.vector.slice() }
  return {
    async run(options) {
      const pins = new Pins()
      const originals = new Originals(target.budget)
      try {
        if (target.segments.some(({ segment }) => segment.resident === null)) return null
        for (const { segment } of target.segments) pins.addReading(segment)
        return await target.budget.spare((giveWay) => {
          const signal = AbortSignal.any([giveWay, options.signal])
          return compareWithAll(target, asked, hits, { ...options, originals, signal })
        })
      } finally {
        originals.release()
        pins.release()
      }
    },
  }
}

/** The segments are pinned. */
async function compareWithAll(
  target: CheckTarget,
  query: ShardQuery,
  hits: readonly ShardHit[],
  options: RunOptions & { readonly originals: Originals },
): Promise<CheckedAnswer> {
  const { segments, columns } = target
  const filter = query.filter === null ? null : bindPredicate(query.filter, columns)
  const nextTurn = openTurn()
  const wrong: { hit: number; reason: string }[] = []
  const right = new Set<ShardHit>()
  let before: ShardHit | null = null
  for (const [index, hit] of hits.entries()) {
    await nextTurn(options.signal)
    const reason = index < query.k ? await faultOf(hit, before, target, query, filter) : 'it is more than was asked for'
    if (reason !== null) {
      wrong.push({ hit: index, reason })
      continue
    }
    right.add(hit)
    before = hit
  }
  const places = new Set(Array.from(right, ({ location }) => placeOf(location)))
  const best = new Best(query.k, query.distanceMax, right)
  let rowsRead = 0
  let valuesRead = 0
  let complete = true
  for (const { segment, from, count } of stretches(segments, query.vector.length, options.from)) {
    if (options.isEnough(valuesRead)) {
      complete = false
      break
    }
    const { block } = segments[segment]!.segment.resident!
    const work = {
      metric: target.metric,
      query: query.vector,
      vectors: await options.originals.rows(segments[segment]!.segment, { from, count }, options.signal),
      stride: block.stride,
      within: best.within,
    }
    const near = await target.executor.compare(work, options)
    rowsRead += count
    valuesRead += count * query.vector.length
    for (const [i, row] of near.rows.entries()) {
      await nextTurn(options.signal)
      const location = { segment, position: from + row }
      const away = near.distances[i]!
      if (away > best.within || places.has(placeOf(location))) continue
      if (isDead(segments[segment]!, location.position) || !passes(filter, segments[segment]!, location.position))
        continue
      best.add(hitAt(segments, location, away))
    }
  }
  const expected = best.sorted()
  return {
    complete,
    rowsRead,
    expected,
    missed: expected.filter((hit) => !right.has(hit)).length,
    wrong,
    segments: segments.map(({ segment }) => ({
      key: segment.key,
      codebook: segment.codebook,
      rows: segment.rows,
      clusters: segment.resident!.block.clusters,
    })),
  }
}

/** Rows in order; of one segment after the other those that are on disk only are brought into free memory. */
class Originals {
  readonly #budget: MemoryBudget
  #segment: Segment | null = null
  #copy: Allocation | null = null

  constructor(budget: MemoryBudget) {
    this.#budget = budget
  }

  /** float32[count][stride], borrowed until the next call. Throws LG_CORRUPT and LG_OVER_BUDGET. */
  async rows(
    segment: Segment,
    { from, count }: { readonly from: number; readonly count: number },
    signal: AbortSignal,
  ): Promise<Float32Array> {
    const { block } = segment.resident!
    if (block.originals !== null) return block.rowsInPlace(from, count)
    if (this.#segment !== segment) {
      this.release()
      const copy = this.#budget.takeFree(originalsBytes(block))
      this.#copy = copy
      await segment.fromDisk((stored) => stored.readRows(0, copy.u8(), signal))
      this.#segment = segment
    }
    return this.#copy!.f32().subarray(from * block.stride, (from + count) * block.stride)
  }

  release(): void {
    this.#copy?.free()
    this.#copy = null
    this.#segment = null
  }
}

/** Why a hit is not what the answer says, or null. `before`: the last hit in front of it that is. */
async function faultOf(
  hit: ShardHit,
  before: ShardHit | null,
  { segments, metric }: CheckTarget,
  query: ShardQuery,
  filter: BoundPredicate | null,
): Promise<string | null> {
  const { segment, position } = hit.location
  const masked = segments[segment]!
  const [vector] = await masked.segment.vectors([position])
  const away = distance(metric, query.vector, vector!)
  if (away !== hit.distance) return `its distance is ${away}, not ${hit.distance}`
  if (compareShardHits(hitAt(segments, hit.location, away), hit) !== 0) return 'the row has another id'
  if (away > query.distanceMax) return 'it is farther than was asked for'
  if (isDead(masked, position)) return 'the row is deleted'
  if (!passes(filter, masked, position)) return 'the row does not pass the filter'
  if (before !== null && compareShardHits(before, hit) >= 0) return 'it is not behind the hit before it'
  return null
}

const placeOf = ({ segment, position }: RowLocation): string => `${segment} ${position}`

const isDead = (masked: MaskedSegment, position: number): boolean =>
  isDeleted(masked, masked.segment.resident!.ordinals, position)

function passes(filter: BoundPredicate | null, { segment }: MaskedSegment, position: number): boolean {
  if (filter === null) return true
  const { metadata } = segment.resident!
  return evaluatePredicate(filter, (column) => metadata!.cell(position, column)) === true
}

function hitAt(segments: readonly MaskedSegment[], location: RowLocation, away: number): ShardHit {
  const { segment } = segments[location.segment]!
  const { ids, ordinals } = segment.resident!
  return {
    distance: away,
    id: ids.get(location.position),
    part: segment.runs[segment.runOf(location.position)]!.part,
    row: ordinals[location.position]!,
    location,
  }
}

interface Stretch {
  readonly segment: number
  readonly from: number
  readonly count: number
}

/** All rows in stretches, in order but for where they begin. @param from in [0, 1) */
function stretches(segments: readonly MaskedSegment[], dimension: number, from: number): readonly Stretch[] {
  const rowsEach = Math.max(1, Math.floor(stretchValues / dimension))
  const all = segments.flatMap(({ segment: { rows } }, segment) =>
    Array.from({ length: Math.ceil(rows / rowsEach) }, (_, i) => ({
      segment,
      from: i * rowsEach,
      count: Math.min(rowsEach, rows - i * rowsEach),
    })),
  )
  const start = Math.floor(from * all.length)
  return [...all.slice(start), ...all.slice(0, start)]
}

/** The k best of what was added. */
class Best {
  readonly #k: number
  readonly #distanceMax: number
  #hits: ShardHit[]
  /** Farther rows do not matter any more. */
  within: number

  constructor(k: number, distanceMax: number, hits: Iterable<ShardHit>) {
    this.#k = k
    this.#distanceMax = distanceMax
    this.#hits = [...hits]
    this.within = distanceMax
    this.#settle()
  }

  add(hit: ShardHit): void {
    this.#hits.push(hit)
    // Sorting now and then is cheaper than a heap whose every step compares ids.
    if (this.#hits.length >= 2 * this.#k + 1024) this.#settle()
  }

  sorted(): readonly ShardHit[] {
    this.#settle()
    return this.#hits
  }

  #settle(): void {
    this.#hits = this.#hits.sort(compareShardHits).slice(0, this.#k)
    if (this.#hits.length === this.#k) this.within = Math.min(this.#distanceMax, this.#hits.at(-1)!.distance)
  }
}

/** Lets the calling thread do something else once it has been kept long enough. */
function openTurn() {
  let endMs = performance.now() + turnMs
  return async (signal: AbortSignal): Promise<void> => {
    if (performance.now() < endMs) return
    await setImmediate()
    signal.throwIfAborted()
    endMs = performance.now() + turnMs
  }
}
