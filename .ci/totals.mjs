// Prints `N passed, N failed` from vitest's JSON report (its path is the first argument). A step that failed outside the
// tests (exit status: second argument) counts as one failure, so a red run never reads `0 failed`.
import { existsSync, readFileSync } from 'node:fs'

const [path, status] = process.argv.slice(2)
const report = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null
const passed = report?.numPassedTests ?? 0
const broken =
  report?.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0) ?? []
const failed = (report?.numFailedTests ?? 0) + broken.length
console.log(`${passed} passed, ${failed === 0 && status !== '0' ? 1 : failed} failed`)
