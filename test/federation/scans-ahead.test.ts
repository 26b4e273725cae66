import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, expect, test, vi } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { runScan, type ScanRange } from '../../src/cache/kernel.js'
import { noHits } from '../../src/cache/scan-hits.js'
import { planScan } from '../../src/cache/scan-plan.js'
import { seededRandom } from '../../src/core/clock.js'
import { openPool } from '../../src/federation/pool.js'
import { entriesMax, ringBytes, ScanRing } from '../../src/federation/scan-ring.js'
import { type ScanDone, ScansAhead } from '../../src/federation/scans-ahead.js'
import { allRows, type StoredCollection, storeCollection } from '../cache/collection-fixture.js'
import { killStarting, runningCount, startedThreads } from '../started-threads.js'

const dimension = 64
const patienceMs = 200
const blockRows = 20_000
const random = seededRandom(8)
const vectors = Float32Array.from({ length: 40_000 * dimension }, () => random() - 0.5)
const queries = Array.from({ length: entriesMax }, () => Float32Array.from({ length: dimension }, () => random() - 0.5))

const noWork = {
  codebook: 0,
  metric: 0,
  ranges: [],
  k: 1,
  distanceMax: 1,
  stage: 0,
  tail: 0,
  gap: 1,
  before: noHits.distances,
}

const closing: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const opened of closing.splice(0)) await opened.close()
})

async function open() {
  const executor = openPool({ workers: 0 })
  const pool = new ArenaPool({ bytesMax: 50_000_000, scratchSlots: 2 })
  const stored = await storeCollection(executor, pool, {
    vectors,
    dimension,
    metric: 'l2',
    quantized: true,
    blockRows,
  })
  const ahead = new ScansAhead(1)
  closing.push(ahead, executor)
  const { arena } = stored.job
  let inline = 0
  const scanHere = (query: Float32Array) => {
    const job = { query, k: 10, contract: { kind: 'exact' }, distanceMax: Number.POSITIVE_INFINITY } as const
    const { work } = planScan({ ...stored.job, blocks: allRows(stored), ...job })
    return { work, hits: runScan(arena.memory, 0, work) }
  }
  const begin = (query: Float32Array) => {
    const { work, hits } = scanHere(query)
    const begun = ahead.begin(arena, work, () => {
      inline++
      return { hits, ms: 0 }
    })
    return { begun, hits }
  }
  /** Begins all, and gives the thread time to scan them. */
  const beginMany = async (count: number) => {
    const many = queries.slice(0, count).map(begin)
    await new Promise((resolve) => setTimeout(resolve, 20))
    return many.map(({ begun, hits }) => ({ begun: begun!, hits }))
  }
  /** Begins a scan that takes the thread milliseconds, and another that wakes it, and answers when the thread has the first. */
  const beginSlow = (other: () => ScanDone) => {
    const query = queries[0]!
    const { work, hits } = scanHere(query)
    const ranges = Array.from({ length: 8 }, () => slowRange(stored))
    const slow = ahead.begin(arena, { ...work, query, codebook: 0, ranges }, () => ({ hits, ms: 0 }))!
    const begun = { slow, other: ahead.begin(arena, work, other)!, hits }
    const until = performance.now() + 2
    while (performance.now() < until);
    return begun
  }
  return { ahead, arena, begin, beginMany, beginSlow, inlineCount: () => inline, forgetCount: () => (inline = 0) }
}

/** All rows of a block, to be scanned without codes. */
const slowRange = ({ blocks }: StoredCollection): ScanRange => {
  const { allocation, originals } = blocks[0]!.block
  const rest = { index: 0, allow: 0, from: 0, to: blockRows, rowBytes: 1 }
  return { block: allocation.offset, vectors: originals!.offset, ...rest }
}

type Opened = Awaited<ReturnType<typeof open>>

/** Until the thread has scanned all but what was begun before it ran. */
const untilServed = ({ ahead, beginMany, inlineCount, forgetCount }: Opened): Promise<void> =>
  vi.waitFor(
    async () => {
      forgetCount()
      for (const { begun, hits } of await beginMany(8)) expect(ahead.finish(begun, patienceMs).hits).toEqual(hits)
      expect(inlineCount()).toBe(0)
    },
    { timeout: 10_000, interval: 100 },
  )

test('law 3: what the thread scans equals what the calling thread scans, and it does scan', async () => {
  const opened = await open()
  await untilServed(opened)
  const begun = queries.map(opened.begin)
  // In another order than they were begun in, and before the thread can have done all.
  for (const { begun: one, hits } of begun.reverse()) expect(opened.ahead.finish(one!, patienceMs).hits).toEqual(hits)
})

test('there is room for so many, and for as many again once they are finished or abandoned', async () => {
  const { ahead, begin, beginMany } = await open()
  for (const end of ['finish', 'abandon'] as const) {
    const many = await beginMany(entriesMax)
    expect(begin(queries[0]!).begun).toBeNull()
    for (const { begun } of many) ahead[end](begun, patienceMs)
    await Promise.all(many.map(({ begun }) => begun.over))
  }
  expect(begin(queries[0]!).begun).not.toBeNull()
})

test('the oldest scan is found first, also when the numbers of scans begin anew', () => {
  const ring = new ScanRing(new SharedArrayBuffer(ringBytes))
  const query = new Float32Array(4)
  const work = { ...noWork, query }
  ring.queue(1, -(2 ** 31), work)
  ring.queue(1, 2 ** 31 - 1, work)
  expect([ring.take()?.entry, ring.take()?.entry]).toEqual([1, 0])
})

