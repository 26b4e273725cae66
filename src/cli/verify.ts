import { readFileSync } from 'node:fs'
import { type JsonValue, parseJson, stringifyJson } from '../core/json.js'
import { defineCommand, misuse } from './command.js'
import { connectionFlags, expectOk, withConnection } from './connection.js'
import { replay } from './replay.js'

export const verify = defineCommand({
  name: 'verify',
  summary: 'Run a receipt, or what an audit found, again and say whether the answer is the same.',
  usage: '{RECEIPT.json | --reproducer FILE} [PATH…] [FLAG…]',
  about: `
Repeats the query of a full receipt at the generations it names and compares the digest. RECEIPT.json (or -) is a full receipt,
or a whole answer that has one: lakegate query … --receipt --json. Exit code 0 when it matches, 1 when it does not.
With --reproducer: asks the query of a violation that an audit has kept (DIR/audit/*.json of the cache directory) again, compares
the answer with brute force over every row, and exits with 1 when it still breaks its certificate.`,
  flags: {
    reproducer: { type: 'string', value: 'FILE', about: 'What an audit has kept of a violation.' },
    json: { type: 'boolean', about: 'Print the verdict as JSON.' },
    ...connectionFlags,
  },
  positionals: { min: 0, max: Number.POSITIVE_INFINITY, expected: 'RECEIPT.json' },
  run: ({ flags, positionals }) => {
    const { reproducer } = flags
    if (reproducer !== undefined) {
      const value = readJson(reproducer)
      return withConnection(flags, positionals, 'auditing', async (connection) => {
        const { reply, text, broken } = await replay(value, reproducer, connection)
        process.stdout.write(`${flags.json ? stringifyJson(reply) : text}\n`)
        return broken ? 1 : 0
      })
    }
    const [path, ...paths] = positionals
    if (path === undefined)
      throw misuse('verify: expected RECEIPT.json or --reproducer FILE; see lakegate verify --help')
    const receipt = readReceipt(path)
    return withConnection(flags, paths, 'verifying', async (connection) => {
      const verdict = expectOk(await connection.ask('POST', '/v1/verify', receipt))
      const { matches, reason } = verdict as { readonly matches: boolean; readonly reason?: string | null }
      if (flags.json) process.stdout.write(`${stringifyJson(verdict)}\n`)
      else process.stdout.write(matches ? 'matches: the same rows and distances\n' : `does not match: ${reason}\n`)
      return matches ? 0 : 1
    })
  },
})

function readJson(path: string): JsonValue {
  let text: string
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8')
  } catch (error) {
    throw misuse(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  return parseJson(text, path)
}

function readReceipt(path: string): JsonValue {
  const value = readJson(path)
  const receipt = (value as { readonly receipt?: JsonValue } | null)?.receipt ?? value
  if ((receipt as { readonly digest?: JsonValue } | null)?.digest === undefined)
    throw misuse(
      `${path}: expected a full receipt (with request and digest): ask with "receipt": "full", or lakegate query --receipt --json`,
    )
  return receipt
}
