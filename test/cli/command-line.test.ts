/** The built command line, run for real. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { backendId } from '../../src/core/generation.js'
import type { AuditReport } from '../../src/federation/gateway.js'
import { writeGeneratedParquet } from '../generated-parquet.js'
import { type LakegateProcess, post, startLakegate } from '../lakegate-process.js'
import { fakeGateway } from '../server/fake-gateway.js'
import { testServer } from '../server/test-server.js'
import { runLakegate } from './run-lakegate.js'

const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version

let directory: string
let parquet: string
const path = (name: string): string => join(directory, name)

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'lakegate-cli-'))
  parquet = path('rows.parquet')
  await writeGeneratedParquet(parquet, { rows: 300, dimension: 8 })
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** One clear line on stderr, nothing on stdout, exit 2. */
async function refusal(args: readonly string[], environment: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await runLakegate(args, { cwd: directory, environment })
  expect(stdout, stderr).toBe('')
  expect(stderr.trim().split('\n'), stderr).toHaveLength(1)
  expect(stderr).not.toMatch(/^\s+at /m)
  expect(code, stderr).toBe(2)
  return stderr.trim()
}

describe('help and mistakes', () => {
  test('--version is the version of the package', async () => {
    expect(await runLakegate(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  test('--help lists every command, and every command has its own help', async () => {
    const { code, stdout } = await runLakegate(['--help'])
    expect(code).toBe(0)
    for (const command of ['serve', 'query', 'collections', 'explain', 'doctor', 'verify', 'bench']) {
      expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'))
      const own = await runLakegate([command, '--help'])
      expect(own.code).toBe(0)
      expect(own.stdout).toContain(`Usage: lakegate ${command}`)
      expect(own.stdout).toContain('--help')
    }
  })

  test.each([
    [['serv'], 'lakegate: unknown command "serv" (did you mean "serve"?); see lakegate --help'],
    [['--prot'], 'lakegate: unknown flag "--prot"; see lakegate --help'],
    [['constructor'], 'lakegate: unknown command "constructor"; see lakegate --help'],
    [
      ['serve', '--prot', '1'],
      'lakegate: serve: unknown flag --prot (did you mean "port"?); see lakegate serve --help',
    ],
    [['query'], 'lakegate: query: expected one COLLECTION; see lakegate query --help'],
    [['query', 'a/b'], 'lakegate: expected one of --vector and --row; see lakegate query --help'],
    [['lake', 'init'], 'lakegate: lake: not supported yet; see lakegate --help'],
    [['serve', '--port', '70000'], 'lakegate: --port: expected a whole number from 0 to 65535, found "70000"'],
    [['serve', 'missing.parquet'], 'lakegate: missing.parquet: there is no such file or directory'],
    [['query', 'missing.parquet', '--row', '1'], 'lakegate: missing.parquet: there is no such file or directory'],
    [['query', './missing', '--row', '1'], 'lakegate: ./missing: there is no such file or directory'],
    [
      ['query', '/dev/null', '--row', '1'],
      'lakegate: /dev/null is neither a file nor a directory; supported now: a .parquet file, a directory or a glob of them',
    ],
    [
      ['bench', 'search', '--base', 'missing.f32', '--modes', 'nearly'],
      'lakegate: modes: expected exact, certified, brute or a target below 1, found "nearly"',
    ],
    [
      ['bench', 'search', '--base', 'missing.f32', '--peers', 'usearch@2'],
      'lakegate: peers: expected name@recall with a recall above 0 and up to 1, found "usearch@2"',
    ],
    [['serve', '--config', 'missing.toml'], 'lakegate: --config missing.toml: cannot be read (ENOENT)'],
  ])('%j: one line, exit 2', async (args, message) => {
    expect(await refusal(args)).toBe(message)
  })

  test('query of a glob whose directory is missing says so', async () => {
    const message = await refusal(['query', 'missing/*.parquet', '--row', '1', '--cache-dir', path('unused')])
    expect(message).toMatch(/missing: it is not a directory \(of the glob missing\/\*\.parquet\)$/)
  })

  test('a bad configuration is one line a problem', async () => {
    writeFileSync(path('bad.toml'), '[server]\nprot = 1\n\n[cache]\nmemory = "much"\n')
    const { code, stderr } = await runLakegate(['serve', '--config', path('bad.toml')])
    expect(code).toBe(2)
    expect(
      stderr
        .trim()
        .split('\n')
        .map((line) => line.replace(path('bad.toml'), 'bad.toml')),
    ).toEqual([
      'lakegate: bad.toml:2: server.prot: unknown key (did you mean "port"?)',
      'lakegate: bad.toml:5: cache.memory: expected a size such as "2GiB", "512MB" or a number of bytes, found "much"',
    ])
  })
})

describe('serve', () => {
  let server: LakegateProcess

  beforeAll(async () => {
    server = await startLakegate([parquet, '--cache-dir', path('served')], { cwd: directory })
  })

  afterAll(async () => {
    await server?.stop()
  })

  test('answers a row query', async () => {
    const query = { row: { collection: 'rows/rows', id: 5 }, k: 2 }
    const { status, body } = await post(`${server.url}/v1/query`, query)
    expect(status).toBe(200)
    expect(body).toMatchObject({ results: [{ id: 5, distance: 0 }, {}], receipt: { complete: true } })
  })

  test('a port in use is one line, exit 2', async () => {
    const { port } = new URL(server.url)
    expect(await refusal(['serve', parquet, '--port', port, '--cache-dir', path('other')])).toBe(
      `lakegate: port ${port} of 127.0.0.1 is in use; choose another with --port, or 0 for a free one`,
    )
  })

  test('a cache directory in use is one line, exit 2', async () => {
    const message = await refusal(['serve', parquet, '--port', '0', '--cache-dir', path('served')])
    expect(message).toContain(path('served'))
  })

  test('a cache directory that is none is one line, exit 2', async () => {
    expect(await refusal(['serve', parquet, '--port', '0', '--cache-dir', parquet])).toBe(
      `lakegate: cache.dir: expected a directory that can be written to, found ${parquet} (EEXIST); name another`,
    )
  })

  test('commands in another process do without its cache directory, and say so in one line', async () => {
    const cache = ['--cache-dir', path('served')]
    const run = async (args: readonly string[]) => {
      const { code, stdout, stderr } = await runLakegate([...args, ...cache], { cwd: directory })
      expect(code, stderr).toBe(0)
      expect(stderr.trim().split('\n')).toEqual([
        `lakegate: ${path('served')}: another process uses this cache directory; reading the sources again, into memory (ask a running server with --url)`,
      ])
      return stdout
    }
    const answer = await run(['query', parquet, '--row', '7', '-k', '3', '--json'])
    expect(JSON.parse(answer)).toMatchObject({ results: [{ id: 7 }, {}, {}], receipt: { complete: true } })
    expect(await run(['collections', parquet])).toMatch(/^rows\/rows +parquet /m)
    expect(await run(['explain', parquet, '--row', '7'])).toMatch(/^rows\/rows +cache /m)
  })

  test('doctor mentions who has the cache directory, checks the sources all the same, and passes', async () => {
    const { code, stdout } = await runLakegate(['doctor', parquet, '--cache-dir', path('served')])
    expect(stdout).toMatch(/^ok {4}cache lock: cache\.dir: .* is in use by process \d+/m)
    expect(stdout).toMatch(/^ok {4}source rows: parquet, 1 collection$/m)
    expect(code).toBe(0)
  })

  test('commands ask it with --url', async () => {
    const query = await runLakegate(['query', 'rows/rows', '--row', '7', '-k', '3', '--json', '--url', server.url])
    expect(query.stderr).toBe('')
    expect(JSON.parse(query.stdout)).toMatchObject({ results: [{ id: 7 }, {}, {}], receipt: { complete: true } })
    const list = await runLakegate(['collections', '--url', server.url])
    expect(list.stdout).toMatch(/^rows\/rows +parquet +l2 +ready +8 +300 +1 /m)
    const plan = await runLakegate(['explain', 'rows/rows', '--row', '7', '--url', server.url])
    expect(plan.stdout).toMatch(/^rows\/rows +cache /m)
  })

  test('no server at --url: one line, exit 1', async () => {
    const free = await freePort()
    const { code, stderr } = await runLakegate(['collections', '--url', `http://127.0.0.1:${free}`])
    expect(stderr).toBe(`lakegate: http://127.0.0.1:${free}: no answer (ECONNREFUSED)\n`)
    expect(code).toBe(1)
  })

  test('SIGTERM: exit 0, and only the ready line was on stdout', async () => {
    const other = await startLakegate([parquet, '--cache-dir', path('stopped')], { cwd: directory })
    let more = ''
    other.child.stdout?.on('data', (text: Buffer) => {
      more += text.toString()
    })
    expect(await other.stop()).toBe(0)
    expect(more).toBe('')
  })

  test('another host than loopback needs telling twice', async () => {
    const cache = ['--cache-dir', path('public'), '--port', '0']
    expect(await refusal(['serve', parquet, '--host', '0.0.0.0', ...cache])).toContain('--allow-unauthenticated')
    const told = await startLakegate([
      parquet,
      '--host',
      '0.0.0.0',
      '--allow-unauthenticated',
      '--cache-dir',
      path('public'),
    ])
    expect(await told.stop()).toBe(0)
  })
})

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as { port: number }
  await new Promise((resolve) => probe.close(resolve))
  return port
}

describe('in this process', () => {
  const cache = (): string[] => ['--cache-dir', path('in-process')]

  test('query a file: a table and what the receipt says', async () => {
    const { code, stdout, stderr } = await runLakegate(['query', parquet, '--row', '5', '-k', '3', ...cache()])
    expect(stderr).toBe('')
    expect(code).toBe(0)
    const lines = stdout.trim().split('\n')
    expect(lines[0]).toMatch(/^# +distance +id +label$/)
    expect(lines[1]).toMatch(/^1 +0\.00000 +5 +label 5$/)
    expect(lines).toHaveLength(6)
    expect(lines[5]).toMatch(/^Searched all 300 rows of rows\/rows at generation \S+, checked \d+ ms ago; proven: /)
  })

  test('query with a filter as text, as JSON, and a vector from stdin', async () => {
    const run = async (args: readonly string[], stdin = ''): Promise<unknown> => {
      const { stdout, stderr } = await runLakegate(['query', parquet, ...args, '--json', ...cache()], { stdin })
      expect(stderr).toBe('')
      return (JSON.parse(stdout) as { results: unknown }).results
    }
    const byText = await run(['--row', '5', '--filter', "label = 'label 3'"])
    const byJson = await run(['--row', '5', '--filter', '{"label": "label 3"}'])
    expect(byText).toEqual(byJson)
    const vector = [0.1, 0.2, -0.3, 0.4, 0, 0, 1, -1]
    const fromStdin = await run(['--vector', '-'], JSON.stringify(vector))
    writeFileSync(path('vector.f32'), new Uint8Array(Float32Array.from(vector).buffer))
    expect(await run(['--vector', path('vector.f32')])).toEqual(fromStdin)
    expect(await run(['--vector', JSON.stringify(vector)])).toEqual(fromStdin)
  })

  test('what the server refuses, the command says in one line', async () => {
    expect(await refusal(['query', parquet, '--row', '99999', ...cache()])).toContain('99999')
    expect(await refusal(['query', parquet, '--vector', '[1,2]', ...cache()])).toContain('8')
    expect(await refusal(['query', 'rows/none', '--row', '1', ...cache()])).toContain('rows/none')
  })

  test('a full receipt verifies, and a forged one does not', async () => {
    const made = await runLakegate(['query', parquet, '--row', '5', '--receipt', '--json', ...cache()])
    writeFileSync(path('receipt.json'), made.stdout)
    const good = await runLakegate(['verify', path('receipt.json'), parquet, ...cache()])
    expect(good).toMatchObject({ code: 0, stdout: 'matches: the same rows and distances\n' })
    const forged = JSON.parse(made.stdout) as { receipt: { digest: string } }
    forged.receipt.digest = 'a'.repeat(64)
    const bad = await runLakegate(['verify', '-', parquet, ...cache()], { stdin: JSON.stringify(forged) })
    expect(bad.code).toBe(1)
    expect(bad.stdout).toMatch(/^does not match: /)
    expect(await refusal(['verify', path('forged.json'), parquet])).toContain('forged.json: cannot be read (ENOENT)')
  })

  test('what an audit has kept is asked again, here or of a running server', async () => {
    const reproducer = {
      request: { vector: [0.1, 0.2, -0.3, 0.4, 0, 0, 1, -1], k: 5, collections: ['rows/rows'], recall: 'exact' },
      segments: [{ codebook: 'abc' }],
    }
    writeFileSync(path('kept.json'), JSON.stringify(reproducer))
    const good = await runLakegate(['verify', '--reproducer', path('kept.json'), parquet, ...cache()])
    expect(good).toMatchObject({
      code: 0,
      stdout:
        'claimed exact; compared with 300 rows: 0 of the 5 nearest are missing\nthe answer does not break its certificate\n',
    })
    const hit = { id: 5n, distance: 1, part: 'p', row: 1, location: { segment: 0, position: 1 } }
    const report: AuditReport = {
      ref: { backend: backendId('rows'), collection: 'rows' },
      generation: 'g1',
      contract: { kind: 'exact' },
      found: [hit],
      checked: {
        complete: true,
        rowsRead: 300,
        expected: [hit],
        missed: 1,
        wrong: [{ hit: 0, reason: 'the row is deleted' }],
        segments: [{ key: 's', codebook: 'def', rows: 300, clusters: 4 }],
      },
      isBroken: true,
    }
    const server = testServer(fakeGateway({ audit: async () => [report] }))
    const url = await server.listen({ port: 0 })
    const bad = await runLakegate(['verify', '--reproducer', path('kept.json'), '--url', url])
    await server.close()
    expect(bad.code).toBe(1)
    expect(bad.stdout.split('\n')).toEqual([
      'claimed exact; compared with 300 rows: 1 of the 1 nearest are missing',
      'hit 0: the row is deleted',
      'the index has other codes than then: not seeing it again does not mean that it was none',
      'the answer breaks its certificate',
      '',
    ])
    for (const other of ['{"results": []}', 'null', '{"request": {}, "segments": [null]}']) {
      writeFileSync(path('other.json'), other)
      expect(await refusal(['verify', '--reproducer', path('other.json'), '--url', url])).toContain(
        'expected a reproducer',
      )
    }
    expect(await refusal(['verify'])).toBe(
      'lakegate: verify: expected RECEIPT.json or --reproducer FILE; see lakegate verify --help',
    )
  })

  test('doctor: every check passes here, and a broken source fails', async () => {
    const good = await runLakegate(['doctor', parquet, ...cache()])
    expect(good.stdout).not.toContain('FAIL')
    expect(good.stdout).toMatch(/^ok {4}source rows: parquet, 1 collection$/m)
    expect(good.code).toBe(0)
    writeFileSync(path('broken.toml'), '[[source]]\nname = "gone"\nkind = "parquet"\nuri = "./gone.parquet"\n')
    const bad = await runLakegate(['doctor', '--config', path('broken.toml'), ...cache()], { cwd: directory })
    expect(bad.stdout).toMatch(/^FAIL {2}source.*gone/m)
    expect(bad.code).toBe(1)
  })

  test('without paths the bundled sample is searched', async () => {
    const { stdout } = await runLakegate(['query', 'examples/*', '--row', 'patroni', '-k', '2', '--json', ...cache()], {
      cwd: directory,
    })
    expect(JSON.parse(stdout)).toMatchObject({ results: [{ id: 'patroni', distance: 0 }, {}] })
  })
})
