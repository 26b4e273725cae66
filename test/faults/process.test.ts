/** Faults against a real server process: each gives a clear error or a right answer, and the process lives on. */
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeGeneratedParquet } from '../generated-parquet.js'
import { type LakegateProcess, startLakegate } from '../lakegate-process.js'

interface Reply {
  readonly results: readonly { readonly id: number; readonly distance: number }[]
  readonly receipt: { readonly complete: boolean }
  readonly lg_code?: string
  readonly error?: string
}

const dimension = 96
const rows = 30_000
const vector = Array.from({ length: dimension }, (_, i) => Math.sin(i))

describe('faults of a whole process', () => {
  let directory: string
  let parquet: string
  let truth: Reply['results']
  const running: LakegateProcess[] = []

  const start = async (args: readonly string[] = []): Promise<LakegateProcess> => {
    const server = await startLakegate([parquet, ...args], { cwd: directory })
    running.push(server)
    return server
  }

  const query = async (server: LakegateProcess, more: object = {}, signal?: AbortSignal) => {
    const response = await fetch(`${server.url}/v1/query`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ vector, k: 10, ...more }),
      ...(signal === undefined ? {} : { signal }),
    })
    return { status: response.status, headers: response.headers, body: (await response.json()) as Reply }
  }

  const cacheFiles = (): string[] =>
    readdirSync(join(directory, '.lakegate'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      // One that is renamed meanwhile is counted the next time.
      .filter((path) => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 100_000)

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'lakegate-faults-'))
    parquet = join(directory, 'rows.parquet')
    await writeGeneratedParquet(parquet, { rows, dimension, points: 40 })
    const server = await start()
    const answer = await query(server)
    expect(answer.status).toBe(200)
    truth = answer.body.results
    await server.stop()
  })

  afterAll(async () => {
    for (const server of running) await server.stop()
    rmSync(directory, { recursive: true, force: true })
  })

  const forgetCache = (): void => rmSync(join(directory, '.lakegate'), { recursive: true, force: true })

  test('law 4: a deadline of 1 ms on a cold collection is a named 503 or 504, and the pull goes on', async () => {
    forgetCache()
    const server = await start()
    const cut = await query(server, { deadline_ms: 1 })
    expect([503, 504]).toContain(cut.status)
    expect(['LG_PRIMING', 'LG_DEADLINE_EXCEEDED']).toContain(cut.body.lg_code)
    const whole = await query(server)
    expect(whole.body.results).toEqual(truth)
    const warm = await query(server, { deadline_ms: 1 })
    if (warm.status === 200) expect(warm.body.results).toEqual(truth)
    else expect(warm.status).toBe(504)
    expect(await server.stop()).toBe(0)
  })

  test('a client that hangs up during the first pull takes nothing down', async () => {
    forgetCache()
    const server = await start()
    const hangUp = new AbortController()
    const abandoned = query(server, {}, hangUp.signal).catch((error: unknown) => error)
    setImmediate(() => hangUp.abort())
    expect(await abandoned).toBeInstanceOf(Error)
    expect((await query(server)).body.results).toEqual(truth)
    expect(await server.stop()).toBe(0)
  })

  test('law 11: a budget smaller than the collection is refused with the number needed', async () => {
    forgetCache()
    const config = join(directory, 'small.toml')
    writeFileSync(
      config,
      `[cache]\nmemory = "8MiB"\n[[source]]\nname = "rows"\nkind = "parquet"\nuri = ${JSON.stringify(parquet)}\n`,
    )
    const server = await startLakegate(['--config', config], { cwd: directory })
    running.push(server)
    const refused = await query(server)
    expect(refused.status).toBe(503)
    expect(refused.body.lg_code).toBe('LG_OVER_BUDGET')
    expect(refused.body.error).toMatch(/\d/)
    expect((await fetch(`${server.url}/livez`)).status).toBe(200)
    expect(await server.stop()).toBe(0)
  })

  test('law 10: killed (-9) while segments are being written, a restart answers right', async () => {
    forgetCache()
    const server = await start()
    expect((await query(server)).body.results).toEqual(truth)
    server.child.kill('SIGKILL')
    await server.stop()
    const again = await start()
    expect((await query(again)).body.results).toEqual(truth)
    expect(await again.stop()).toBe(0)
  })

  test('law 10: killed (-9) while clustered segments take the place of flat ones, a restart answers right', async () => {
    forgetCache()
    const server = await start()
    expect((await query(server)).body.results).toEqual(truth)
    // With the first segment in clusters, files are being written, and others about to be removed.
    for (let clustered = 0; clustered === 0; ) {
      const response = await fetch(`${server.url}/v1/collections`)
      const { collections } = (await response.json()) as {
        readonly collections: readonly { readonly index: { readonly segments: { readonly clustered: number } } }[]
      }
      clustered = collections[0]!.index.segments.clustered
    }
    server.child.kill('SIGKILL')
    await server.stop()
    const again = await start()
    expect((await query(again)).body.results).toEqual(truth)
    expect(await again.stop()).toBe(0)
  })

  test('law 10: flipped and truncated segment files are discarded and rebuilt', async () => {
    const files = cacheFiles()
    expect(files.length).toBeGreaterThan(0)
    for (const [index, file] of files.entries()) {
      const bytes = readFileSync(file)
      if (index % 2 === 0) {
        bytes[Math.floor(bytes.length / 2)]! ^= 0x40
        writeFileSync(file, bytes)
      } else truncateSync(file, Math.floor(bytes.length / 2))
    }
    const server = await start()
    expect((await query(server)).body.results).toEqual(truth)
    expect(await server.stop()).toBe(0)
  })

  test('law 10: a truncated source is an error that names it, and is right again when repaired', async () => {
    forgetCache()
    const whole = readFileSync(parquet)
    const server = await start()
    truncateSync(parquet, Math.floor(whole.length / 2))
    const broken = await query(server)
    expect(broken.status).toBeGreaterThanOrEqual(500)
    expect(broken.body.error).toContain('rows')
    expect(broken.body.error).not.toContain('    at ')
    writeFileSync(parquet, whole)
    expect((await query(server)).body.results).toEqual(truth)
    expect(await server.stop()).toBe(0)
  })

  test('law 10: killed (-9) while vectors go to disk for lack of memory, a restart answers right from there', async () => {
    forgetCache()
    const large = join(directory, 'large.parquet')
    await writeGeneratedParquet(large, { rows: 120_000, dimension })
    const open = async (memory: string): Promise<LakegateProcess> => {
      const server = await startLakegate([large, '--memory', memory], { cwd: directory })
      running.push(server)
      return server
    }
    const roomy = await open('512MiB')
    const expected = (await query(roomy)).body.results
    expect(await roomy.stop()).toBe(0)
    forgetCache()
    const first = await open('56MiB')
    const asked = query(first).catch(() => null)
    while (!existsSync(join(directory, '.lakegate')) || cacheFiles().length < 2) await nextTurn()
    first.child.kill('SIGKILL')
    await asked
    await first.stop()
    const server = await open('56MiB')
    expect((await query(server)).body.results).toEqual(expected)
    server.child.kill('SIGKILL')
    await server.stop()
    const again = await open('56MiB')
    expect((await query(again)).body.results).toEqual(expected)
    expect(await again.stop()).toBe(0)
    forgetCache()
  }, 120_000)
})
