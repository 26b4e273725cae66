import { type JsonValue, stringifyJson } from '../core/json.js'
import { defineCommand, type FlagValues } from './command.js'
import { type Connection, connectionFlags, expectOk, type Reply, withConnection } from './connection.js'
import { pathsOf, prepareQuery, queryFlags } from './query-request.js'
import { describeReceipt, type WireReceipt } from './receipt-text.js'
import { renderTable } from './table.js'

interface WireAnswer {
  readonly results: readonly {
    readonly id: JsonValue
    readonly distance: number
    readonly backend: string
    readonly collection: string
    readonly metadata?: Readonly<Record<string, JsonValue>>
  }[]
  readonly receipt: WireReceipt
}

const flags = {
  ...queryFlags,
  receipt: { type: 'boolean', about: 'Ask for the full receipt, which `lakegate verify` takes (with --json).' },
  json: { type: 'boolean', about: 'Print the answer as the server sends it.' },
  ...connectionFlags,
} as const

export const query = defineCommand({
  name: 'query',
  summary: 'Find the nearest rows and say how sure that is.',
  usage: 'COLLECTION (--vector FILE|JSON|- | --row ID) [-k 10] [--filter …] [--recall …]',
  about: `
Finds the rows nearest to a vector or to another row. COLLECTION is "backend/collection", "backend/*", or a .parquet file,
directory or glob, which is then opened in this process (its cache is kept in --cache-dir).`,
  flags,
  positionals: { min: 1, max: 1, expected: 'one COLLECTION' },
  async run({ flags, positionals }) {
    const argument = positionals[0]!
    const paths = pathsOf(argument, flags.url)
    return withConnection(flags, paths, `searching ${argument}`, async (connection) => {
      const reply = await search(argument, paths.length > 0, flags, connection)
      const answer = expectOk(reply)
      if (flags.json) process.stdout.write(`${stringifyJson(answer)}\n`)
      else process.stdout.write(`${renderAnswer(answer as unknown as WireAnswer)}\n`)
      return 0
    })
  },
})

/** Tries the id as an integer, then as a string. */
async function search(
  argument: string,
  opened: boolean,
  given: FlagValues<typeof flags>,
  connection: Connection,
): Promise<Reply> {
  const { requests } = await prepareQuery(argument, opened, given, connection, given.url === undefined)
  let reply: Reply | null = null
  for (const request of requests) {
    reply = await connection.ask('POST', '/v1/query', given.receipt ? { ...request, receipt: 'full' } : request)
    if ((reply.body as { readonly lg_code?: string }).lg_code !== 'LG_ROW_NOT_FOUND') break
  }
  return reply!
}

const cellText = (value: JsonValue | undefined): string =>
  value === null || value === undefined ? '' : typeof value === 'string' ? value : stringifyJson(value)

function renderAnswer(answer: WireAnswer): string {
  const names = [...new Set(answer.results.flatMap((result) => Object.keys(result.metadata ?? {})))]
  const sources = new Set(answer.results.map((result) => `${result.backend}/${result.collection}`))
  const columns = [
    { title: '#', align: 'right' as const },
    { title: 'distance', align: 'right' as const },
    { title: 'id' },
    ...(sources.size > 1 ? [{ title: 'collection' }] : []),
    ...names.map((title) => ({ title })),
  ]
  const rows = answer.results.map((result, i) => [
    String(i + 1),
    result.distance.toPrecision(6),
    cellText(result.id),
    ...(sources.size > 1 ? [`${result.backend}/${result.collection}`] : []),
    ...names.map((name) => cellText(result.metadata?.[name])),
  ])
  return `${renderTable(columns, rows)}\n\n${describeReceipt(answer.receipt)}`
}
