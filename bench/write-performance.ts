/** `npm run docs:performance`: writes docs/performance.md and its plots from the recorded table. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { performancePages } from './performance-page.js'
import { readTable } from './table.js'

const root = fileURLToPath(new URL('../../', import.meta.url))

rmSync(join(root, 'docs/performance'), { recursive: true, force: true })
for (const [path, content] of performancePages(readTable(join(root, 'bench/reports/table.json')))) {
  const target = join(root, 'docs', path)
  mkdirSync(dirname(target), { recursive: true })
  writeFileSync(target, content)
}
