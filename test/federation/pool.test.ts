import { once } from 'node:events'
import type { Worker } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { ArenaPool } from '../../src/cache/arena.js'
import { collectGarbage } from '../../src/cache/collect-garbage.js'
import type { KernelExecutor, ScanChoice, ScanJob } from '../../src/cache/executor.js'
import { planScan, unitsOf } from '../../src/cache/scan-plan.js'
import { seededRandom } from '../../src/core/clock.js'
import type { RecallContract } from '../../src/core/contract.js'
import { openPool } from '../../src/federation/pool.js'
import {
  allRows,
  bruteForce,
  never,
  type StoredCollection,
  search,
  storeCollection,
} from '../cache/collection-fixture.js'
import { killStarting } from '../started-threads.js'

const dimension = 64
const rows = 60_000
const k = 10
const random = seededRandom(5)
const vectors = Float32Array.from({ length: rows * dimension }, () => random() - 0.5)
const query = Float32Array.from({ length: dimension }, () => random() - 0.5)
const expected = bruteForce({ vectors, dimension, metric: 'l2', query, k })
const request = { query, k, contract: { kind: 'exact' }, distanceMax: Number.POSITIVE_INFINITY } as const

const opened: KernelExecutor[] = []
afterEach(async () => {
  for (const executor of opened.splice(0)) await executor.close()
})

/** A collection whose plain scan of all rows takes several units of work, with room for the scratch areas of so many slots. */
async function open(
  workers: number,
  rowsStored = rows,
  scratchSlots = 0,
): Promise<{ executor: KernelExecutor; stored: StoredCollection }> {
  const executor = openPool({ workers })
  opened.push(executor)
  const pool = new ArenaPool({ bytesMax: 100_000_000, scratchSlots: Math.max(scratchSlots, executor.scratchSlots) })
  const stored = vectors.subarray(0, rowsStored * dimension)
  const options = { vectors: stored, dimension, metric: 'l2', quantized: false, blockRows: 20_000 } as const
  return { executor, stored: await storeCollection(executor, pool, options) }
}

/** Threads started while `run` runs. */
async function threadsOf<T>(run: () => Promise<T>): Promise<{ readonly value: T; readonly threads: Worker[] }> {
  const threads: Worker[] = []
  const remember = (thread: Worker): number => threads.push(thread)
  process.on('worker', remember)
  try {
    return { value: await run(), threads }
  } finally {
    process.off('worker', remember)
  }
}

test('law 3: the number of workers changes no answer', async () => {
  for (const workers of [0, 1, 2]) {
    const { executor, stored } = await open(workers)
    const answers = await Promise.all(Array.from({ length: 4 }, () => search(executor, stored, request)))
    for (const answer of answers) expect(answer).toEqual(expected)
  }
})

const shapeless = (count: number, draw: () => number): Float32Array =>
  Float32Array.from({ length: count * dimension }, () => draw() - 0.5)

/** Around points: of some near, of others far. Few dimensions have more than zeros. */
function islands(count: number, draw: () => number): Float32Array {
  const real = 20
  const point = () => ({ at: Array.from({ length: real }, () => 3 * (draw() - 0.5)), scale: 0.02 * 100 ** draw() })
  const points = Array.from({ length: 24 }, point)
  return Float32Array.from({ length: count * dimension }, (_, i) => {
    const column = i % dimension
    const { at, scale } = points[Math.floor(i / dimension) % points.length]!
    return column < real ? at[column]! + scale * (draw() - 0.5) : 0
  })
}

const equalRows = { from: 20_000, to: 40_000 }

/** Each row twelve times, and some of them more often than survivors fit. */
function repeated(count: number, draw: () => number): Float32Array {
  const vectors = new Float32Array(count * dimension)
  for (let row = 0; row < count; row += 12) {
    const one = shapeless(1, draw)
    for (let i = row; i < Math.min(count, row + 12); i++) vectors.set(one, i * dimension)
  }
  return vectors.fill(0.5, equalRows.from * dimension, equalRows.to * dimension)
}

const leaveOut = { first: 'bytes', gap: 0.1 } as const
const bits = { first: 'bits', gap: Number.POSITIVE_INFINITY } as const
const target = (recall: number) => ({ kind: 'target', recall }) as const

