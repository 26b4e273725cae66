/** From flags, file and environment to one Config. */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { metrics } from '../core/metric.js'
import { type Flags, type FlagValues, misuse, readWhole } from './command.js'
import { type Config, readConfig } from './config.js'
import { examplesPath, sourcesOfPaths } from './source-paths.js'

/** Flags of every command that opens sources itself. */
export const sourceFlags = {
  config: { type: 'string', value: 'FILE', about: 'Configuration (TOML); see docs/configuration.md.' },
  'cache-dir': { type: 'string', value: 'DIR', about: 'Directory of the cache (default ./.lakegate).' },
  memory: { type: 'string', value: 'SIZE', about: 'Memory for the cache, e.g. 512MiB (default 2GiB).' },
  workers: { type: 'string', value: 'N', about: 'Worker threads (default: cores - 1, at least 1).' },
  metric: { type: 'string', value: 'l2|cosine|dot', about: 'Metric of the sources named by PATH (default l2).' },
  'on-bad-row': {
    type: 'string',
    value: 'refuse|skip',
    about: 'What to do with unusable rows of PATH (default refuse).',
  },
} as const satisfies Flags

export const serverFlags = {
  host: { type: 'string', value: 'HOST', about: 'Address to listen on (default 127.0.0.1).' },
  port: { type: 'string', value: 'PORT', about: 'HTTP port (default 8080); 0 takes a free one.' },
  'rvf-port': {
    type: 'string',
    value: 'PORT',
    about: 'Also speak the binary RVF protocol on this port; 0 takes a free one.',
  },
  'allow-unauthenticated': {
    type: 'boolean',
    about: 'Second consent to listen beyond loopback: everybody who reaches the port is served.',
  },
} as const satisfies Flags

type SourceFlags = Partial<FlagValues<typeof sourceFlags>>
type ServerFlags = Partial<FlagValues<typeof serverFlags>>

function readFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw misuse(
      `--config ${path}: cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`,
      'config',
    )
  }
}

function oneOf<T extends string>(name: string, text: string | undefined, allowed: readonly T[]): T | undefined {
  if (text === undefined) return undefined
  const value = allowed.find((candidate) => candidate === text)
  if (value === undefined)
    throw misuse(`--${name}: expected one of ${allowed.join(', ')}, found ${JSON.stringify(text)}`, name)
  return value
}

/** Flags win over the environment, which wins over the file. Flags are checked by the types of the keys they stand for. */
function withFlags(flags: SourceFlags & ServerFlags, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = {
    LAKEGATE_CACHE_DIR: flags['cache-dir'],
    LAKEGATE_CACHE_MEMORY: flags.memory,
    LAKEGATE_CACHE_WORKERS: flags.workers,
    LAKEGATE_SERVER_HOST: flags.host,
    LAKEGATE_SERVER_PORT: flags.port,
    LAKEGATE_SERVER_RVF_PORT: flags['rvf-port'],
    LAKEGATE_AUTH_ALLOW_UNAUTHENTICATED: flags['allow-unauthenticated'] ? 'true' : undefined,
  }
  return { ...environment, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) }
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** Law 8's first step: without authentication only this machine is served, unless told twice. */
export function assertMayListen(config: Config): void {
  if (config.auth.mode === 'none' && !isLoopback(config.server.host) && !config.auth.allowUnauthenticated)
    throw misuse(
      `host ${config.server.host}: anybody who reaches it could search every source, since authentication is off; ` +
        'listen on 127.0.0.1, or say so twice by adding --allow-unauthenticated',
      'host',
    )
}

/** The sources of the file, then those of the paths; the bundled sample when there are neither. */
export async function loadConfig(
  flags: SourceFlags & ServerFlags,
  paths: readonly string[],
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Config> {
  readWhole('port', flags.port, 0, 65_535)
  readWhole('rvf-port', flags['rvf-port'], 0, 65_535)
  readWhole('workers', flags.workers, 0, 256)
  const metric = oneOf('metric', flags.metric, metrics)
  const onBadRow = oneOf('on-bad-row', flags['on-bad-row'], ['refuse', 'skip'] as const)
  const text = flags.config === undefined ? null : { path: flags.config, toml: readFile(flags.config) }
  const config = readConfig(text, withFlags(flags, environment))
  const options = {
    ...(metric === undefined ? {} : { metric }),
    ...(onBadRow === undefined ? {} : { on_bad_row: onBadRow }),
  }
  const wanted = paths.length === 0 && text === null ? [examplesPath] : paths
  const named = await sourcesOfPaths(wanted, options)
  for (const source of named)
    if (config.sources.some((other) => other.name === source.name))
      throw misuse(`${source.uri}: ${flags.config} already has a source named ${JSON.stringify(source.name)}`)
  return { ...config, sources: [...config.sources, ...named] }
}
