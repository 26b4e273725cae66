import { describe, expect, it } from 'vitest'
import { queryTable, streamChunks } from '../../src/adapters/duckdb-session.js'
import { never } from './pulled-rows.js'

describe('streaming chunks', () => {
  it('law 4: a failure while the consumer is busy is met by the consumer, and is no unhandled rejection', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', note)
    try {
      const sql = "SELECT CASE WHEN i = 300000 THEN error('boom') ELSE i END FROM range(1000000) t(i)"
      const drain = async () => {
        // While this consumer is busy, the next chunk is fetched and, in the end, fails.
        for await (const _ of streamChunks(sql, 1_000_000, { signal: never() }))
          await queryTable('SELECT 1', { signal: never() })
      }
      await expect(drain()).rejects.toThrow(/boom/)
    } finally {
      process.off('unhandledRejection', note)
    }
    expect(unhandled).toEqual([])
  })

  it('law 4: fewer or more rows than there must be are an error, not an end', async () => {
    const drain = async (rows: number) => {
      for await (const _ of streamChunks('SELECT 1 FROM range(5000)', rows, { signal: never() }));
    }
    await drain(5000)
    await expect(drain(5001)).rejects.toThrow(/expected 5001 rows, got 5000/)
    await expect(drain(4999)).rejects.toThrow(/expected 4999 rows/)
  })

  it('law 3: rows come in source order whatever the number of threads', async () => {
    let expected = 0n
    for await (const chunk of streamChunks('SELECT i FROM range(300000) t(i)', 300_000, { signal: never() }))
      for (const value of chunk.getColumnValues(0)) if (value !== expected++) expect(value).toBe(expected - 1n)
    expect(expected).toBe(300000n)
  })

  it('has no access to extensions that would be downloaded', async () => {
    await expect(
      queryTable("SELECT * FROM read_parquet('https://localhost:1/x.parquet')", { signal: never() }),
    ).rejects.toThrow(/httpfs/)
  })
})
