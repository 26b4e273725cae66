import { afterAll, expect, test } from 'vitest'
import { clusteredRows, type Dataset, row } from '../../bench/dataset.js'
import { type OpenGateway, openGateway, searchFor } from '../../bench/lakegate.js'
import type { RecallContract } from '../../src/core/contract.js'
import { GatewayError } from '../../src/core/errors.js'
import { metrics } from '../../src/core/metric.js'
import type { Answer } from '../../src/federation/answer.js'

const dimension = 128
const count = 20_000
const queryCount = 48
const draw = clusteredRows(3, dimension)
const [base, queries] = [draw(count), draw(queryCount)]

const opened: OpenGateway[] = []
afterAll(async () => {
  for (const one of opened) await one.close()
})

async function open(metric: Dataset['metric'], workers: number) {
  const dataset = { name: 'rows', metric, dimension, count, base, queries, queryCount, tuning: new Float32Array(0) }
  const one = await openGateway(dataset, { workers, seed: 7, collectionCount: 2 })
  opened.push(one)
  return one.gateway
}

const found = ({ results }: Answer) => results.map(({ id, backend, distance }) => [id, backend, distance])

test.each(metrics)(
  'law 3: queries that came together are answered as each alone, with and without threads (%s)',
  async (metric) => {
    const signal = AbortSignal.timeout(60_000)
    const contracts: RecallContract[] = [
      { kind: 'exact' },
      { kind: 'certified', missProbability: 1e-6 },
      { kind: 'target', recall: 0.7 },
    ]
    const gateways = [await open(metric, 0), await open(metric, 1)]
    for (const recall of contracts) {
      const asked = Array.from({ length: queryCount }, (_, i) => searchFor(row(queries, dimension, i), 10, { recall }))
      let alone: unknown[] = []
      for (const gateway of gateways) {
        const before = alone
        alone = []
        for (const query of asked) alone.push(found(await gateway.search(query, { signal })))
        // Which rows a target misses is also a matter of how its gateway was tuned.
        if (before.length > 0 && recall.kind !== 'target') expect(alone).toEqual(before)
        for (const size of [2, 8, 40]) {
          const answers: unknown[] = []
          for (let from = 0; from < queryCount; from += size) {
            const turn = asked.slice(from, from + size)
            let begun = 0
            let all!: () => void
            const together = new Promise<void>((resolve) => {
              all = resolve
            })
            const begin = (): Promise<void> => {
              begun += 1
              if (begun === turn.length) setTimeout(all, 1)
              return together
            }
            for (const answer of await Promise.all(
              turn.map((query) => gateway.search(query, { signal, together: begin })),
            ))
              answers.push(found(answer))
          }
          expect(answers).toEqual(alone)
        }
      }
      const batch = await gateways[1]!.searchBatch(asked, { signal })
      expect(batch.map((answer) => (answer instanceof GatewayError ? answer.code : found(answer)))).toEqual(alone)
    }
  },
)

test('law 4: who goes away, or whose time ends, while others are waited for is told so', async () => {
  const gateway = await open('l2', 1)
  const query = searchFor(row(queries, dimension, 0), 10)
  const caller = new AbortController()
  const gone = gateway.search(query, {
    signal: caller.signal,
    together: async () => caller.abort(),
  })
  await expect(gone).rejects.toMatchObject({ code: 'LG_CANCELLED' })
  const late = gateway.search(
    { ...query, deadlineMs: 5 },
    { signal: AbortSignal.timeout(60_000), together: () => new Promise((resolve) => setTimeout(resolve, 30)) },
  )
  await expect(late).rejects.toMatchObject({ code: 'LG_DEADLINE_EXCEEDED' })
})
