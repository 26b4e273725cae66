import { describe, expect, test } from 'vitest'
import { readConfig } from '../../src/cli/config.js'
import { GatewayError } from '../../src/core/errors.js'

const read = (toml: string, environment: Record<string, string> = {}) =>
  readConfig({ path: 'lakegate.toml', toml }, environment)

function problems(toml: string, environment: Record<string, string> = {}): string[] {
  try {
    read(toml, environment)
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError)
    return (error as GatewayError).message.split('\n')
  }
  return []
}

describe('configuration', () => {
  test('nothing given means the documented defaults', () => {
    expect(readConfig(null, {})).toEqual({
      server: { host: '127.0.0.1', port: 8080, rvfPort: null, connectionsMax: 1024, bodyBytesMax: 16 * 2 ** 20 },
      cache: { dir: './.lakegate', memoryBytesMax: 2 * 2 ** 30, diskBytesMax: 20 * 2 ** 30, workers: 0 },
      query: { kMax: 10_000, deadlineMs: 10_000, consistency: null },
      audit: { every: 1000 },
      auth: { mode: 'none', allowUnauthenticated: false },
      sources: [],
    })
  })

  test('every section is read, with sizes and consistency in every spelling', () => {
    const config = read(`
      server = { host = "::1", port = 0 }
      [cache]
      memory = "1.5GiB"
      disk = 1000
      [query]
      consistency = { ttl_ms = 250 } # a comment
      [[source]]
      name = "a"
      kind = "parquet"
      uri = "./a.parquet"
      metric = "cosine"
      columns = [
        "x", # first
        "y",
      ]
      [[source]]
      name = "b"
      kind = "local"
      prime = "eager"
      refresh_ms = 30_000
    `)
    expect(config.server).toMatchObject({ host: '::1', port: 0 })
    expect(config.cache).toMatchObject({ memoryBytesMax: 1.5 * 2 ** 30, diskBytesMax: 1000 })
    expect(config.query.consistency).toEqual({ kind: 'ttl', ttlMs: 250 })
    expect(config.sources).toEqual([
      { name: 'a', kind: 'parquet', uri: './a.parquet', options: { metric: 'cosine', columns: ['x', 'y'] } },
      { name: 'b', kind: 'local', uri: null, options: { prime: 'eager', refresh_ms: 30_000 } },
    ])
  })

  test('the environment wins over the file and is parsed by the same types', () => {
    const toml = '[server]\nport = 1\n[query]\nconsistency = "fresh"\n'
    const config = read(toml, {
      LAKEGATE_SERVER_PORT: '9000',
      LAKEGATE_CACHE_MEMORY: '64MiB',
      LAKEGATE_QUERY_CONSISTENCY: '{ ttl_ms = 5 }',
      LAKEGATE_AUTH_ALLOW_UNAUTHENTICATED: 'true',
      LAKEGATE_SERVICE_HOST: 'what Kubernetes sets is not ours',
    })
    expect(config.server.port).toBe(9000)
    expect(config.cache.memoryBytesMax).toBe(64 * 2 ** 20)
    expect(config.query.consistency).toEqual({ kind: 'ttl', ttlMs: 5 })
    expect(config.auth.allowUnauthenticated).toBe(true)
    expect(problems('', { LAKEGATE_SERVER_PORT: 'http', LAKEGATE_CACHE_MEMROY: '1GiB' })).toEqual([
      'environment: LAKEGATE_SERVER_PORT: expected a whole number from 0 to 65535, found "http"',
      'environment: LAKEGATE_CACHE_MEMROY: unknown key (did you mean "memory"?)',
    ])
  })

  test('every problem is reported at once, each with its line', () => {
    const toml = `[server]
prot = 80
port = "eighty"
note = """
[not a section]
port = 1
"""

[cache]
memory = "lots"

[[source]]
name = "a"
kind = "parquett"
uri = "x"

[[source]]
name = "a"
kind = "parquet"
metric = "l3"
vektor = "v"

[cahce]
dir = "x"
`
    expect(problems(toml)).toEqual([
      'lakegate.toml:2: server.prot: unknown key (did you mean "port"?)',
      'lakegate.toml:3: server.port: expected a whole number from 0 to 65535, found "eighty"',
      'lakegate.toml:4: server.note: unknown key',
      'lakegate.toml:10: cache.memory: expected a size such as "2GiB", "512MB" or a number of bytes, found "lots"',
      'lakegate.toml:14: source[0].kind: expected one of "local", "parquet", found "parquett"',
      'lakegate.toml:17: source[1]: uri: missing; expected a file, directory or glob',
      'lakegate.toml:18: source[1].name: another source is already named "a"',
      'lakegate.toml:20: source[1].metric: expected one of "l2", "cosine", "dot", found "l3"',
      'lakegate.toml:21: source[1].vektor: unknown key (did you mean "vector"?)',
      'lakegate.toml:23: cahce: unknown section (did you mean "cache"?)',
    ])
  })

  test('broken TOML names its line', () => {
    expect(problems('[server]\nport = = 1\n')[0]).toMatch(/^lakegate\.toml:2: /)
  })

  test.each([
    ['[lake]\nuri = "x"', 'lakegate.toml:1: lake: the writable lake is not supported yet; remove this section'],
    ['[[bucket]]\nname = "x"', 'lakegate.toml:1: bucket: object storage is not supported yet; remove this section'],
    ['[server]\ntls_key = "x"', 'lakegate.toml:2: server.tls_key: TLS is not supported yet; remove this key'],
    ['[auth]\nmode = "oidc"', 'lakegate.toml:2: auth.mode: "oidc" is not supported yet; expected one of "none"'],
    [
      '[[source]]\nname = "x"\nkind = "bigquery"',
      'lakegate.toml:3: source[0].kind: "bigquery" is not supported yet; expected one of "local", "parquet"',
    ],
  ])('what later versions have is refused by name: %j', (toml, message) => {
    expect(problems(toml)).toEqual([message])
  })

  test.each(['a/b', '*', '..', '', 'a\u0000b'])('%j is not a source name', (name) => {
    expect(problems(`[[source]]\nname = ${JSON.stringify(name)}\nkind = "local"`)[0]).toMatch(/:2: source\[0]\.name: /)
  })
})