test.each([
  { name: '1-bit codes', metric: 'l2', k: 50, contract: target(0.6), choice: bits, rowsOf: shapeless },
  {
    name: '1-bit codes, certified',
    metric: 'cosine',
    k: 10,
    contract: { kind: 'certified', missProbability: 0.9 },
    choice: null,
    rowsOf: shapeless,
  },
  { name: 'on disk, many equal', metric: 'l2', k: 10, contract: target(0.6), choice: bits, rowsOf: repeated },
  { name: 'clusters left out', metric: 'l2', k: 10, contract: target(0.9), choice: leaveOut, rowsOf: islands },
] as const)(
  'law 3: nor does it, what else is asked, or a thread that dies, where rows may be missed: $name',
  async ({ metric, k, contract, choice, rowsOf }) => {
    const draw = seededRandom(6)
    const isClustered = rowsOf === islands
    const rows = isClustered ? 20_000 : 150_000
    const options = {
      vectors: rowsOf(rows, draw),
      dimension,
      metric,
      quantized: true,
      blockRows: isClustered ? 200 : rowsOf === repeated ? equalRows.from : 6000,
      clusters: isClustered ? 32 : 0,
    }
    const asked = Array.from({ length: 40 }, (_, i) => ({
      query: (isClustered ? islands : shapeless)(1, rowsOf === repeated && i % 2 === 0 ? () => 0.5 + draw() : draw),
      k,
      contract,
      choice,
      distanceMax: Number.POSITIVE_INFINITY,
    }))
    const answers: string[][] = []
    let proven: string[] = []
    let tasks = 0
    for (const workers of [0, 1, 2]) {
      const { value: executor, threads } = await threadsOf(async () => {
        const executor = openPool({ workers })
        await new Promise(setImmediate) // threads are heard of a turn later
        return executor
      })
      opened.push(executor)
      const pool = new ArenaPool({ bytesMax: 200_000_000, scratchSlots: executor.scratchSlots })
      const stored = await storeCollection(executor, pool, options)
      // Each row many times, so that a scan is worth splitting.
      const blocks = Array.from({ length: isClustered ? 120 : 16 }, () => allRows(stored))
        .flat()
        .map((block, i) => (rowsOf === repeated && i % 4 > 0 ? { ...block, vectors: 0 } : block))
      const find = async (one: Pick<ScanJob, 'query' | 'k' | 'contract' | 'choice' | 'distanceMax'>) => {
        const reply = await executor.scan({ ...stored.job, ...one, blocks }, never)
        const { survivors, tiesLost, bytesScanned, unread } = reply
        const hits = inOrder(reply.distances, reply.blocks, reply.rows)
        const left = inOrder(survivors.lowers, survivors.blocks, survivors.rows, survivors.positions)
        // As text: what differs of many arrays would take minutes to show.
        return JSON.stringify({ hits, left, unread, tiesLost, bytesScanned })
      }
      const run = vi.spyOn(Piscina.prototype, 'run')
      const alone: string[] = []
      for (const one of asked) alone.push(await find(one))
      tasks = run.mock.calls.length
      run.mockRestore()
      answers.push(alone, await Promise.all(asked.map(find)))
      proven = await Promise.all(asked.map((one) => find({ ...one, contract: { kind: 'exact' }, choice: null })))
      const dying = Promise.all(asked.slice(0, 4).map(find))
      await new Promise((resolve) => setTimeout(resolve, 3))
      await threads[0]?.terminate()
      expect(await dying).toEqual(alone.slice(0, 4))
      stored.free()
    }
    for (const answer of answers.slice(1)) expect(answer.filter((one, i) => one !== answers[0]![i])).toHaveLength(0)
    // Scans were cut.
    expect(tasks).toBeGreaterThan(asked.length)
    const hitsOf = (answer: string): unknown => JSON.parse(answer).hits
    expect(answers[0]!.map(hitsOf)).not.toEqual(proven.map(hitsOf))
    if (rowsOf !== repeated) return
    // What else there is to go wrong did occur.
    for (const found of ['"tiesLost":true', '"left":[[', '"unread":[{'])
      expect(answers[0]!.filter((answer) => answer.includes(found)).length, found).toBeGreaterThan(5)
  },
)

/** Rows of parallel arrays, in an order of their own. */
const inOrder = (...columns: readonly ArrayLike<number>[]): number[][] =>
  Array.from(columns[0]!, (_, i) => columns.map((column) => column[i]!)).sort(
    (a, b) => a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!,
  )

