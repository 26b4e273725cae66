/** What is kept of a violation: enough to ask again, on this machine or another, and nothing secret. */
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckedAnswer, PinnedVersion, ShardAnswer, ShardHit, ShardQuery } from '../cache/vector-cache.js'
import type { RecallContract } from '../core/contract.js'
import { formatCollection } from '../core/generation.js'
import { type JsonValue, stringifyJson } from '../core/json.js'
import { predicateToJson } from '../core/predicate.js'

/** Bytes of a file; what would be larger is not kept. */
const reproducerBytesMax = 1024 * 1024
/** Files in the directory; the first ones say most, so later ones are not kept. */
const reproducersMax = 32
/** Entries of each list in a file. */
const listedMax = 100

export interface Violation {
  readonly version: Pick<PinnedVersion, 'ref' | 'generation' | 'metric' | 'dimension'>
  readonly query: ShardQuery
  readonly answer: ShardAnswer
  readonly checked: CheckedAnswer
  /** What is wrong, in words. */
  readonly fault: string
  readonly atMs: number
}

/** Where reproducers go. */
export interface Reproducers {
  /** The file's path, or why there is none. Never rejects: the alarm matters more. */
  save(violation: Violation): Promise<{ readonly path: string } | { readonly notKept: string }>
}

/**
 * @param directory created when it is needed; only its owner may read what is in it
 */
export function reproducersIn(directory: string): Reproducers {
  return {
    async save(violation) {
      const text = stringifyJson(describeViolation(violation))
      if (Buffer.byteLength(text) > reproducerBytesMax)
        return { notKept: `it is larger than ${reproducerBytesMax} bytes` }
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        if ((await readdir(directory)).length >= reproducersMax)
          return { notKept: `${directory} has ${reproducersMax} files already; move them away` }
        const path = join(
          directory,
          `${new Date(violation.atMs).toISOString().replaceAll(':', '')}-${randomUUID()}.json`,
        )
        await writeFile(path, `${text}\n`, { mode: 0o600, flag: 'wx' })
        return { path }
      } catch (error) {
        return { notKept: `it cannot be written (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})` }
      }
    },
  }
}

/**
 * `request` is a request of the API, for the generation that was searched. The rotation's seed is left out: certificates
 * assume that it is secret; the codebook's version names it to whoever has the cache directory.
 */
function describeViolation({ version, query, answer, checked, fault, atMs }: Violation): JsonValue {
  const name = formatCollection(version.ref)
  return {
    format: 1,
    found_at: new Date(atMs).toISOString(),
    fault,
    metric: version.metric,
    dimension: version.dimension,
    generation: version.generation,
    request: {
      vector: Array.from(query.vector),
      k: query.k,
      collections: [name],
      recall: recallJson(query.contract),
      ...(query.filter !== null && { filter: predicateToJson(query.filter) }),
      ...(Number.isFinite(query.distanceMax) && { max_distance: query.distanceMax }),
      as_of: { [name]: version.generation },
    },
    claimed: recallJson(answer.contract),
    complete: checked.complete,
    rows_read: checked.rowsRead,
    missed: checked.missed,
    wrong: checked.wrong.slice(0, listedMax).map(({ hit, reason }) => ({ hit, reason })),
    expected: listHits(checked.expected),
    found: listHits(answer.hits),
    segments: checked.segments.slice(0, listedMax).map((segment) => ({ ...segment })),
    segment_count: checked.segments.length,
  }
}

export function recallJson(contract: RecallContract): JsonValue {
  switch (contract.kind) {
    case 'exact':
      return 'exact'
    case 'certified':
      return { certified: contract.missProbability }
    case 'target':
      return contract.recall
  }
}

/** The first ones: where two lists differ further on, `missed` and `wrong` still say so. */
const listHits = (hits: readonly ShardHit[]): JsonValue =>
  hits.slice(0, listedMax).map(({ id, distance, part, row }) => ({ id, distance, part, row }))
