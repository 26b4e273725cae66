import { GatewayError } from '../core/errors.js'
import { defineCommand } from './command.js'
import { compose } from './compose.js'
import { assertMayListen, loadConfig, serverFlags, sourceFlags } from './load-config.js'

/** How long what was under way may still take after SIGTERM: requests, then segments on their way to disk. */
const graceMs = 10_000

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const

export const serve = defineCommand({
  name: 'serve',
  summary: 'Answer searches over files or configured sources.',
  usage: '[PATH…] [FLAG…]',
  about: `
Serves vector search over HTTP. PATH is a .parquet file, or a directory or glob of them; with neither PATH nor --config the
bundled sample is served. When ready it prints one line on stdout: lakegate listening on http://HOST:PORT. Logs go to stderr.
SIGTERM or SIGINT: no new connections, requests under way are finished (at most ${graceMs / 1000} s), exit 0.`,
  flags: {
    ...sourceFlags,
    ...serverFlags,
    'log-level': {
      type: 'string',
      value: logLevels.join('|'),
      about: 'Least severe log lines to write (default info).',
    },
  },
  positionals: { min: 0, max: Number.POSITIVE_INFINITY, expected: 'paths' },
  async run({ flags, positionals }) {
    const config = await loadConfig(flags, positionals)
    assertMayListen(config)
    const composed = await compose(config, { logLevel: readLogLevel(flags['log-level']), graceMs, cache: 'directory' })
    const stopped = stopSignal()
    try {
      const url = await composed.listen()
      process.stdout.write(`lakegate listening on ${url}\n`)
      await stopped
      return 0
    } finally {
      await composed.close()
    }
  },
})

function readLogLevel(text: string | undefined): string {
  if (text === undefined) return 'info'
  if (!logLevels.some((level) => level === text))
    throw new GatewayError(
      'LG_INVALID_REQUEST',
      `--log-level: expected one of ${logLevels.join(', ')}, found ${JSON.stringify(text)}`,
    )
  return text
}

/** Resolves at the first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        process.once(signal, () => process.exit(130))
        resolve()
      })
  })
}
