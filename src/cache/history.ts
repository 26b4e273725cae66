/** What `as_of` can be answered from. */
import { GatewayError } from '../core/errors.js'
import type { Generation } from '../core/generation.js'
import type { Holdings } from './holdings.js'
import type { SourceWatch } from './source-watch.js'
import type { HeldGeneration } from './vector-cache.js'

/** Generations that the source was seen at and that were cached, newest first. */
export function listHistory({ sightings, observed }: SourceWatch, { versions, parts }: Holdings): HeldGeneration[] {
  const isHeld = (generation: Generation): boolean => {
    const version = versions.find(generation)
    // What has left memory and is not on disk can be had again only while the source is still there.
    return version !== null && (generation === observed?.generation || parts.has(version))
  }
  return sightings
    .list()
    .flatMap(({ generation, firstSeenMs, lastSeenMs, summary }) =>
      summary === null
        ? []
        : [
            {
              generation,
              firstSeenMs,
              lastSeenMs: Math.max(firstSeenMs, lastSeenMs),
              ...summary,
              held: isHeld(generation),
            },
          ],
    )
    .reverse()
}

/** @param wanted what was asked for, in words; `collection`: how the error calls it */
export function generationExpired(
  { collection, wanted }: { readonly collection: string; readonly wanted: string },
  watch: SourceWatch,
  holdings: Holdings,
  cause?: unknown,
): GatewayError {
  const held = listHistory(watch, holdings).map(
    ({ generation, firstSeenMs, lastSeenMs }) =>
      `${JSON.stringify(generation)} (seen ${new Date(firstSeenMs).toISOString()} to ${new Date(lastSeenMs).toISOString()})`,
  )
  return new GatewayError(
    'LG_GENERATION_EXPIRED',
    `${collection}: ${wanted} cannot be answered; held: ${held.length === 0 ? 'nothing' : held.join(', ')}`,
    { field: 'as_of', cause },
  )
}
