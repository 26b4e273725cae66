/**
 * One process at a time has a directory. Node has no lock of the operating system, so the lock is a file that names the
 * process, `lock.N`. A process that finds only dead locks creates the next number exclusively and then removes them:
 * nothing has to be undone when it dies in between, and of several that try one creates the number.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { type FileHandle, open, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GatewayError } from '../core/errors.js'

/** How often a holder writes its lock anew, which moves the file's time. */
const beatMs = 2000
/** A lock not written for so long is dead, where its process cannot be looked up: it ran elsewhere, or before a boot. */
const silenceMsMax = 15_000
const pollMs = 250

/** Directories locked by this process: a second opening here must fail although the pid is our own. */
const heldHere = new Set<string>()

export interface DirectoryLock {
  release(): Promise<void>
}

interface Owner {
  readonly pid: number
  /** Clock ticks from boot to the process's start, where /proc tells: pids are given again, in containers often. */
  readonly start: string | null
  /** Where the pid means something. */
  readonly place: string
}

/**
 * Takes a directory for this process. A lock whose process is gone is taken over: at once where the process can be looked
 * up, otherwise (another container, another machine) when it has been silent for 15 seconds, which are waited for.
 * Throws LG_LOCK_HELD.
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const root = await realpath(directory) // by whatever links it was named
  if (heldHere.has(root)) throw held(directory, { pid: process.pid, place: ownPlace() })
  heldHere.add(root)
  try {
    const path = await acquire(root)
    const beat = setInterval(() => void writeAgain(path), beatMs)
    beat.unref()
    return {
      async release() {
        clearInterval(beat)
        await rm(path, { force: true })
        heldHere.delete(root)
      },
    }
  } catch (error) {
    heldHere.delete(root)
    throw error
  }
}

/** @returns the path of the lock file created */
async function acquire(root: string): Promise<string> {
  for (;;) {
    const dead = await locksIn(root)
    for (const number of dead) await refuseLiving(root, number)
    const number = Math.max(0, ...dead) + 1
    const path = lockPath(root, number)
    if (!(await createExclusively(path))) continue // somebody else did: look at that one
    try {
      // Between looking and creating others may have released and locked anew, from the first number on.
      for (const other of await locksIn(root)) {
        if (other === number) continue
        await refuseLiving(root, other)
        await rm(lockPath(root, other), { force: true })
      }
    } catch (error) {
      await rm(path, { force: true })
      throw error
    }
    return path
  }
}

const lockPath = (root: string, number: number): string => join(root, `lock.${number}`)

async function locksIn(root: string): Promise<number[]> {
  const names = await readdir(root)
  return names.flatMap((name) => /^lock\.(\d{1,15})$/.exec(name)?.[1] ?? []).map(Number)
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
    await file.writeFile(ownText())
  } finally {
    await file.close()
  }
  return true
}

/** A lock that somebody took away (they judged a process dead that was only stopped) is not made again. */
async function writeAgain(path: string): Promise<void> {
  try {
    const file = await open(path, 'r+')
    try {
      await file.write(ownText(), 0)
    } finally {
      await file.close()
    }
  } catch {
    // A full or unreachable disk: the next beat tries again, and in this place the process itself can be looked up.
  }
}

const ownText = (): string => {
  const owner: Owner = { pid: process.pid, start: startOf(process.pid), place: ownPlace() }
  return `${JSON.stringify(owner)}\n`
}

/** Returns when the lock is dead or gone. Throws LG_LOCK_HELD. */
async function refuseLiving(root: string, number: number): Promise<void> {
  const path = lockPath(root, number)
  const text = await readFile(path, 'utf8').catch(absentAsNull)
  if (text === null) return
  const owner = parseOwner(text)
  const lives = owner?.place === ownPlace() ? isAlive(owner) : await isWritten(path)
  if (lives) throw held(root, owner)
}

/** Null when the text is not whole: its process died, or is about to write it. */
function parseOwner(text: string): Owner | null {
  try {
    const owner = JSON.parse(text) as Owner | null
    return Number.isInteger(owner?.pid) && owner!.pid > 0 ? owner : null
  } catch {
    return null
  }
}

/** Watches until the file is written, or has been silent for too long by the clock of its own file system. */
async function isWritten(path: string): Promise<boolean> {
  const first = await stat(path).catch(absentAsNull)
  if (first === null) return false
  const startMs = await fileSystemNow(dirname(path))
  const from = performance.now()
  for (;;) {
    const now = await stat(path).catch(absentAsNull)
    if (now === null) return false
    if (now.mtimeMs > first.mtimeMs) return true
    const watchedMs = performance.now() - from
    if (watchedMs > silenceMsMax || startMs + watchedMs - now.mtimeMs > silenceMsMax) return false
    await sleep(pollMs)
  }
}

/** Of a network drive it may differ from ours. */
async function fileSystemNow(root: string): Promise<number> {
  const path = join(root, `clock-${randomUUID()}.tmp`)
  await writeFile(path, '')
  try {
    return (await stat(path)).mtimeMs
  } finally {
    await rm(path, { force: true })
  }
}

function isAlive({ pid, start }: Owner): boolean {
  const now = startOf(pid)
  if (now !== null && start !== null) return now === start
  if (pid === process.pid) return false // not ours (heldHere), so of an earlier process with our number
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Boot and pid namespace, where /proc tells: containers of one machine have the same boot and may share a host name. */
function ownPlace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return hostname() // no /proc on this system
  }
}

function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null // no /proc on this system, or no such process; kill() tells which
  }
}

function absentAsNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

function held(directory: string, owner: Pick<Owner, 'pid' | 'place'> | null): GatewayError {
  const where = owner === null || owner.place === ownPlace() ? '' : ' of another container or machine'
  const who = owner === null ? 'a process that is starting' : `process ${owner.pid}${where}`
  return new GatewayError(
    'LG_LOCK_HELD',
    `cache.dir: ${directory} is in use by ${who}; stop it, or give this one another directory`,
    { field: 'cache.dir' },
  )
}
