import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { realGateway } from './real-gateway.js'
import { testServer } from './test-server.js'

const run = promisify(execFile)
const version = '4.32.5'
const cache = fileURLToPath(new URL('../../node_modules/.cache/', import.meta.url))
const environment = `${cache}schemathesis-${version}`
const schemathesis = `${environment}/bin/schemathesis`

/** Installs schemathesis once, outside the repository. Resolves with why it cannot be had, or null. */
async function install(): Promise<string | null> {
  if (existsSync(schemathesis)) return null
  try {
    await mkdir(cache, { recursive: true })
    await run('python3', ['-m', 'venv', environment])
    await run(`${environment}/bin/pip`, ['install', '--quiet', `schemathesis==${version}`], { timeout: 240_000 })
    return null
  } catch (error) {
    return `schemathesis ${version} cannot be installed with python3 and pip: ${String(error).split('\n')[0]}`
  }
}

test('hostile input: requests made from /openapi.json find no 5xx', { timeout: 480_000 }, async (context) => {
  const missing = await install()
  if (missing !== null) {
    if (process.env.CI !== undefined && process.env.CI !== '') throw new Error(missing)
    console.log(`not run: ${missing}`)
    context.skip(missing)
  }
  const real = await realGateway()
  const { signal } = new AbortController()
  await real.gateway.ingest(
    {
      ids: [1n, 2n, 'x'],
      vectors: Float32Array.of(0, 0, 1, 0, 0, 1),
      dimension: 2,
      metadata: [{ size: 1 }, { size: 2000 }, { name: 'x' }],
    },
    { signal },
  )
  const app = testServer(real.gateway)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const { code, output } = await run(
    schemathesis,
    [
      'run',
      `http://127.0.0.1:${port}/openapi.json`,
      '--checks=not_a_server_error,content_type_conformance,unsupported_method,status_code_conformance,response_schema_conformance',
      '--phases=examples,coverage,fuzzing',
      '--max-examples=100',
      '--seed=7',
      '--generation-database=none',
      '--request-timeout=20',
      '--exclude-path=/ws/live',
      '--no-color',
    ],
    // It keeps its findings in the working directory.
    { cwd: cache, timeout: 200_000, maxBuffer: 64 * 1024 * 1024 },
  ).then(
    ({ stdout }) => ({ code: 0, output: stdout }),
    (error: { code?: number; stdout?: string; stderr?: string }) => ({
      code: error.code ?? -1,
      output: `${error.stdout}${error.stderr}`,
    }),
  )
  await app.close()
  await real.close()
  expect(output.slice(-20_000)).toMatch(/\d+ passed/)
  expect(code, output.slice(-20_000)).toBe(0)
})
