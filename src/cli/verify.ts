import { readFileSync } from 'node:fs'
import { type JsonValue, parseJson, stringifyJson } from '../core/json.js'
import { defineCommand, misuse } from './command.js'
import { connectionFlags, expectOk, withConnection } from './connection.js'

export const verify = defineCommand({
  name: 'verify',
  summary: 'Run a receipt again and say whether the answer is the same.',
  usage: 'RECEIPT.json [PATH…] [FLAG…]',
  about: `
Repeats the query of a full receipt at the generations it names and compares the digest. RECEIPT.json (or -) is a full receipt,
or a whole answer that has one: lakegate query … --receipt --json. Exit code 0 when it matches, 1 when it does not.`,
  flags: { json: { type: 'boolean', about: 'Print the verdict as JSON.' }, ...connectionFlags },
  positionals: { min: 1, max: Number.POSITIVE_INFINITY, expected: 'RECEIPT.json' },
  run: ({ flags, positionals: [path, ...paths] }) => {
    const receipt = readReceipt(path!)
    return withConnection(flags, paths, 'verifying', async (connection) => {
      const verdict = expectOk(await connection.ask('POST', '/v1/verify', receipt))
      const { matches, reason } = verdict as { readonly matches: boolean; readonly reason?: string | null }
      if (flags.json) process.stdout.write(`${stringifyJson(verdict)}\n`)
      else process.stdout.write(matches ? 'matches: the same rows and distances\n' : `does not match: ${reason}\n`)
      return matches ? 0 : 1
    })
  },
})

function readReceipt(path: string): JsonValue {
  let text: string
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8')
  } catch (error) {
    throw misuse(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  const value = parseJson(text, path)
  const receipt = (value as { readonly receipt?: JsonValue } | null)?.receipt ?? value
  if ((receipt as { readonly digest?: JsonValue } | null)?.digest === undefined)
    throw misuse(
      `${path}: expected a full receipt (with request and digest): ask with "receipt": "full", or lakegate query --receipt --json`,
    )
  return receipt
}
