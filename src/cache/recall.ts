import { type DeleteMask, generation, partKey } from '../core/generation.js'
import type { Metric } from '../core/metric.js'
import { bundleWitness } from './bundle.js'
import { type CollectionRecord, packOrdinals, unpackOrdinals } from './collection-record.js'
import type { Parts } from './parts.js'
import type { CachedPart, Sighting, Sightings, Version } from './versions.js'

/** What a restart will need of these versions. Parts and masks that versions share are written once. */
export function toRecord(metric: Metric, versions: readonly Version[], sightings: Sightings): CollectionRecord {
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
  return {
    metric,
    parts: [...parts.keys()].map(({ key, readIdentity, codebook, skipped, segments }) => ({
      key,
      readIdentity,
      codebook,
      skipped,
      segments: segments.map((segment) => ({ key: segment.key, rows: segment.rows, bytes: segment.bytes })),
    })),
    masks: [...masks.values()].map(({ mask }) => ({ identity: mask.identity, ordinals: packOrdinals(mask.ordinals) })),
    versions: written,
    sightings: sightings.list(),
  }
}

/** Versions of an earlier process, but those read under another configuration and those whose codebook is gone. */
export async function fromRecord(
  record: CollectionRecord,
  parts: Parts,
  dataRef: string,
  configuration: string | null,
): Promise<{ readonly versions: readonly Version[]; readonly sightings: readonly Sighting[] }> {
  const named = new Set(record.parts.flatMap(({ codebook }) => codebook ?? []))
  const codebooks = await parts.loadCodebooks(named)
  const recalled = record.parts.map(({ segments, key, ...part }) =>
    part.codebook === null || codebooks.has(part.codebook)
      ? parts.recall({ ...part, key: partKey(key) }, segments)
      : null,
  )
  const masks = record.masks.map(({ identity, ordinals }) => ({ identity, ordinals: unpackOrdinals(ordinals) }))
  const versions = record.versions.flatMap((version): Version[] => {
    if (version.configuration !== configuration) return []
    const slots = version.parts.flatMap(([index, mask]) => {
      const part = recalled[index] ?? null
      return part === null ? [] : [{ part, mask: mask === null ? null : masks[mask]! }]
    })
    if (slots.length < version.parts.length) return []
    const segments = slots.flatMap(({ part, mask }) =>
      part.segments.map((segment) => ({ segment, mask, codebook: parts.codebooks.get(part.codebook!)! })),
    )
    const named = { generation: generation(version.generation), dimension: version.dimension ?? 0, dataRef }
    return [
      {
        ...version,
        generation: named.generation,
        parts: slots,
        segments,
        witness: bundleWitness(named),
        confirmed: configuration !== null,
      },
    ]
  })
  return { versions, sightings: record.sightings }
}
