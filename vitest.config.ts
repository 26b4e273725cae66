import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vitest/config'
import type { Reporter } from 'vitest/node'

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

const totals: Reporter = {
  onTestRunEnd(modules, errors) {
    let passed = 0
    let failed = errors.length
    for (const module of modules) {
      failed += module.errors().length
      for (const test of module.children.allTests()) {
        if (test.result().state === 'passed') passed++
        if (test.result().state === 'failed') failed++
      }
    }
    console.log(`${passed} passed, ${failed} failed`)
  },
}

export default defineConfig({
  plugins: [runBuilt],
  test: {
    // CI adds up the report; people read the last line.
    reporters: process.env.CI ? ['default', 'json', totals] : ['default', totals],
    outputFile: { json: 'test-report.json' },
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