test('law 3: where rows may be missed, how fast a scan is has no say in where blocks are cut', async () => {
  const { stored } = await open(0)
  const asked = { ...stored.job, blocks: allRows(stored), query, k }
  const cutsFor = (contract: RecallContract, choice: ScanChoice) =>
    [1_000_000, 4_000_000, 100_000_000].map((bytes) => {
      const units = unitsOf(planScan({ ...asked, contract, choice, distanceMax: Number.POSITIVE_INFINITY }), bytes)
      return units.flat().map(({ index, from, to }) => `${index}: ${from} to ${to}`)
    })
  const gap = Number.POSITIVE_INFINITY
  expect(new Set(cutsFor({ kind: 'exact' }, { first: 'bytes', gap }).map(String)).size).toBe(3)
  for (const choice of [
    { first: 'bits', gap },
    { first: 'bytes', gap: 1 },
  ] as const) {
    const [cuts, ...others] = cutsFor({ kind: 'target', recall: 0.9 }, choice)
    for (const other of others) expect(other).toEqual(cuts)
    // Of 5 MB each.
    expect(cuts).toHaveLength(2 * stored.blocks.length)
  }
})

test('encoding in parts on workers gives the same bytes as inline', async () => {
  const bytes: Uint8Array[] = []
  for (const workers of [0, 2]) {
    const executor = openPool({ workers })
    opened.push(executor)
    const pool = new ArenaPool({ bytesMax: 100_000_000, scratchSlots: executor.scratchSlots })
    const options = { vectors, dimension, metric: 'cosine', quantized: true, blockRows: rows } as const
    const stored = await storeCollection(executor, pool, options)
    bytes.push(stored.blocks[0]!.block.allocation.u8().slice())
  }
  expect(Buffer.compare(bytes[0]!, bytes[1]!)).toBe(0)
})

test('a worker killed mid-query costs a retry, not an answer or the process', async () => {
  const { value, threads } = await threadsOf(() => open(2))
  const { executor, stored } = value
  expect(await search(executor, stored, request)).toEqual(expected)
  expect(threads).toHaveLength(2)
  const answers = Array.from({ length: 6 }, () => search(executor, stored, request))
  // The first tasks are on their way to the threads.
  await Promise.resolve()
  const exits = await Promise.all(threads.map((thread) => thread.terminate()))
  expect(exits).toHaveLength(2)
  for (const answer of await Promise.all(answers)) expect(answer).toEqual(expected)
  expect(await search(executor, stored, request)).toEqual(expected)
})

test('workers that die again and again fail the query with LG_INTERNAL, and the next one works', async () => {
  const { value, threads } = await threadsOf(() => open(1))
  const { executor, stored } = value
  await search(executor, stored, request)
  // A new thread's first message says that it is ready for a task.
  const killOnceReady = (thread: Worker): void => {
    thread.once('message', () => setImmediate(() => thread.terminate()))
  }
  process.on('worker', killOnceReady)
  const failing = expect(search(executor, stored, request)).rejects.toMatchObject({ code: 'LG_INTERNAL' })
  await threads[0]!.terminate()
  await failing
  process.off('worker', killOnceReady)
  expect(await search(executor, stored, request)).toEqual(expected)
})

test('queries that wait for a thread that dies as it starts fail with LG_INTERNAL, and the next one works', async () => {
  const { value, threads } = await threadsOf(() => open(1))
  const { executor, stored } = value
  await search(executor, stored, request)
  const callOff = killStarting()
  const failing = Array.from({ length: 4 }, () =>
    expect(search(executor, stored, request)).rejects.toMatchObject({ code: 'LG_INTERNAL' }),
  )
  await threads[0]!.terminate()
  await Promise.all(failing)
  callOff()
  expect(await search(executor, stored, request)).toEqual(expected)
})

test('where no thread can be started, queries fail with LG_INTERNAL, until one can be', async () => {
  const { stored } = await open(0, rows, 6)
  const callOff = killStarting()
  const executor = openPool({ workers: 2 })
  opened.push(executor)
  for (let i = 0; i < 3; i++)
    await expect(search(executor, stored, request)).rejects.toMatchObject({
      code: 'LG_INTERNAL',
      cause: { message: expect.stringContaining('worker') },
    })
  callOff()
  expect(await search(executor, stored, request)).toEqual(expected)
})

