/** Packages of bench/peers, which are installed apart, so they are loaded at run time and typed where they are used. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** bench/peers of the checkout. */
export const peersDirectory = fileURLToPath(new URL('../../../bench/peers/', import.meta.url))

const require = createRequire(join(peersDirectory, 'package.json'))

/** The package's CommonJS exports, believed to be `T`. Throws MODULE_NOT_FOUND. */
export const loadInstalled = <T>(name: string): T => require(name) as T

/** Path of the package's entry. Throws MODULE_NOT_FOUND. */
export const resolveInstalled = (name: string): string => require.resolve(name)

/** The version in the package's manifest. Throws MODULE_NOT_FOUND. */
export function installedVersion(name: string): string {
  const folder = `${join('node_modules', name)}/`
  for (let at = dirname(require.resolve(name)); at !== dirname(at); at = dirname(at))
    if (`${at}/`.endsWith(folder)) {
      const manifest = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { readonly version: string }
      return manifest.version
    }
  throw new Error(`${name}: no package.json above ${require.resolve(name)}`)
}
