import { MessageChannel } from 'node:worker_threads'
import { expect, onTestFinished, test, vi } from 'vitest'
import { ringBytes, ScanRing } from '../../src/federation/scan-ring.js'
import { Threads } from '../../src/federation/threads.js'
import { killStarting, runningCount, startedThreads } from '../started-threads.js'

const ping = { kind: 'ping' } as const

async function open(count: number, tasksPerThread = 2): Promise<Threads> {
  const threads = new Threads({ count, tasksPerThread })
  onTestFinished(() => threads.close())
  // Each has one, so all have started.
  await Promise.all(Array.from({ length: count }, () => threads.run(ping)))
  return threads
}

/** Keeps a thread busy until `end` is called. */
function keepBusy(threads: Threads): { readonly done: Promise<string>; end(): void } {
  const memory = new SharedArrayBuffer(ringBytes)
  const { port1, port2 } = new MessageChannel()
  const done = threads.run({ kind: 'serve', memory, port: port2, slot: 0 }, [port2])
  return {
    done: done.then(
      () => 'done',
      (error: Error) => error.message,
    ),
    end() {
      new ScanRing(memory).close()
      port1.close()
    },
  }
}

const after = (ms: number): Promise<string> => new Promise((resolve) => setTimeout(resolve, ms, 'waited'))

test.each([1, 2, 3])('closing lets tasks finish that were given (%i threads)', async (count) => {
  const started = startedThreads()
  const threads = await open(count)
  expect(started).toHaveLength(count)
  const busy = Array.from({ length: count }, () => keepBusy(threads))
  const tasks = Array.from({ length: 2 * count }, () => threads.run(ping))
  const closed = threads.close()
  await expect(threads.run(ping)).rejects.toMatchObject({ code: 'LG_OVERLOADED' })
  for (const one of busy) one.end()
  expect(await Promise.all(busy.map(({ done }) => done))).toEqual(busy.map(() => 'done'))
  expect(await Promise.all(tasks)).toEqual(tasks.map(() => null))
  await Promise.all([closed, threads.close()])
  expect(runningCount(started)).toBe(0)
  // None was started in their place.
  await after(100)
  expect(started).toHaveLength(count)
})

test('what waits for a thread while closing is refused when none is left', async () => {
  const threads = await open(2, 1)
  const outcomes = Promise.allSettled([keepBusy(threads).done, keepBusy(threads).done])
  const waiting = Promise.allSettled(Array.from({ length: 10 }, () => threads.run(ping)))
  const closed = threads.close().then(() => 'closed')
  const killed = threads.all
  killStarting()
  await Promise.all(killed.map((thread) => thread.terminate()))
  expect(await Promise.race([closed, after(5000)])).toBe('closed')
  await outcomes
  for (const { status } of await waiting) expect(status).toBe('rejected')
})

test('closing does not wait for a thread that died with a task', async () => {
  const threads = await open(1)
  const busy = keepBusy(threads)
  const closed = threads.close().then(() => 'closed')
  await threads.all[0]!.terminate()
  expect(await busy.done).toContain('exited')
  expect(await Promise.race([closed, after(5000)])).toBe('closed')
})

test('a thread that dies as it starts costs the others no task', async () => {
  const threads = await open(2, 1)
  const busy = keepBusy(threads)
  const pings = await Promise.all([threads.run(ping), threads.run(ping)])
  expect(pings).toEqual([null, null])
  const [one, other] = threads.all
  killStarting()
  // One of them has the ring, and is not the one that a forgetful thread names.
  const { threadId } = await threads.run({ kind: 'forget', arenaId: 1 })
  await (one!.threadId === threadId ? one! : other!).terminate()
  await vi.waitFor(() => expect(threads.all).toHaveLength(1))
  expect(await Promise.race([busy.done, after(100)])).toBe('waited')
  busy.end()
  expect(await busy.done).toBe('done')
})
