/** Every kind of source this build opens, and what kind a path is. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.js'
import type { OpenAdapter } from './adapter.js'
import { openLocal } from './local.js'
import { openParquet } from './parquet.js'

export const adapters = { local: openLocal, parquet: openParquet } satisfies Record<string, OpenAdapter>
export type AdapterKind = keyof typeof adapters

export const isAdapterKind = (kind: string): kind is AdapterKind => Object.hasOwn(adapters, kind)

/** Table formats known by what a directory inside is called and holds; not opened by this build. */
const tableFormats = [
  { format: 'a Delta table', directory: '_delta_log', file: /\.json$|\.parquet$/ },
  { format: 'an Iceberg table', directory: 'metadata', file: /\.metadata\.json$/ },
  { format: 'a Lance table', directory: '_versions', file: /\.manifest$/ },
] as const

/**
 * The kind of source that a path on the command line is. Reads directory entries, no files.
 * Throws LG_UNSUPPORTED naming what it is and what is supported, LG_SOURCE_UNAVAILABLE when there is nothing.
 */
export async function detectKind(path: string): Promise<AdapterKind> {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(path)) throw refuse(path, 'an object store')
  // Whatever the reason that it cannot be looked at, to the caller there is nothing to serve under this name.
  const found = await stat(path).catch(() => null)
  if (found === null) {
    // A glob is opened by the parquet source, which says so when nothing can match.
    if (/[*?[{]/.test(path)) return 'parquet'
    throw new GatewayError('LG_SOURCE_UNAVAILABLE', `${path}: there is no such file or directory`, { field: 'uri' })
  }
  if (found.isDirectory()) {
    for (const { format, directory, file } of tableFormats) {
      // Without this subdirectory it is not of this format; one that cannot be read fails again, and is named, when listed.
      const entries = await readdir(join(path, directory)).catch(() => [])
      if (entries.some((entry) => file.test(entry))) throw refuse(path, format)
    }
    return 'parquet'
  }
  if (!found.isFile()) throw refuse(path, 'neither a file nor a directory')
  if (/\.rvf$/i.test(path)) throw refuse(path, 'an .rvf file')
  if (/\.(parquet|parq|pq)$/i.test(path)) return 'parquet'
  throw refuse(path, 'a file of a kind that is not known')
}

const refuse = (path: string, what: string): GatewayError =>
  new GatewayError(
    'LG_UNSUPPORTED',
    `${path} is ${what}; supported now: a .parquet file, a directory or a glob of them`,
    { field: 'uri' },
  )
