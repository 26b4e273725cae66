/** Runs a full receipt's request again, at the receipt's generations. */
import { errorTable, GatewayError } from '../core/errors.js'
import { backendId, type CollectionRef, formatCollection } from '../core/generation.js'
import { limits } from '../core/limits.js'
import type { Answer } from './answer.js'
import type { VerifyResult } from './gateway.js'
import type { Query } from './query.js'

/** A receipt as it came from outside; nothing in it is believed. */
export interface ReceiptClaim {
  readonly request: Readonly<Record<string, unknown>>
  readonly digest: string
  readonly sources: readonly unknown[]
}

interface ClaimedSource extends CollectionRef {
  readonly generation: string
}

/**
 * Resolves with a reason when the answer differs or cannot be had any more; rejects when the receipt is malformed
 * (LG_INVALID_REQUEST and what `parse` throws) or when asking again later may decide it.
 */
export async function verifyReceipt(
  receipt: ReceiptClaim,
  parse: (request: unknown) => Query,
  search: (query: Query) => Promise<Answer>,
): Promise<VerifyResult> {
  if (!/^[0-9a-f]{64}$/.test(receipt.digest)) throw invalid('digest', 'a sha256 as 64 hex digits', receipt.digest)
  const sources = claimedSources(receipt.sources)
  const query = parse(receipt.request)
  const undecided = (reason: string): VerifyResult => ({
    matches: false,
    digest: '',
    expected: receipt.digest,
    reason,
  })
  const stray = sources.find((source) => !covers(query, source))
  if (stray !== undefined)
    return undecided(`the receipt answers from ${formatCollection(stray)}, which its request does not name`)

  let answer: Answer
  try {
    answer = await search(pinned(query, sources))
  } catch (error) {
    if (!(error instanceof GatewayError) || error.retry === 'later') throw error
    return undecided(error.message)
  }
  const { digest, certificate, sources: asked } = answer.receipt!
  const silent = asked.find((source) => source.status !== 'ok')
  if (silent !== undefined) {
    const reason = silent.status === 'priming' ? 'the first pull is still running' : silent.reason
    if (silent.status === 'failed' && errorTable[silent.code].retry !== 'later') return undecided(reason)
    throw new GatewayError('LG_INCOMPLETE', `${formatCollection(silent)} cannot answer now: ${reason}`)
  }
  if (digest === null) throw new Error('a full receipt has a digest')
  if (digest === receipt.digest) return { matches: true, digest, expected: receipt.digest, reason: null }
  return {
    matches: false,
    digest,
    expected: receipt.digest,
    reason:
      certificate.kind === 'proven'
        ? 'the same request at the same generations gives other rows or distances'
        : `the same request at the same generations gives other rows or distances; its certificate (${certificate.kind}) does not rule that out`,
  }
}

/** The same request at the generations claimed. */
const pinned = (query: Query, sources: readonly ClaimedSource[]): Query => ({
  ...query,
  collections: sources,
  asOf: sources.map((source) => ({
    pattern: source,
    at: { kind: 'generation', generation: source.generation },
  })),
  requireComplete: false,
  receipt: 'full',
})

const covers = ({ collections }: Query, source: CollectionRef): boolean =>
  collections === null ||
  collections.some(
    ({ backend, collection }) => backend === source.backend && (collection === '*' || collection === source.collection),
  )

/** The sources that answered. */
function claimedSources(sources: readonly unknown[]): readonly ClaimedSource[] {
  if (sources.length > limits.filterListMax)
    throw invalid('sources', `at most ${limits.filterListMax} sources`, sources.length)
  const seen = new Set<string>()
  return sources.flatMap((source, i) => {
    const field = `sources[${i}]`
    if (typeof source !== 'object' || source === null) throw invalid(field, 'an object', source)
    const { backend, collection, status, generation } = source as Readonly<Record<string, unknown>>
    if (status !== 'ok') {
      if (status === 'failed' || status === 'skipped' || status === 'priming') return []
      throw invalid(`${field}.status`, 'one of ok, failed, skipped, priming', status)
    }
    const claimed = {
      backend: backendId(nameOf(backend, `${field}.backend`)),
      collection: nameOf(collection, `${field}.collection`),
      generation: nameOf(generation, `${field}.generation`),
    }
    const name = formatCollection(claimed)
    if (seen.has(name)) throw invalid(field, 'each collection once', name)
    seen.add(name)
    return [claimed]
  })
}

/** Generations are as long as their sources make them; nothing real comes near this, in UTF-16 units. */
const textMax = 65_536

function nameOf(value: unknown, field: string): string {
  if (typeof value !== 'string' || value === '' || value === '*' || value.length > textMax)
    throw invalid(field, 'the name that the receipt was given', value)
  return value
}

function invalid(field: string, expected: string, found: unknown): GatewayError {
  const text = (typeof found === 'bigint' ? `${found}` : (JSON.stringify(found) ?? 'nothing')).slice(0, 100)
  return new GatewayError('LG_INVALID_REQUEST', `receipt.${field}: expected ${expected}, found ${text}`, {
    field: `receipt.${field}`,
  })
}
