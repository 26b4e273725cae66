import type { Manifest, Part } from '../adapters/adapter.js'
import { formatCollection, type Generation } from '../core/generation.js'
import { limits } from '../core/limits.js'
import { sideBySide } from '../core/side-by-side.js'
import { attend } from './attend.js'
import { isOverBudget, type MemoryBudget } from './budget.js'
import { bundleWitness } from './bundle.js'
import { deletedRows } from './deleted-rows.js'
import type { Holdings } from './holdings.js'
import { type MemoryRoom, needsMoreMemory, placeOriginals } from './originals-place.js'
import type { OriginalsPlace } from './parts.js'
import type { PrimingProgress } from './priming-progress.js'
import { Pins } from './segment.js'
import type { CachedCollection } from './vector-cache.js'
import { sameContent, type Version } from './versions.js'

/**
 * Parts pulled at a time, and their bytes at the source together: thousands of small files mostly wait, each for its own
 * query of the reader. Larger parts are pulled alone, in as much memory as ever.
 */
const pullRoom = { count: 8, weight: 8 * 2 ** 20 }

export interface Build {
  readonly source: CachedCollection
  readonly generation: Generation
  /** Where parts of other versions are found, and what is pulled goes. */
  readonly holdings: Holdings
  readonly budget: MemoryBudget
  /** Whether originals can be left on disk. */
  readonly persistent: boolean
  readonly progress: PrimingProgress
  /** Ends it with its reason. */
  readonly lifetime: AbortSignal
}

/**
 * Makes the version of a generation with every segment in memory: parts that other versions have are shared, or read from
 * disk, and the others are pulled. On failure what was pulled is not pinned any more.
 * @param enter takes the version in while its segments are still pinned, and answers what it became
 */
export async function buildVersion(build: Build, enter: (version: Version) => Version): Promise<Version> {
  const { source, generation, holdings, budget, persistent, progress, lifetime } = build
  const { parts, versions } = holdings
  const name = formatCollection(source.ref)
  const room: MemoryRoom = { name, bytesMax: budget.pool.bytesMax, persistent }
  const attention = { name, silenceMsMax: limits.sourceSilenceMsMax, lifetime }
  const pins = new Pins()
  try {
    const held = versions.find(generation)
    // A restart reads its segments while the source is asked what the generation consists of.
    const [manifested, restored] = await Promise.allSettled([
      attend(attention, (signal) => source.adapter.manifest(source.ref.collection, generation, { signal })),
      held === null ? null : parts.restoreAll(held, pins),
    ])
    if (manifested.status === 'rejected') throw manifested.reason
    if (restored.status === 'rejected') throw restored.reason
    const manifest = manifested.value
    const place = placeOriginals(manifest, parts, room)
    progress.expect(manifest.parts.filter((part) => parts.find(part, manifest) === null))
    const obtain = async (originals: OriginalsPlace) => {
      const obtainPart = async (part: Part): Promise<Version['parts'][number]> => {
        const onRows = (rows: number): void => progress.advance(part, rows)
        const cached = await parts.obtain(source, manifest, part, { pins, originals, onRows, signal: lifetime })
        progress.finish(part)
        return { part: cached, mask: part.deleted }
      }
      return sideBySide(manifest.parts, pullRoom, ({ bytes }) => bytes ?? pullRoom.weight, obtainPart).catch(
        (error: unknown) => {
          const failure = isOverBudget(error) ? needsMoreMemory(room, `more than ${pins.bytes}`, error) : error
          pins.release()
          throw failure
        },
      )
    }
    const slots = await budget
      .fill(() => obtain(place))
      .catch((error: unknown) => {
        // What rows take besides their vectors is only known now.
        if (!isOverBudget(error) || place === 'disk' || !persistent) throw error
        return budget.fill(() => obtain('disk'))
      })
    lifetime.throwIfAborted()
    return enter(assemble(source, manifest, slots, holdings))
  } finally {
    pins.release()
  }
}

/** The version of a manifest, given its parts; the one that is held already when it is the same. */
function assemble(
  { ref, adapter }: CachedCollection,
  manifest: Manifest,
  slots: Version['parts'],
  { parts, versions }: Holdings,
): Version {
  const held = versions.find(manifest.generation)
  if (held !== null && sameContent(held, manifest, slots)) {
    held.confirmed = true
    return held
  }
  const { generation, readIdentity, dimension, columns, vectorColumn, idColumn } = manifest
  const segments = parts.mask(slots, dimension)
  let rows = 0
  for (const masked of segments) {
    rows += masked.segment.rows
    for (const _ of deletedRows(masked, masked.segment.resident!.ordinals)) rows--
  }
  return {
    generation,
    readIdentity,
    dimension,
    columns,
    vectorColumn,
    idColumn,
    parts: slots,
    segments,
    rows,
    witness: bundleWitness({ dataRef: formatCollection(ref), dimension: dimension ?? 0, generation }),
    configuration: adapter.configuration ?? null,
    confirmed: true,
  }
}
