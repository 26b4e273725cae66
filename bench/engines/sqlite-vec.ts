import { row } from '../dataset.js'
import { timed } from '../engine.js'
import { installedVersion, loadInstalled } from './installed.js'
import { nothingToClose, type OpenPeer } from './peer.js'

interface Statement {
  run(...values: readonly unknown[]): unknown
  raw(): Statement
  all(...values: readonly unknown[]): readonly (readonly [id: number])[]
}

interface Database {
  loadExtension(path: string): void
  exec(sql: string): void
  prepare(sql: string): Statement
  close(): void
}

const distanceNames = { l2: 'l2', cosine: 'cosine' } as const

const bytesOf = (vector: Float32Array): Buffer => Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength)

/** The vec0 table of sqlite-vec, in memory, which computes every distance. It knows no inner product. */
export const openSqliteVec: OpenPeer = async (dataset, { k }) => {
  const Libsql = loadInstalled<new (path: string) => Database>('libsql')
  const { getLoadablePath } = loadInstalled<{ getLoadablePath(): string }>('sqlite-vec')
  const { metric, dimension, count, base } = dataset
  if (metric === 'dot') throw new Error('it knows l2 and cosine only, the dataset is dot')
  const database = new Libsql(':memory:')
  database.loadExtension(getLoadablePath())
  const build = await timed(() => {
    database.exec(
      `CREATE VIRTUAL TABLE base USING vec0(embedding float[${dimension}] distance_metric=${distanceNames[metric]})`,
    )
    const insert = database.prepare('INSERT INTO base (rowid, embedding) VALUES (?, ?)')
    database.exec('BEGIN')
    for (let i = 0; i < count; i++) insert.run(BigInt(i), bytesOf(row(base, dimension, i)))
    database.exec('COMMIT')
  })
  const select = database.prepare('SELECT rowid FROM base WHERE embedding MATCH ? AND k = ? ORDER BY distance').raw()
  return {
    engine: 'sqlite-vec',
    kind: 'exact',
    version: installedVersion('sqlite-vec'),
    settings: 'vec0 in memory, through libsql',
    buildMs: build.ms,
    bytesPerVector: null,
    effort: null,
    at: () => ({
      search: (query) => select.all(bytesOf(query), k).map(([id]) => Number(id)),
      close: nothingToClose,
    }),
    close: () => database.close(),
  }
}
