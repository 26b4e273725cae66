import { expect, test } from 'vitest'
import { seededRandom } from '../../src/core/clock.js'
import type { Answer } from '../../src/federation/answer.js'
import { idle, query, type ScriptedCollection, scriptedGateway, settled } from '../federation/scripted-cache.js'

const seed = 20_261_121
const schedules = 1000

/** Steps that wait until the schedule lets them go. */
class Schedule {
  readonly #random: () => number
  readonly #waiting: (() => void)[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  step = (): Promise<void> => new Promise((resolve) => void this.#waiting.push(resolve))

  /** Lets waiting steps go in random order, one or several at a time, until `done` settles. */
  async run<T>(done: Promise<T>): Promise<T> {
    let over = false
    const end = (): void => {
      over = true
    }
    done.then(end, end)
    while (!over) {
      const together = 1 + Math.floor(this.#random() * 3)
      for (let i = 0; i < together && this.#waiting.length > 0; i++)
        this.#waiting.splice(Math.floor(this.#random() * this.#waiting.length), 1)[0]!()
      await settled()
    }
    return done
  }
}

/** Few distances and ids, so that most of the order is decided by ties. */
function randomCollections(random: () => number): ScriptedCollection[] {
  const pick = (n: number): number => Math.floor(random() * n)
  return Array.from({ length: 1 + pick(6) }, (_, i) => ({
    name: `${'abc'[i % 3]}/${i}`,
    rows: Array.from({ length: pick(12) }, () => ({
      id: random() < 0.5 ? BigInt(pick(4)) : String(pick(4)),
      vector: [pick(3), pick(2)],
      part: 'pq'[pick(2)]!,
    })),
  }))
}

const shown = ({ results, receipt }: Answer): unknown => ({
  results,
  digest: receipt!.digest,
  generations: receipt!.sources.map((source) => source.status === 'ok' && source.generation),
})

test(`law 3: the answer does not depend on the order of arrival (${schedules} schedules, seed ${seed})`, async () => {
  const random = seededRandom(seed)
  for (let i = 0; i < schedules; i++) {
    const collections = randomCollections(random)
    const asked = query({ k: 1 + Math.floor(random() * 20), vector: [1, 1], receipt: 'full' })
    const { gateway: straight } = await scriptedGateway(collections)
    const expected = await straight.search(asked, { signal: idle })

    const schedule = new Schedule(random)
    const scripted = collections.map((collection) => ({
      ...collection,
      pinning: schedule.step,
      searching: schedule.step,
    }))
    const { gateway, cache } = await scriptedGateway(scripted)
    const batch = random() < 0.2
    const answers = batch
      ? await schedule.run(gateway.searchBatch([asked, asked, asked], { signal: idle }))
      : [await schedule.run(gateway.search(asked, { signal: idle }))]
    for (const answer of answers) expect(shown(answer as Answer)).toEqual(shown(expected))
    await settled()
    expect(cache.releases).toBe(cache.pins)
    expect(cache.pins).toBe(collections.length)
  }
})

test(`law 5: whichever shards fail, the others answer as if alone (${schedules} schedules, seed ${seed + 1})`, async () => {
  const random = seededRandom(seed + 1)
  for (let i = 0; i < schedules / 4; i++) {
    const collections = randomCollections(random)
    const schedule = new Schedule(random)
    const failing = collections.map(() => random() < 0.4)
    const scripted = collections.map((collection, at) => ({
      ...collection,
      pinning: async () => {
        await schedule.step()
        if (failing[at]) throw new Error(`shard ${at} fails`)
      },
    }))
    if (failing.every(Boolean)) continue
    const { gateway } = await scriptedGateway(scripted)
    const answer = await schedule.run(gateway.search(query({ vector: [1, 1] }), { signal: idle }))
    const { gateway: others } = await scriptedGateway(collections.filter((_, at) => !failing[at]))
    expect(answer.results).toEqual((await others.search(query({ vector: [1, 1] }), { signal: idle })).results)
    const order = collections.map((_, at) => at).sort((x, y) => (collections[x]!.name < collections[y]!.name ? -1 : 1))
    expect(answer.receipt!.sources.map((source) => source.status)).toEqual(
      order.map((at) => (failing[at] ? 'failed' : 'ok')),
    )
    expect(answer.receipt!.complete).toBe(!failing.includes(true))
  }
})
