/** Paths on the command line become sources: the kind is detected, the name is the file's or directory's. */
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, extname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { detectKind } from '../adapters/registry.js'
import { toGatewayError } from '../core/errors.js'
import type { SourceConfig } from '../federation/gateway.js'
import { misuse } from './command.js'

/** What is served when nothing is named; it is part of the package. */
export const examplesPath = fileURLToPath(new URL('../../examples', import.meta.url))

const isGlob = (path: string): boolean => /[*?[{]/.test(path) && !existsSync(path)

/** Whether an argument of `query` names a file, which need not be there, rather than a collection. */
export const namesFiles = (argument: string): boolean =>
  existsSync(argument) ||
  /^\.{0,2}\/|\.(parquet|parq|pq)$/i.test(argument) ||
  (isGlob(argument) && !/^[^/]+\/\*$/.test(argument))

/** `./data/articles.parquet` is articles, `./data/*.parquet` and `./data/` are data. */
function nameOf(path: string): string {
  let named = path
  while (/[*?[{]/.test(named) && !existsSync(named)) named = dirname(named)
  const base = basename(resolve(named))
  const name =
    named === path && existsSync(named) && statSync(named).isFile() ? base.slice(0, -extname(base).length) : base
  // What a source's name may not hold.
  const allowed = name.replace(/[*\p{Cc}\p{Cs}]/gu, '-')
  return allowed === '' ? 'root' : allowed
}

async function kindOf(path: string): Promise<string> {
  try {
    return await detectKind(path)
  } catch (error) {
    throw misuse(toGatewayError(error).message) // a source that went away may come back; an argument is just wrong
  }
}

/**
 * One source a path, in order; a second one of the same name gets a suffix -2.
 * @param options what every one of them gets, e.g. a metric
 * Throws LG_INVALID_REQUEST: no such path, not a table, of a kind that is not supported.
 */
export async function sourcesOfPaths(
  paths: readonly string[],
  options: Readonly<Record<string, unknown>> = {},
): Promise<SourceConfig[]> {
  const taken = new Set<string>()
  const sources: SourceConfig[] = []
  for (const path of paths) {
    const kind = await kindOf(path)
    const wanted = nameOf(path)
    let name = wanted
    for (let i = 2; taken.has(name); i++) name = `${wanted}-${i}`
    taken.add(name)
    sources.push({ name, kind, uri: path, options })
  }
  return sources
}
