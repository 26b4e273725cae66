import { type JsonValue, stringifyJson } from '../core/json.js'
import { defineCommand } from './command.js'
import { connectionFlags, expectOk, withConnection } from './connection.js'
import { pathsOf, prepareQuery, queryFlags } from './query-request.js'
import { formatCount, renderTable } from './table.js'

interface WirePlan {
  readonly shards: readonly {
    readonly backend: string
    readonly collection: string
    readonly route: string
    readonly state: string
    readonly rows?: number | null
    readonly parts_missing?: number | null
    readonly consistency: string
    readonly stages: readonly string[]
    readonly reason: string
  }[]
}

export const explain = defineCommand({
  name: 'explain',
  summary: 'Say how a query would be answered, without running it.',
  usage: 'COLLECTION (--vector FILE|JSON|- | --row ID) [FLAG…]',
  about:
    'Shows for each collection: cache or pushdown, what would have to be pulled first, and the stages of the search.',
  flags: { ...queryFlags, json: { type: 'boolean', about: 'Print the plan as JSON.' }, ...connectionFlags },
  positionals: { min: 1, max: 1, expected: 'one COLLECTION' },
  async run({ flags, positionals }) {
    const argument = positionals[0]!
    const paths = pathsOf(argument, flags.url)
    return withConnection(flags, paths, `planning ${argument}`, async (connection) => {
      const { requests } = await prepareQuery(argument, paths.length > 0, flags, connection, flags.url === undefined)
      const plan = expectOk(await connection.ask('POST', '/v1/explain', requests[0]))
      process.stdout.write(`${flags.json ? stringifyJson(plan) : renderPlan(plan)}\n`)
      return 0
    })
  },
})

const columns = ['collection', 'route', 'state', 'rows', 'parts to pull', 'consistency', 'stages', 'why']

function renderPlan(plan: JsonValue): string {
  const { shards } = plan as unknown as WirePlan
  const rows = shards.map((shard) => [
    `${shard.backend}/${shard.collection}`,
    shard.route,
    shard.state,
    shard.rows == null ? '?' : formatCount(shard.rows),
    shard.parts_missing == null ? '?' : String(shard.parts_missing),
    shard.consistency,
    shard.stages.join(' > '),
    shard.reason,
  ])
  return renderTable(
    columns.map((title) => ({ title })),
    rows,
  )
}
