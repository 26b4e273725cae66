/** What is published works: the packed tarball, installed into an empty folder. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { post } from '../lakegate-process.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)

describe('the packed tarball', () => {
  let directory: string
  let app: string

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'lakegate-pack-'))
    app = join(directory, 'app')
    mkdirSync(app)
    // The build under test is packed as it is; building again would replace it under the other tests.
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', directory], { cwd: root })
    const tarball = readdirSync(directory).find((name) => name.endsWith('.tgz'))
    writeFileSync(join(app, 'package.json'), '{ "private": true }\n')
    const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline']
    await run('npm', ['install', ...flags, join(directory, tarball!)], { cwd: app })
  }, 240_000)

  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  /** First line of stdout of `npx lakegate serve …`, and a way to stop it. */
  async function serve(args: readonly string[]): Promise<{ line: string; stop(): Promise<number | null> }> {
    const child = spawn('npx', ['lakegate', 'serve', ...args, '--port', '0'], {
      cwd: app,
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    })
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
    return {
      line,
      async stop() {
        const exit = once(child, 'exit')
        process.kill(-child.pid!, 'SIGTERM') // npx and what it runs
        await exit
        return child.exitCode
      },
    }
  }

  const urlOf = (line: string): string => line.match(/^lakegate listening on (http:\/\/127\.0\.0\.1:\d+)$/)![1]!

  test('npx lakegate serve x.parquet answers', async () => {
    cpSync(join(root, 'examples/packages.parquet'), join(app, 'x.parquet'))
    const server = await serve(['x.parquet'])
    const answer = await post(`${urlOf(server.line)}/v1/query`, { row: { collection: 'x/x', id: 'patroni' }, k: 1 })
    expect(answer).toMatchObject({ status: 200, body: { results: [{ id: 'patroni', distance: 0 }] } })
    await server.stop()
  })

  test('without a path it serves the sample that came with the package', async () => {
    const server = await serve([])
    const query = { row: { collection: 'examples/examples', id: 'patroni' }, k: 1 }
    const answer = await post(`${urlOf(server.line)}/v1/query`, query)
    expect(answer).toMatchObject({ status: 200, body: { results: [{ id: 'patroni' }] } })
    await server.stop()
  })

  test('the benchmark and the sample are in it, the sample within 5 MB', async () => {
    const installed = join(app, 'node_modules/lakegate')
    expect(statSync(join(installed, 'examples/packages.parquet')).size).toBeLessThan(5e6)
    const args = ['lakegate', 'bench', 'search', '--n', '500', '--query-count', '5', '--seconds', '1']
    const { stdout } = await run('npx', [...args, '--dim', '16'], { cwd: app })
    expect(stdout).toMatch(/^lakegate +exact +1 +1 /m)
  })
})
