/** One query whose answers are compared with brute force at once, for whoever asks for it. */
import type { PinnedVersion, ShardAnswer, ShardQuery } from '../cache/vector-cache.js'
import { isBroken } from './audit.js'
import type { Deadline } from './deadline.js'
import type { AuditReport } from './gateway.js'
import type { Pins } from './pins.js'
import type { Query } from './query.js'
import { type SearchContext, search } from './search.js'

/**
 * One report a collection that answered and has rows. Rejects as the search does, with LG_DEADLINE_EXCEEDED when there is no
 * time for all rows, and with LG_OVER_BUDGET when a build needs the memory meanwhile.
 */
export async function auditQuery(
  query: Query,
  context: SearchContext,
  pins: Pins,
  deadline: Deadline,
): Promise<readonly AuditReport[]> {
  const seen: { readonly version: PinnedVersion; readonly asked: ShardQuery; readonly answer: ShardAnswer }[] = []
  const observer = {
    observe(version: PinnedVersion, asked: ShardQuery, answer: ShardAnswer): void {
      seen.push({ version, asked, answer })
    },
  }
  await search({ ...query, requireComplete: true }, { ...context, audit: observer }, { pins, deadline, together: null })
  const reports: AuditReport[] = []
  for (const { version, asked, answer } of seen) {
    const check = version.check(asked, answer)
    const checked = await check.run({ signal: deadline.signal, from: 0, isEnough: () => false })
    if (checked === null) throw new Error('rows of a pinned version are in memory')
    const { ref, generation } = version
    const { contract, hits: found } = answer
    reports.push({ ref, generation, contract, found, checked, isBroken: isBroken(checked, contract) })
  }
  return reports
}
