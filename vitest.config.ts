import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))

/**
 * Tests import src/ for its types and run dist/, what ships: worker threads need built JavaScript, and one copy of every
 * module must serve both sides.
 */
const runBuilt: Plugin = {
  name: 'run-built',
  enforce: 'pre',
  resolveId(source, importer) {
    if (importer === undefined || !source.startsWith('.')) return null
    const path = fileURLToPath(new URL(source, `file://${importer}`))
    if (!path.startsWith(`${root}src/`)) return null
    const built = path.replace(`${root}src/`, `${root}dist/`).replace(/\.ts$/, '.js')
    if (!existsSync(built)) throw new Error(`${built} is missing: run "npm run build"`)
    return { id: built, external: true }
  },
}

export default defineConfig({
  plugins: [runBuilt],
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