test('what does not fit is left to the caller', async () => {
  const { ahead, arena, begin } = await open()
  const run = () => ({ hits: noHits, ms: 0 })
  expect(ahead.begin(arena, { ...noWork, query: new Float32Array(2049) }, run)).toBeNull()
  expect(ahead.begin(arena, { ...noWork, query: new Float32Array(4), k: 257 }, run)).toBeNull()
  expect(begin(queries[0]!).begun).not.toBeNull()
})

test('a thread that dies takes no answer with it, and another one comes', async () => {
  const threads = startedThreads()
  const opened = await open()
  await untilServed(opened)
  const begun = queries.map(opened.begin)
  await Promise.all(threads.map((thread) => thread.terminate()))
  for (const { begun: one, hits } of begun) expect(opened.ahead.finish(one!, 1).hits).toEqual(hits)
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await untilServed(opened)
})

test('closing ends the thread, and starts none', async () => {
  const started = startedThreads()
  const opened = await open()
  await untilServed(opened)
  expect(started).toHaveLength(1)
  await opened.ahead.close()
  expect(runningCount(started)).toBe(0)
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(started).toHaveLength(1)
})

test('another one comes also when the next dies as it starts', async () => {
  const threads = startedThreads()
  const opened = await open()
  await untilServed(opened)
  const callOff = killStarting()
  await threads[0]!.terminate()
  await vi.waitFor(
    async () => {
      for (const { begun, hits } of await opened.beginMany(2)) expect(opened.ahead.finish(begun, 1).hits).toEqual(hits)
      // The second is started at once, the third for these.
      expect(threads.length).toBeGreaterThan(2)
    },
    { timeout: 10_000, interval: 100 },
  )
  callOff()
  await untilServed(opened)
})

test.each(['finish', 'abandon'] as const)(
  'who does not wait for a scan that runs is told when it is over (%s)',
  async (end) => {
    const opened = await open()
    await untilServed(opened)
    const { ahead } = opened
    await vi.waitFor(() => {
      const { slow, other } = opened.beginSlow(() => ({ hits: noHits, ms: 0 }))
      ahead.abandon(other)
      if (end === 'finish') ahead.finish(slow, 0)
      else ahead.abandon(slow)
      // Again where a busy machine had the thread come to none of them, or to both.
      expect(slow.over).not.toBeNull()
      return slow.over
    })
    for (const { begun, hits } of await opened.beginMany(entriesMax)) {
      expect(ahead.finish(begun, patienceMs).hits).toEqual(hits)
      expect(begun.over).toBeNull()
    }
  },
)

test('a scan that fails here while another is waited for is an error of its own alone', async () => {
  const opened = await open()
  await untilServed(opened)
  const { ahead } = opened
  const fails = vi.fn(() => {
    throw new Error('of the other')
  })
  await vi.waitFor(() => {
    fails.mockClear()
    const { slow, other, hits } = opened.beginSlow(fails)
    const isWaitedFor = ahead.finish(slow, patienceMs).hits !== hits
    const wasCalled = fails.mock.calls.length > 0
    const otherDone = () => ahead.finish(other, patienceMs)
    // Again where a busy machine had the thread come to none of them, or to both.
    expect(otherDone).toThrow('of the other')
    expect(isWaitedFor && wasCalled).toBe(true)
  })
  for (const { begun, hits } of await opened.beginMany(entriesMax))
    expect(ahead.finish(begun, patienceMs).hits).toEqual(hits)
})

test('an arena is forgotten when the thread says so, and known again when it is named', async () => {
  const opened = await open()
  const { ahead, arena } = opened
  await ahead.forget(arena.id)
  await untilServed(opened)
  await ahead.forget(arena.id)
  await untilServed(opened)
})

test('an arena that is forgotten twice is forgotten for both who asked, and that it was named in between is no matter', async () => {
  const opened = await open()
  await untilServed(opened)
  const { ahead, arena, begin } = opened
  const order: number[] = []
  const forget = (call: number) => ahead.forget(arena.id).then(() => order.push(call))
  const first = [forget(1), forget(2)]
  const { begun, hits } = begin(queries[0]!)
  await Promise.all([...first, forget(3)])
  expect(order).toEqual([1, 2, 3])
  expect(ahead.finish(begun!, patienceMs).hits).toEqual(hits)
}, 5000)

test('a pool that is closed takes no more, and closing ends the thread', async () => {
  const opened = await open()
  await untilServed(opened)
  await opened.ahead.close()
  expect(opened.begin(queries[0]!).begun).toBeNull()
})

test('a process that has nothing else to do ends', async () => {
  const program = `
    import { openPool } from '#lakegate/federation/pool.js'
    import { ScansAhead } from '#lakegate/federation/scans-ahead.js'
    openPool({ workers: 1 })
    const ahead = new ScansAhead(1)
    const work = { codebook: 0, metric: 0, query: new Float32Array(4), ranges: [], k: 1, distanceMax: 1, stage: 0, tail: 0, gap: 1 }
    const arena = { id: 1, memory: new WebAssembly.Memory({ initial: 20, maximum: 20, shared: true }) }
    const begun = [1, 2].map(() => ahead.begin(arena, work, () => ({ hits: null, ms: 0 })))
    for (const one of begun) ahead.finish(one, 1)
    console.log('done')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
}, 30_000)
