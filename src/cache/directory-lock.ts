import { readFileSync } from 'node:fs'
import { type FileHandle, open, readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { GatewayError } from '../core/errors.js'

/** Directories locked by this process: a second opening here must fail although the pid is our own. */
const heldHere = new Set<string>()

export interface DirectoryLock {
  release(): Promise<void>
}

/**
 * Takes a directory for this process: a file created exclusively, naming the process. A lock whose process is gone is
 * taken over. Throws LG_LOCK_HELD.
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const path = join(resolve(directory), 'lock')
  if (heldHere.has(path)) throw held(directory, `this process (${process.pid})`)
  heldHere.add(path)
  try {
    if (!(await createExclusively(path))) await takeOver(directory, path)
  } catch (error) {
    heldHere.delete(path)
    throw error
  }
  return {
    async release() {
      await rm(path, { force: true })
      heldHere.delete(path)
    },
  }
}

/**
 * Replaces a dead process's lock. Between reading the old lock and removing it another process could do the same, so
 * only the holder of a second exclusive file may; it lives for the few calls below.
 */
async function takeOver(directory: string, path: string): Promise<void> {
  const turn = `${path}.takeover`
  if (!(await createExclusively(turn))) throw held(directory, `a process that is taking over (${turn})`)
  try {
    const owner = await readFile(path, 'utf8').catch(absentAsNull)
    if (owner !== null && isAlive(owner)) throw held(directory, `process ${owner.split(' ')[0]}`)
    await rm(path, { force: true })
    if (!(await createExclusively(path))) throw held(directory, 'another process')
  } finally {
    await rm(turn, { force: true })
  }
}

async function createExclusively(path: string): Promise<boolean> {
  let file: FileHandle
  try {
    file = await open(path, 'wx')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
  try {
    await file.writeFile(`${process.pid} ${startOf(process.pid) ?? '-'}\n`)
  } finally {
    await file.close()
  }
  return true
}

/** A pid alone may have been given to another process since (in containers it often is), hence its start time. */
function isAlive(owner: string): boolean {
  const [pidText, start] = owner.trim().split(' ')
  const pid = Number(pidText)
  if (!Number.isInteger(pid) || pid <= 0) return false // killed between creating and writing it
  if (pid === process.pid) return false // not ours (heldHere), so of an earlier process with our number
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  const now = startOf(pid)
  return now === null || start === '-' || now === start
}

/** Clock ticks from boot to the process's start, where /proc tells. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null // no /proc on this system, or the process ended just now; the pid decides alone
  }
}

function absentAsNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

const held = (directory: string, owner: string): GatewayError =>
  new GatewayError(
    'LG_LOCK_HELD',
    `cache.dir: ${directory} is in use by ${owner}; stop it, or give this one another directory`,
    { field: 'cache.dir' },
  )
