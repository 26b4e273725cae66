import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { nodeFileSystem, writeDurably } from '../../src/cache/file-system.js'
import { composeSegmentFile, openSegmentFile } from '../../src/cache/segment-file.js'
import { never } from './open-cache.js'
import { scratchDirectory } from './scratch-directory.js'

const header = { key: 'k', rows: 0, idKind: 'int' }
/** No multiple of what is read at a time. */
const bytes = Uint8Array.from({ length: 9_000_001 }, (_, i) => (i * 2_654_435_761) >>> 24)

/** A file of one section and a row. */
async function written() {
  const path = join(await scratchDirectory(), 'file')
  const content = {
    sections: new Map([['block', bytes]]),
    originals: { bytes: 64, chunks: () => [new Uint8Array(64)] },
  }
  await writeDurably(nodeFileSystem, path, composeSegmentFile(header, content).pieces, never)
  const handle = await open(path, 'r+')
  onTestFinished(() => handle.close())
  return { handle, reader: await openSegmentFile(handle, header.key) }
}

test('a section that is read in several pieces is the one that was written', async () => {
  const { reader } = await written()
  const into = new Uint8Array(new SharedArrayBuffer(bytes.length))
  await reader.read('block', into)
  expect(Buffer.compare(into, bytes)).toBe(0)
})

test.each([0, 5_000_000, bytes.length - 1])('law 10: a byte that changed is noticed wherever it is: %i', async (at) => {
  const { handle, reader } = await written()
  await handle.write(Uint8Array.of(bytes[at]! ^ 1), 0, 1, 4096 + at)
  await expect(reader.read('block', new Uint8Array(bytes.length))).rejects.toMatchObject({ code: 'LG_CORRUPT' })
})

test('a read that fails is told of when no other is under way: its memory may be given to others then', async () => {
  const { handle, reader } = await written()
  const failure = Object.assign(new Error('broken disk'), { syscall: 'read' })
  const read = handle.read.bind(handle)
  let release = (): void => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  let calls = 0
  let finished = false
  handle.read = (async (...args: Parameters<typeof read>) => {
    calls++
    if (calls === 1) throw failure
    await released
    const done = await read(...args)
    finished = true
    return done
  }) as typeof handle.read
  let told = false
  const reading = reader.read('block', new Uint8Array(bytes.length)).finally(() => {
    told = true
  })
  reading.catch(() => {})
  await setImmediate()
  expect(calls).toBeGreaterThan(1)
  expect(told).toBe(false)
  release()
  await expect(reading).rejects.toBe(failure)
  expect(finished).toBe(true)
})
