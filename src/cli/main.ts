#!/usr/bin/env node
/** The command line. Exit codes: 0 done; 1 it went wrong; 2 the request, the configuration or the machine must change. */
import { readFileSync } from 'node:fs'
import { toGatewayError } from '../core/errors.js'
import { suggestion } from '../core/suggestion.js'
import { type Command, misuse } from './command.js'

/** Loaded one at a time: `--version` opens neither DuckDB nor a server. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.js')).serve,
  query: async () => (await import('./query.js')).query,
  collections: async () => (await import('./collections.js')).collections,
  explain: async () => (await import('./explain.js')).explain,
  doctor: async () => (await import('./doctor.js')).doctor,
  verify: async () => (await import('./verify.js')).verify,
  bench: async () => (await import('./bench.js')).bench,
}

/** Commands of the interface that this version does not have. */
const later = ['warehouse', 'snapshot', 'lake']

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return String((manifest as { version: string }).version)
}

async function overview(): Promise<string> {
  const loaded = await Promise.all(Object.values(commands).map((load) => load()))
  const width = Math.max(...loaded.map((command) => command.name.length)) + 2
  return `lakegate: vector search over the lakes you already have.

Usage: lakegate COMMAND [ARGUMENT…] [FLAG…]

${loaded.map((command) => `  ${command.name.padEnd(width)}${command.summary}`).join('\n')}

  lakegate COMMAND --help    What a command takes.
  lakegate --version         The version.

First minute:
  lakegate serve ./vectors.parquet
  lakegate query ./vectors.parquet --row 1`
}

async function run(args: readonly string[]): Promise<number> {
  const [first, ...rest] = args
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    const load = rest[0] === undefined ? undefined : commands[rest[0]]
    process.stdout.write(`${load === undefined ? await overview() : (await load()).help()}\n`)
    return first === undefined ? 2 : 0
  }
  if (first === '--version' || first === '-v') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  const load = Object.hasOwn(commands, first) ? commands[first] : undefined
  if (load !== undefined) return (await load()).run(rest)
  if (later.includes(first)) throw misuse(`${first}: not supported yet; see lakegate --help`)
  const what = first.startsWith('-') ? 'flag' : 'command'
  throw misuse(
    `unknown ${what} ${JSON.stringify(first)}${suggestion(first, Object.keys(commands))}; see lakegate --help`,
  )
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0) // the reader (head, less) has seen enough
  throw error
})

try {
  process.exitCode = await run(process.argv.slice(2))
} catch (error) {
  const failure = toGatewayError(error)
  for (const line of failure.message.split('\n')) process.stderr.write(`lakegate: ${line}\n`)
  if (failure.code === 'LG_INTERNAL')
    process.stderr.write(`${(failure.cause as Error | undefined)?.stack ?? failure.stack}\n`)
  process.exitCode = failure.status < 500 ? 2 : 1
}
