import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { watch } from 'node:fs'
import { readdir, readFile, readlink, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { lockDirectory } from '../../src/cache/directory-lock.js'
import { scratchDirectory } from './scratch-directory.js'

test('a directory is locked once in a process, and again after its release', async () => {
  const directory = await scratchDirectory()
  const lock = await lockDirectory(directory)
  await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'LG_LOCK_HELD', field: 'cache.dir' })
  await lock.release()
  await (await lockDirectory(directory)).release()
})

test('a directory is locked once in a process by whatever link it is named, also where /proc does not tell', async () => {
  const directory = await scratchDirectory()
  const lock = await lockDirectory(directory)
  await writeFile(join(directory, 'lock.1'), lockText({ pid: process.pid }))
  const link = join(await scratchDirectory(), 'link')
  await symlink(directory, link)
  await expect(lockDirectory(link)).rejects.toMatchObject({ code: 'LG_LOCK_HELD' })
  await lock.release()
  await (await lockDirectory(link)).release()
})

const place = `${(await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()} ${await readlink('/proc/self/ns/pid')}`
const lockText = (owner: object): string => `${JSON.stringify({ start: null, place, ...owner })}\n`

async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  return child.pid!
}

async function livingPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
  onTestFinished(() => void child.kill())
  await once(child, 'spawn')
  return child.pid!
}

test('a lock of a living process holds and names it', async () => {
  const directory = await scratchDirectory()
  const pid = await livingPid()
  await writeFile(join(directory, 'lock.4'), lockText({ pid }))
  await expect(lockDirectory(directory)).rejects.toThrow(`process ${pid};`)
  expect(await readdir(directory)).toEqual(['lock.4'])
})

test('a lock of a dead process is taken over, also when a process died while it took over', async () => {
  const directory = await scratchDirectory()
  const pid = await deadPid()
  await writeFile(join(directory, 'lock.1'), lockText({ pid }))
  await writeFile(join(directory, 'lock.2'), lockText({ pid }))
  const lock = await lockDirectory(directory)
  expect(await readdir(directory)).toEqual(['lock.3'])
  expect(await readFile(join(directory, 'lock.3'), 'utf8')).toContain(`"pid":${process.pid},`)
  await lock.release()
  expect(await readdir(directory)).toEqual([])
})

test('a lock of an earlier process that had our number, or that of another now, is taken over', async () => {
  const directory = await scratchDirectory()
  for (const pid of [process.pid, await livingPid()]) {
    await writeFile(join(directory, 'lock.1'), lockText({ pid, start: '12345' }))
    await (await lockDirectory(directory)).release()
  }
})

test('a process of another container with our number is no process of ours: its lock holds while it is written', async () => {
  const directory = await scratchDirectory()
  const path = join(directory, 'lock.1')
  await writeFile(path, lockText({ pid: process.pid, place: 'elsewhere' }))
  const beat = setInterval(() => void writeFile(path, lockText({ pid: process.pid, place: 'elsewhere' })), 100)
  onTestFinished(() => clearInterval(beat))
  await expect(lockDirectory(directory)).rejects.toThrow(
    `process ${process.pid} of another container or machine; stop it`,
  )
  expect(await readdir(directory)).toEqual(['lock.1'])
})

/** Whoever judges a lock by its age asks the file system for the time, with a file of its own. */
async function nextChange(directory: string): Promise<void> {
  const watcher = watch(directory)
  onTestFinished(() => watcher.close())
  for (;;) {
    const [, name] = await once(watcher, 'change')
    if (String(name).startsWith('clock-')) return
  }
}

test('a lock from elsewhere, or one that was never written, is taken over once it has been silent for long', async () => {
  const directory = await scratchDirectory()
  const path = join(directory, 'lock.1')
  for (const content of [lockText({ pid: process.pid, place: 'elsewhere' }), '']) {
    await writeFile(path, content)
    const isWatched = nextChange(directory)
    const locked = lockDirectory(directory)
    await isWatched // it is not judged dead at first sight
    const longAgo = new Date(Date.now() - 16_000)
    await utimes(path, longAgo, longAgo)
    await (await locked).release()
  }
})

test('a holder writes its lock again and again', async () => {
  const directory = await scratchDirectory()
  const lock = await lockDirectory(directory)
  const longAgo = new Date(Date.now() - 16_000)
  await utimes(join(directory, 'lock.1'), longAgo, longAgo)
  await vi.waitUntil(async () => (await stat(join(directory, 'lock.1'))).mtimeMs > longAgo.getTime() + 10_000, 10_000)
  await lock.release()
})

test('of many who take over one dead lock at a time, one gets it', async () => {
  const directory = await scratchDirectory()
  await writeFile(join(directory, 'lock.1'), lockText({ pid: await deadPid() }))
  const module = new URL('../../dist/cache/directory-lock.js', import.meta.url).href
  const script = `
    const { lockDirectory } = await import(${JSON.stringify(module)})
    process.stdin.once('data', async () => {
      await lockDirectory(process.argv[1]).then(() => console.log('held'), (error) => console.log(error.code))
      process.stdin.once('data', () => process.exit())
    })
    console.log('ready')`
  const rivals = Array.from({ length: 3 }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', script, directory], { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  const say = async (rival: (typeof rivals)[number]): Promise<string> =>
    String((await once(rival.stdout, 'data'))[0]).trim()
  await Promise.all(rivals.map(say))
  const outcomes = rivals.map(say)
  for (const rival of rivals) rival.stdin.write('go\n')
  expect((await Promise.all(outcomes)).sort()).toEqual(['LG_LOCK_HELD', 'LG_LOCK_HELD', 'held'])
  for (const rival of rivals) rival.stdin.write('end\n')
  await Promise.all(rivals.map((rival) => once(rival, 'exit')))
})