test.each(['starts', 'is ready'])(
  'a thread that dies while the way to it is timed costs no query (when it %s)',
  async (when) => {
    const { stored } = await open(0, rows, 4)
    const ended = once(process, 'worker').then(async ([thread]: Worker[]) => {
      // Not in between: Node 20 may abort when a thread ends that is linking its modules.
      if (when === 'is ready') await once(thread!, 'message')
      await thread!.terminate()
    })
    const executor = openPool({ workers: 1 })
    opened.push(executor)
    await ended
    expect(await search(executor, stored, request)).toEqual(expected)
  },
)

test('a thread that fails without a task ends no process', async () => {
  const { value, threads } = await threadsOf(() => open(1))
  const { executor, stored } = value
  await search(executor, stored, request)
  threads[0]!.emit('error', new Error('out of memory'))
  expect(await search(executor, stored, request)).toEqual(expected)
})

test('law 4: an aborted scan rejects with the reason, and never with a short answer', async () => {
  const { executor, stored } = await open(1)
  const job = { ...stored.job, blocks: allRows(stored), ...request }
  const before = AbortSignal.abort(new Error('gone before'))
  await expect(executor.scan(job, { signal: before })).rejects.toThrow('gone before')
  const controller = new AbortController()
  const first = search(executor, stored, request)
  const queued = executor.scan(job, { signal: controller.signal })
  controller.abort(new Error('gone while waiting'))
  await expect(queued).rejects.toThrow('gone while waiting')
  expect(await first).toEqual(expected)
})

test('law 4: a scan running in turns on the calling thread stops between two of them', async () => {
  const { executor, stored } = await open(0)
  const controller = new AbortController()
  const running = executor.scan({ ...stored.job, blocks: allRows(stored), ...request }, { signal: controller.signal })
  setImmediate(() => controller.abort(new Error('gone')))
  await expect(running).rejects.toThrow('gone')
})

test('of scans that arrive together and are dearer than handing them over, one runs inline a turn', async () => {
  // Of the first guess of what a scan costs, which none has corrected, .95 ms: more than any round trip, less than a share.
  const { executor, stored } = await open(1, Math.floor((0.95 * 4_000_000) / (dimension * 4)))
  const job = { ...stored.job, blocks: allRows(stored), ...request }
  expect(executor.scanAtOnce(job)).not.toBeNull()
  expect(executor.scanAtOnce(job)).toBeNull()
  expect((await executor.scan(job, never)).distances).toHaveLength(k)
  await new Promise(setImmediate)
  expect(executor.scanAtOnce(job)).not.toBeNull()
})

test("law 11: the memory of an arena is the system's again when the threads that worked in it have forgotten it", async () => {
  const executor = openPool({ workers: 2 })
  opened.push(executor)
  const pool = new ArenaPool({
    bytesMax: 500_000_000,
    scratchSlots: executor.scratchSlots,
    forget: (arenaId) => executor.forget(arenaId),
  })
  // What earlier tests used goes now, and not while it is measured.
  collectGarbage()
  await useAndFree(executor, pool)
  const used = process.memoryUsage.rss()
  const committed = pool.bytesCommitted
  await pool.giveBackEmpty()
  expect(committed).toBeGreaterThan(250_000_000)
  expect(pool.bytesCommitted).toBe(0)
  // The system takes it back page by page.
  await vi.waitFor(() => expect(used - process.memoryUsage.rss()).toBeGreaterThan(250_000_000), { timeout: 10_000 })
})

test('a thread that dies is not waited for to forget an arena', async () => {
  const { value, threads } = await threadsOf(() => open(2))
  const { executor, stored } = value
  expect(await search(executor, stored, request)).toEqual(expected)
  const forgotten = executor.forget(stored.job.arena.id)
  await Promise.all(threads.map((thread) => thread.terminate()))
  await forgotten
  expect(await search(executor, stored, request)).toEqual(expected)
})

test('threads that cannot collect garbage are not asked for ever', async () => {
  const { executor, stored } = await open(2)
  const run = vi.spyOn(Piscina.prototype, 'run').mockRejectedValue(new Error('gc is not defined'))
  onTestFinished(() => run.mockRestore())
  const forgotten = executor.forget(stored.job.arena.id)
  await expect(forgotten).rejects.toMatchObject({ code: 'LG_INTERNAL', cause: { message: 'gc is not defined' } })
})

