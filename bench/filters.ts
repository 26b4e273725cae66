/** Filters of 1, 10 and 50 % beside the unfiltered query: the predicate seen for the first time, and seen before. */
import type { Predicate } from '#lakegate/core/predicate.js'
import type { Dataset } from './dataset.js'
import { type Engine, firstQueryMs } from './engine.js'
import { type OpenGateway, openGateway, searchFor } from './lakegate.js'
import { measure } from './measure.js'
import { bruteForce } from './recall.js'
import { reportRows } from './report.js'
import type { DatasetSuite } from './suite.js'

const thousandths = [1000, 10, 100, 500]

export const filterSuite: DatasetSuite = async (dataset, options, say) => {
  const { k, seed, seedCount } = options
  const opened: OpenGateway[] = []
  try {
    for (let i = 0; i < seedCount; i++) opened.push(await openGateway(dataset, { workers: 0, seed: seed + i }))
    const engines: Engine[] = []
    for (const limit of thousandths)
      for (const one of opened) engines.push(await filteredEngine(one, dataset, { limit, k }))
    say('ground truth by brute force')
    const truths = thousandths.flatMap((limit) => {
      const truth = bruteForce(dataset, k, (index) => index % 1000 < limit)
      return opened.map(() => truth)
    })
    const onPass = (pass: number): void => say(`pass ${pass}`)
    const measured = await measure(dataset, truths, engines, { seconds: options.seconds, onPass })
    return { rows: reportRows(measured, dataset), not_run: [] }
  } finally {
    for (const one of opened) await one.close()
  }
}

async function filteredEngine(
  opened: OpenGateway,
  dataset: Dataset,
  { limit, k }: { readonly limit: number; readonly k: number },
): Promise<Engine> {
  const { signal } = new AbortController()
  const filter: Predicate | null = limit === 1000 ? null : { op: 'lt', column: 'thousandth', value: limit }
  const search = async (query: Float32Array): Promise<number[]> => {
    const answer = await opened.gateway.search(searchFor(query, k, { filter }), { signal })
    return answer.results.map((result) => Number(result.id))
  }
  return {
    name: 'lakegate',
    mode: filter === null ? 'exact, no filter' : `exact, filter ${limit / 10} %`,
    settings: null,
    threads: 1,
    claim: { kind: 'proven', claimed: 0 },
    buildMs: opened.buildMs,
    firstQueryMs: await firstQueryMs(search, dataset),
    bytesPerVector: opened.bytesPerVector,
    search,
    close: () => undefined,
  }
}
