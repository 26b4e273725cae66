/** Fixtures that are shared between projects, beside this repository. In CI they must be there. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const shared = fileURLToPath(new URL('../../shared/', import.meta.url))

/** Path of a shared file, e.g. `fixtures/parquet/expected.json`. */
export const sharedPath = (relative: string): string => `${shared}${relative}`

export const haveShared = existsSync(shared)

if (!haveShared) {
  if (process.env.CI !== undefined && process.env.CI !== '') throw new Error('../shared is missing, and CI is set')
  console.log('not run: ../shared is missing')
}
