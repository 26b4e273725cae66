/** Paths on the command line become sources: the kind is detected, the name is the file's or directory's. */
import { type Dirent, existsSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, extname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { GatewayError } from '../core/errors.js'
import type { SourceConfig } from '../federation/gateway.js'
import { misuse } from './command.js'

/** What is served when nothing is named; it is part of the package. */
export const examplesPath = fileURLToPath(new URL('../../examples', import.meta.url))

const isGlob = (path: string): boolean => /[*?[{]/.test(path) && !existsSync(path)

/** Whether an argument of `query` names a file rather than a collection. */
export const namesFiles = (argument: string): boolean =>
  existsSync(argument) || (isGlob(argument) && !/^[^/]+\/\*$/.test(argument))

const later = (path: string, what: string): GatewayError =>
  new GatewayError(
    'LG_UNSUPPORTED',
    `${path}: ${what} is not supported yet; expected a .parquet file, or a directory or glob of them`,
  )

function detectKind(path: string): 'parquet' {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path) && !path.startsWith('file:')) throw later(path, 'a remote path')
  if (isGlob(path)) return 'parquet'
  if (!existsSync(path)) throw misuse(`${path}: no such file or directory`)
  if (statSync(path).isFile()) {
    const extension = extname(path).toLowerCase()
    if (extension === '.parquet' || extension === '.parq' || extension === '.pq') return 'parquet'
    if (extension === '.rvf') throw later(path, 'an .rvf file')
    throw misuse(`${path}: expected a .parquet file, or a directory or glob of them`)
  }
  const table = detectTable(path, readdirSync(path, { withFileTypes: true }))
  if (table !== null) throw later(path, table)
  return 'parquet'
}

function detectTable(path: string, entries: readonly Dirent[]): string | null {
  const has = (name: string): boolean => entries.some((entry) => entry.isDirectory() && entry.name === name)
  if (has('_delta_log')) return 'a Delta table'
  if (has('_versions')) return 'a Lance table'
  if (has('metadata') && readdirSync(resolve(path, 'metadata')).some((name) => name.endsWith('.metadata.json')))
    return 'an Iceberg table'
  return null
}

/** `./data/articles.parquet` is articles, `./data/*.parquet` and `./data/` are data. */
function nameOf(path: string): string {
  let named = path
  while (/[*?[{]/.test(named) && !existsSync(named)) named = dirname(named)
  const base = basename(resolve(named))
  const name =
    named === path && existsSync(named) && statSync(named).isFile() ? base.slice(0, -extname(base).length) : base
  return name === '' ? 'root' : name
}

/**
 * One source a path, in order; a second one of the same name gets a suffix -2.
 * @param options what every one of them gets, e.g. a metric
 * Throws LG_INVALID_REQUEST (no such path, not a table), LG_UNSUPPORTED.
 */
export function sourcesOfPaths(
  paths: readonly string[],
  options: Readonly<Record<string, unknown>> = {},
): SourceConfig[] {
  const taken = new Set<string>()
  return paths.map((path) => {
    const kind = detectKind(path)
    const wanted = nameOf(path)
    let name = wanted
    for (let i = 2; taken.has(name); i++) name = `${wanted}-${i}`
    taken.add(name)
    return { name, kind, uri: path, options }
  })
}
