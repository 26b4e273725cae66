import { openLocal } from '../../src/adapters/local.js'
import { adapterContract, type ContractRow } from '../contracts/adapter-contract.js'
import { never } from './pulled-rows.js'

adapterContract({
  kind: 'local',
  writable: true,
  pushdownReason: /cache/,
  async open(rows) {
    const adapter = openLocal({ name: 'source', uri: null, options: {} })
    const writer = adapter.writer!
    await writer.create('vectors', { dimension: 8, metric: 'l2', model: null })
    const add = async (more: readonly ContractRow[]) => {
      await writer.upsert(
        {
          collection: 'vectors',
          dimension: 8,
          ids: more.map(({ id }) => id),
          vectors: Float32Array.from(more.flatMap(({ vector }) => vector)),
          metadata: more.map(({ label }) => ({ label })),
        },
        { signal: never() },
      )
    }
    if (rows.length > 0) await add(rows)
    return {
      adapter,
      collection: 'vectors',
      add,
      async expire() {
        for (let i = 0; i < 40; i++) await add([{ id: rows[0]!.id, vector: Array(8).fill(i), label: null }])
      },
      close: () => adapter.close(),
    }
  },
})