/** Has threads search in an arena, fills much of it, and frees all; in a function of its own, whose variables go with it. */
async function useAndFree(executor: KernelExecutor, pool: ArenaPool): Promise<void> {
  const options = { vectors, dimension, metric: 'l2', quantized: false, blockRows: 20_000 } as const
  const stored = await storeCollection(executor, pool, options)
  const answers = Array.from({ length: 4 }, () => search(executor, stored, request))
  for (const answer of await Promise.all(answers)) expect(answer).toEqual(expected)
  const filler = pool.allocate(256_000_000, stored.job.arena)!
  filler.u8().fill(1)
  filler.free()
  stored.free()
}

test('scans asked of a closed pool are refused', async () => {
  const { executor, stored } = await open(1)
  await executor.close()
  const job = { ...stored.job, blocks: allRows(stored), ...request }
  await expect(executor.scan(job, never)).rejects.toMatchObject({ code: 'LG_OVERLOADED' })
})

test.each([1, 2, 3])('scans under way when a pool is closed are answered or refused (%i threads)', async (workers) => {
  const { executor, stored } = await open(workers)
  const blocks = [1, 2, 3].flatMap(() => allRows(stored))
  await search(executor, stored, request)
  const asked = Array.from({ length: 8 }, () => executor.scan({ ...stored.job, blocks, ...request }, never))
  const outcomes = Promise.allSettled(asked)
  await new Promise((resolve) => setTimeout(resolve, 2))
  await executor.close()
  const refused = (await outcomes).filter((outcome) => outcome.status === 'rejected')
  expect(refused.length).toBeGreaterThan(0)
  for (const { reason } of refused) expect(reason).toMatchObject({ code: 'LG_OVERLOADED' })
})

test('survivors of all units are within the last threshold', async () => {
  const draw = seededRandom(12)
  const [rows, blockRows] = [120_000, 3000]
  // Later blocks are nearer.
  const scaled = shapeless(rows, draw).map((value, i) => value * (4 - (3 * i) / (rows * dimension)))
  for (const workers of [0, 1]) {
    const executor = openPool({ workers })
    opened.push(executor)
    const pool = new ArenaPool({ bytesMax: 200_000_000, scratchSlots: executor.scratchSlots })
    const options = { vectors: scaled, dimension, metric: 'l2', quantized: true, blockRows } as const
    const stored = await storeCollection(executor, pool, options)
    const blocks = allRows(stored).flatMap((block) => Array.from({ length: 40 }, () => ({ ...block, vectors: 0 })))
    const { distances, survivors } = await executor.scan({ ...stored.job, blocks, ...request }, never)
    expect(survivors.lowers.length).toBeGreaterThan(0)
    expect(Math.max(...survivors.lowers)).toBeLessThanOrEqual(distances[k - 1]!)
    stored.free()
  }
})

test.each([0, 32])(
  'where rows may be missed, large blocks are cut, but not those with clusters (%i)',
  async (clusters) => {
    const draw = seededRandom(13)
    const executor = openPool({ workers: 1 })
    opened.push(executor)
    const rows = 450_000
    const pool = new ArenaPool({ bytesMax: 400_000_000, scratchSlots: executor.scratchSlots })
    const vectors = shapeless(rows, draw)
    const options = { vectors, dimension, metric: 'l2', quantized: true, blockRows: rows, clusters } as const
    const stored = await storeCollection(executor, pool, options)
    const contract = { kind: 'certified', missProbability: 1e-9 } as const
    const asked = { k, contract, choice: bits, distanceMax: Number.POSITIVE_INFINITY }
    for (const blocks of [allRows(stored), allRows(stored).map((block) => ({ ...block, vectors: 0 }))]) {
      const ranges = planScan({ ...stored.job, blocks, query, ...asked }).ranges.map(({ from, to }) => [from, to])
      expect(ranges.length).toBe(clusters === 0 ? 3 : 1)
      expect(ranges.flat()).toEqual([0, ...ranges.slice(1).flatMap(([from]) => [from, from]), rows])
      for (let i = 0; i < 3; i++) {
        const query = shapeless(1, draw)
        const found = await search(executor, stored, { query, ...asked, blocks })
        expect(found).toEqual(bruteForce({ vectors, dimension, metric: 'l2', query, k }))
      }
    }
  },
)
