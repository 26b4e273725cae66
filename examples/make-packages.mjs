// Cuts packages.parquet from the Debian package table that the README beside this file describes:
//   node examples/make-packages.mjs path/to/debian/packages.parquet
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'

const source = process.argv[2]
if (source === undefined) throw new Error('usage: node examples/make-packages.mjs SOURCE.parquet')
const target = fileURLToPath(new URL('packages.parquet', import.meta.url))
const quote = (text) => `'${text.replaceAll("'", "''")}'`

const connection = await (await DuckDBInstance.create()).connect()
await connection.run(`
  COPY (
    SELECT package AS id, package, section, priority, installed_size, description, embedding
    FROM read_parquet(${quote(source)})
    WHERE section IN ('database', 'editors', 'games', 'graphics', 'mail', 'math', 'net', 'science', 'sound', 'utils', 'vcs', 'web')
    ORDER BY md5(package)
    LIMIT 2300
  ) TO ${quote(target)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19, ROW_GROUP_SIZE 2300)`)
const count = await connection.runAndReadAll(`SELECT count(*)::INT AS rows FROM read_parquet(${quote(target)})`)
console.log(`${target}: ${count.getRowObjects()[0].rows} rows`)
