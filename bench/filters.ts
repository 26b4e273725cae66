/** Filters of 1, 10 and 50 % beside the unfiltered query: the predicate seen for the first time, and seen before. */
import type { Predicate } from '#lakegate/core/predicate.js'
import { row } from './dataset.js'
import { type Engine, timed } from './engine.js'
import { openGateway, searchFor } from './lakegate.js'
import { measure } from './measure.js'
import { bruteForce } from './recall.js'
import { reportRows } from './report.js'
import type { Suite } from './suite.js'

const thousandths = [1000, 10, 100, 500]

export const filterSuite: Suite = async (dataset, options, say) => {
  const { k, seed } = options
  const opened = await openGateway(dataset, { workers: 0, seed })
  const { signal } = new AbortController()
  try {
    const engines: Engine[] = []
    for (const limit of thousandths) {
      const filter: Predicate | null = limit === 1000 ? null : { op: 'lt', column: 'thousandth', value: limit }
      const search = async (query: Float32Array): Promise<number[]> => {
        const answer = await opened.gateway.search(searchFor(query, k, { filter }), { signal })
        return answer.results.map((result) => Number(result.id))
      }
      const first = await timed(() => search(row(dataset.queries, dataset.dimension, 0)))
      engines.push({
        name: 'lakegate',
        mode: filter === null ? 'exact, no filter' : `exact, filter ${limit / 10} %`,
        settings: null,
        threads: 1,
        claim: { kind: 'proven', claimed: 0 },
        buildMs: opened.buildMs,
        firstQueryMs: first.ms,
        bytesPerVector: opened.bytesPerVector,
        search,
        close: () => undefined,
      })
    }
    say('ground truth by brute force')
    const truths = thousandths.map((limit) => bruteForce(dataset, k, (index) => index % 1000 < limit))
    const onPass = (pass: number): void => say(`pass ${pass}`)
    const measured = await measure(dataset, truths, engines, { seconds: options.seconds, onPass })
    return { rows: reportRows(measured, dataset), not_run: [] }
  } finally {
    await opened.close()
  }
}
