/** Parquet files as a source: a file, a directory or a glob is one collection whose parts are the files. */
import { createHash } from 'node:crypto'
import { GatewayError } from '../core/errors.js'
import { backendId, type Generation, type PartKey } from '../core/generation.js'
import type { VectorBatch } from '../core/vector-batch.js'
import type {
  AdapterConfig,
  BackendAdapter,
  CallOptions,
  CollectionInfo,
  Manifest,
  Part,
  PullRequest,
} from './adapter.js'
import { loadDuckDB } from './duckdb-session.js'
import { FileGlance } from './file-glance.js'
import { checkRoot, directoryOf, type FileListing, listFiles, nameOfUri, type ParquetFile } from './parquet-files.js'
import { changed, type FileWithFooter, type Footer, readFooters } from './parquet-footer.js'
import { columnsOf, decideLayout, type Layout } from './parquet-layout.js'
import { choiceOption, listOption, metricOption, refuseUnknown, textOption } from './source-options.js'

/** Part of every read identity: raised when a change here makes a pull yield other rows or values. */
const readerVersion = 1

const knownOptions = ['collection', 'id', 'vector', 'metric', 'model', 'columns', 'on_bad_row']

/** Generations whose files can still be pulled, newest last; a pull from an older one has expired. */
const generationsKept = 8

interface ReadPlan {
  readonly manifest: Manifest
  readonly layout: Layout
  readonly files: ReadonlyMap<PartKey, ParquetFile>
}

/** Throws LG_UNKNOWN_FIELD or LG_INVALID_REQUEST for options; no file is touched before the first call. */
export function openParquet(config: AdapterConfig): BackendAdapter {
  const { name, options } = config
  refuseUnknown(name, options, knownOptions)
  const uri = config.uri
  if (uri === null)
    throw new GatewayError('LG_INVALID_REQUEST', `source "${name}": uri: expected a path, a directory or a glob`, {
      field: 'uri',
    })
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(uri))
    throw new GatewayError('LG_UNSUPPORTED', `source "${name}": uri: expected a local path, found ${uri}`, {
      field: 'uri',
    })
  const onBadRow = choiceOption(name, options, 'on_bad_row', ['refuse', 'skip'], 'refuse')
  const layoutOptions = {
    id: textOption(name, options, 'id'),
    vector: textOption(name, options, 'vector'),
    columns: listOption(name, options, 'columns'),
    onBadRow,
  }
  const info: CollectionInfo = {
    name: textOption(name, options, 'collection') ?? nameOfUri(uri),
    metric: metricOption(name, options),
    model: textOption(name, options, 'model'),
    writable: false,
    freshness: 'cheap',
  }
  const footers = new Map<PartKey, Footer>()
  const plans = new Map<Generation, ReadPlan>()
  const glance = new FileGlance()

  async function withFooters(files: readonly ParquetFile[], call: CallOptions): Promise<FileWithFooter[]> {
    // Taken before waiting: another plan may meanwhile forget footers that only this one needs.
    const known = new Map(footers)
    const unread = files.filter(({ key }) => !known.has(key))
    for (const [index, footer] of (await readFooters(unread, call)).entries()) known.set(unread[index]!.key, footer)
    for (const { key } of files) footers.set(key, known.get(key)!)
    return files.map((file) => ({ file, footer: known.get(file.key)! }))
  }

  function checkName(collection: string): void {
    if (collection !== info.name)
      throw new GatewayError(
        'LG_COLLECTION_NOT_FOUND',
        `source "${name}" has no collection ${JSON.stringify(collection)}; its only one is ${JSON.stringify(info.name)}`,
      )
  }

  async function list(collection: string, call: CallOptions): Promise<FileListing> {
    checkName(collection)
    return await listFiles(uri!, call)
  }

  async function plan(collection: string, wanted: Generation, call: CallOptions): Promise<ReadPlan> {
    call.signal.throwIfAborted()
    checkName(collection)
    const known = plans.get(wanted)
    if (known !== undefined) return known
    const { generation, files } = await listFiles(uri!, call)
    if (generation !== wanted)
      throw new GatewayError(
        'LG_GENERATION_EXPIRED',
        `source "${name}": the files changed since generation ${wanted}; the current one is ${generation}`,
      )
    const read = await withFooters(files, call)
    const layout = await decideLayout(read, layoutOptions, call)
    const parts = read.map(
      ({ file, footer }): Part => ({
        key: file.key,
        name: file.name,
        rows: footer.rows,
        bytes: file.bytes,
        deleted: null,
      }),
    )
    const manifest: Manifest = {
      generation,
      parts,
      dimension: layout.dimension,
      columns: columnsOf(layout),
      vectorColumn: layout.vectorColumn,
      idColumn: layout.idColumn,
      readIdentity: readIdentity(layout, onBadRow),
    }
    const made = { manifest, layout, files: new Map(files.map((file) => [file.key, file])) }
    plans.set(generation, made)
    for (const old of [...plans.keys()].slice(0, -generationsKept)) plans.delete(old)
    forgetFooters()
    return made
  }

  function forgetFooters(): void {
    const live = new Set([...plans.values()].flatMap(({ files }) => [...files.keys()]))
    for (const key of footers.keys()) if (!live.has(key)) footers.delete(key)
  }

  return {
    id: backendId(name),
    configuration: JSON.stringify({ readerVersion, uri, ...layoutOptions }),

    async listCollections({ signal }) {
      signal.throwIfAborted()
      await checkRoot(uri)
      return [info]
    },

    async prepare({ signal }) {
      signal.throwIfAborted()
      await Promise.all([loadDuckDB(), loadPull()])
    },

    async generation(collection, call) {
      const listing = await list(collection, call)
      await glance.remember(listing)
      return listing.generation
    },
    isStill: (collection, generation) => collection === info.name && glance.isStill(generation),

    manifest: async (collection, generation, call) => (await plan(collection, generation, call)).manifest,

    async *pullVectors(request: PullRequest, call: CallOptions): AsyncGenerator<VectorBatch, void> {
      const { layout, files } = await plan(request.collection, request.manifest.generation, call)
      const file = files.get(request.part.key)
      if (file === undefined)
        throw new GatewayError(
          'LG_GENERATION_EXPIRED',
          `source "${name}": generation ${request.manifest.generation} has no part ${request.part.name}`,
        )
      const footer = footers.get(file.key)
      if (footer === undefined) throw changed(file)
      const { pullFile } = await loadPull()
      yield* pullFile({ file, footer, layout, onBadRow }, call)
    },

    supportsPushdown: () => ({
      kind: 'unsupported',
      reason: 'Parquet files are read, not queried: there is no engine at the source that could rank rows',
    }),

    async bundleDirectory({ signal }) {
      signal.throwIfAborted()
      return await directoryOf(uri)
    },

    async close() {
      plans.clear()
      footers.clear()
    },
  }
}

/** With Arrow. */
const loadPull = () => import('./parquet-pull.js')

function readIdentity(layout: Layout, onBadRow: string): string {
  const { vectorColumn, idColumn, dimension, metadata } = layout
  const text = JSON.stringify({ readerVersion, vectorColumn, idColumn, dimension, metadata, onBadRow })
  return `parquet-${createHash('sha256').update(text).digest('hex').slice(0, 32)}`
}
