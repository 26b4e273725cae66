import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { lockDirectory } from '../../src/cache/directory-lock.js'
import { scratchDirectory } from './scratch-directory.js'

test('a directory is locked once in a process, and again after its release', async () => {
  const directory = await scratchDirectory()
  const lock = await lockDirectory(directory)
  await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'LG_LOCK_HELD', field: 'cache.dir' })
  await lock.release()
  await (await lockDirectory(directory)).release()
})

test('a lock of a living process holds and names it', async () => {
  const directory = await scratchDirectory()
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
  onTestFinished(() => void child.kill())
  await once(child, 'spawn')
  await writeFile(join(directory, 'lock'), `${child.pid} -\n`)
  await expect(lockDirectory(directory)).rejects.toThrow(`process ${child.pid}`)
})

test('a lock of a dead process is taken over', async () => {
  const directory = await scratchDirectory()
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  await writeFile(join(directory, 'lock'), `${child.pid} -\n`)
  const lock = await lockDirectory(directory)
  expect(await readFile(join(directory, 'lock'), 'utf8')).toMatch(new RegExp(`^${process.pid} `))
  await lock.release()
})

test('a lock of an earlier process that had our number, or of one that died before writing, is taken over', async () => {
  const directory = await scratchDirectory()
  for (const content of [`${process.pid} 12345\n`, '']) {
    await writeFile(join(directory, 'lock'), content)
    await (await lockDirectory(directory)).release()
  }
})

test('of many who take over one dead lock at a time, one gets it', async () => {
  const directory = await scratchDirectory()
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  await writeFile(join(directory, 'lock'), `${child.pid} -\n`)
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
