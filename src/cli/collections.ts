import { type JsonValue, stringifyJson } from '../core/json.js'
import { defineCommand } from './command.js'
import { connectionFlags, expectOk, withConnection } from './connection.js'
import { formatBytes, formatCount, renderTable } from './table.js'

interface WireCollection {
  readonly backend: string
  readonly collection: string
  readonly kind?: string
  readonly metric: string
  readonly state: string
  readonly dimension?: number | null
  readonly rows?: number | null
  readonly parts?: number | null
  readonly bytes?: number | null
}

export const collections = defineCommand({
  name: 'collections',
  summary: 'List what can be searched.',
  usage: '[PATH…] [FLAG…]',
  about: 'Lists the collections of the sources. Rows and dimension are known once a collection was searched.',
  flags: { json: { type: 'boolean', about: 'Print the list as JSON.' }, ...connectionFlags },
  positionals: { min: 0, max: Number.POSITIVE_INFINITY, expected: 'paths' },
  run: ({ flags, positionals }) =>
    withConnection(flags, positionals, 'listing', async (connection) => {
      const list = expectOk(await connection.ask('GET', '/v1/collections'))
      process.stdout.write(`${flags.json ? stringifyJson(list) : renderCollections(list)}\n`)
      return 0
    }),
})

function renderCollections(list: JsonValue): string {
  const found = (list as unknown as { readonly collections: readonly WireCollection[] }).collections
  if (found.length === 0) return 'no collections'
  const known = (value: number | null | undefined, format: (value: number) => string): string =>
    value == null ? '-' : format(value)
  const rows = found.map((collection) => [
    `${collection.backend}/${collection.collection}`,
    collection.kind ?? '',
    collection.metric,
    collection.state,
    known(collection.dimension, String),
    known(collection.rows, formatCount),
    known(collection.parts, formatCount),
    known(collection.bytes, formatBytes),
  ])
  const right = { align: 'right' } as const
  return renderTable(
    [
      { title: 'collection' },
      { title: 'kind' },
      { title: 'metric' },
      { title: 'state' },
      { title: 'dimension', ...right },
      { title: 'rows', ...right },
      { title: 'parts', ...right },
      { title: 'in memory', ...right },
    ],
    rows,
  )
}
