import { type DeleteMask, generation, partKey } from '../core/generation.js'
import type { Metric } from '../core/metric.js'
import { bundleWitness } from './bundle.js'
import { type CollectionRecord, packOrdinals, unpackOrdinals } from './collection-record.js'
import type { Parts } from './parts.js'
import type { Segment } from './segment.js'
import type { Sighting, Sightings } from './sightings.js'
import type { CachedPart, Version } from './versions.js'

/** What a restart will need of these versions. Parts and masks that versions share are written once. */
export function toRecord(of: {
  readonly metric: Metric
  readonly versions: readonly Version[]
  readonly codebooks: CollectionRecord['codebooks']
  readonly sightings: Sightings
}): CollectionRecord {
  const { metric, versions, codebooks, sightings } = of
  const parts = new Map<CachedPart, number>()
  const masks = new Map<string, { readonly index: number; readonly mask: DeleteMask }>()
  const partIndex = (part: CachedPart): number => {
    if (!parts.has(part)) parts.set(part, parts.size)
    return parts.get(part)!
  }
  const maskIndex = (part: number, mask: DeleteMask | null): number | null => {
    if (mask === null) return null
    const name = JSON.stringify([part, mask.identity])
    if (!masks.has(name)) masks.set(name, { index: masks.size, mask })
    return masks.get(name)!.index
  }
  const written = versions.map((version) => ({
    generation: version.generation,
    readIdentity: version.readIdentity,
    configuration: version.configuration,
    dimension: version.dimension,
    columns: version.columns,
    vectorColumn: version.vectorColumn,
    idColumn: version.idColumn,
    rows: version.rows,
    parts: version.parts.map(({ part, mask }) => {
      const index = partIndex(part)
      return [index, maskIndex(index, mask)] as const
    }),
  }))
  const segments = new Map<Segment, number>()
  const segmentIndex = (segment: Segment): number => {
    if (!segments.has(segment)) segments.set(segment, segments.size)
    return segments.get(segment)!
  }
  const writtenParts = Array.from(parts.keys(), ({ key, readIdentity, skipped, segments }) => ({
    key,
    readIdentity,
    skipped,
    segments: segments.map(segmentIndex),
  }))
  return {
    metric,
    segments: Array.from(segments.keys(), ({ key, content, codebook, rows, bytes, runs }) => ({
      key,
      content,
      codebook,
      rows,
      bytes,
      runs,
    })),
    parts: writtenParts,
    codebooks,
    masks: [...masks.values()].map(({ mask }) => ({ identity: mask.identity, ordinals: packOrdinals(mask.ordinals) })),
    versions: written,
    sightings: sightings.list(),
  }
}

/** Versions of an earlier process, but those read under another configuration and those whose codes' codebook is gone. */
export async function fromRecord(
  record: CollectionRecord,
  parts: Parts,
  dataRef: string,
  configuration: string | null,
): Promise<{ readonly versions: readonly Version[]; readonly sightings: readonly Sighting[] }> {
  const codebooks = await parts.codebooks.load(record.codebooks)
  // Segments without codes are searched with the active codebook.
  const plain = record.codebooks.every(({ version, active }) => !active || codebooks.has(version))
  const segments = record.segments.map((segment) =>
    (segment.codebook === null ? plain : codebooks.has(segment.codebook)) ? parts.recallSegment(segment) : null,
  )
  const recalled = record.parts.map(({ key, ...part }) => {
    const own = part.segments.flatMap((index) => segments[index] ?? [])
    return own.length < part.segments.length ? null : parts.recall({ ...part, key: partKey(key), segments: own })
  })
  const masks = record.masks.map(({ identity, ordinals }) => ({ identity, ordinals: unpackOrdinals(ordinals) }))
  const versions = record.versions.flatMap((version): Version[] => {
    if (version.configuration !== configuration) return []
    const slots = version.parts.flatMap(([index, mask]) => {
      const part = recalled[index] ?? null
      return part === null ? [] : [{ part, mask: mask === null ? null : masks[mask]! }]
    })
    if (slots.length < version.parts.length) return []
    const named = { generation: generation(version.generation), dimension: version.dimension ?? 0, dataRef }
    return [
      {
        ...version,
        generation: named.generation,
        parts: slots,
        segments: parts.mask(slots, version.dimension),
        witness: bundleWitness(named),
        confirmed: configuration !== null,
      },
    ]
  })
  return { versions, sightings: record.sightings }
}
