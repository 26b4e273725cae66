/** Which columns of a Parquet source are the vector, the id and metadata, and of what type. */
import type { DuckDBType } from '@duckdb/node-api'
import type { Column } from '../core/column.js'
import type { NamedType } from './arrow-columns.js'
import { joinTypes, logicalType, type StoredType, storedType } from './column-type.js'
import { type FileWithFooter, quoteNames, typesOf, unsupported } from './parquet-footer.js'
import { decideVector, findDimension } from './parquet-vector.js'
import { isVectorCandidate } from './vector-column.js'

interface CallOptions {
  readonly signal: AbortSignal
}

export interface LayoutOptions {
  readonly id: string | null
  readonly vector: string | null
  readonly columns: readonly string[] | null
  readonly onBadRow: 'refuse' | 'skip'
}

export interface Layout {
  /** Empty when there are no files to tell. */
  readonly vectorColumn: string
  readonly idColumn: string | null
  readonly metadata: readonly NamedType[]
  readonly dimension: number | null
}

export const columnsOf = (layout: Layout): readonly Column[] =>
  layout.metadata.map(({ name, type }) => ({ name, type: logicalType(type) }))

const idNames = ['id', '_id', 'document_id', 'row_id']

export async function decideLayout(
  files: readonly FileWithFooter[],
  options: LayoutOptions,
  { signal }: CallOptions,
): Promise<Layout> {
  if (files.length === 0)
    return { vectorColumn: options.vector ?? '', idColumn: options.id, metadata: [], dimension: null }
  const partitions = partitionTypes(files)
  const names = new Set(files.flatMap(({ footer }) => [...footer.columns.keys()]))
  for (const name of partitions.keys()) names.add(name)
  const idColumn = decideId(files, names, partitions, options.id)
  const vectorColumn = await decideVector(files, options.vector, idColumn, { signal })
  const wanted =
    options.columns ??
    [...names].filter((name) => name !== idColumn && name !== vectorColumn && !onlyVectors(files, name))
  const metadata = wanted.map((name) => {
    if (!names.has(name))
      throw unsupported('columns', `there is no column ${JSON.stringify(name)}; there are ${quoteNames(names)}`)
    return { name, type: partitions.get(name) ?? joinColumn(files, name) }
  })
  return {
    vectorColumn,
    idColumn,
    metadata,
    dimension: await findDimension(files, vectorColumn, options.onBadRow, { signal }),
  }
}

/** Other vector columns are not metadata unless they are asked for: they would fill every answer. */
const onlyVectors = (files: readonly FileWithFooter[], name: string): boolean =>
  typesOf(files, name).length > 0 && typesOf(files, name).every(({ type }) => isVectorCandidate(type))

function joinColumn(files: readonly FileWithFooter[], name: string): StoredType {
  let joined: StoredType | null = null
  for (const { file, type } of typesOf(files, name)) {
    const stored = storedType(type)
    const both: StoredType | null = joined === null ? stored : joinTypes(joined, stored)
    if (both === null)
      throw unsupported(
        'columns',
        `column ${JSON.stringify(name)} is ${type} in ${file.name} and ${joined?.kind} in files before it; ` +
          'leave it out with the option "columns", or write the files with one type',
      )
    joined = both
  }
  return joined ?? { kind: 'string' }
}

/** Path columns are integers when every value is one, else strings. */
function partitionTypes(files: readonly FileWithFooter[]): Map<string, StoredType> {
  const types = new Map<string, StoredType>()
  for (const name of new Set(files.flatMap(({ file }) => [...file.partition.keys()]))) {
    const values = files.map(({ file }) => file.partition.get(name)).filter((value) => typeof value === 'string')
    const isInteger = values.length > 0 && values.every((value) => /^-?\d{1,18}$/.test(value))
    types.set(name, isInteger ? { kind: 'int', unsigned: false } : { kind: 'string' })
  }
  return types
}

function decideId(
  files: readonly FileWithFooter[],
  names: ReadonlySet<string>,
  partitions: ReadonlyMap<string, StoredType>,
  named: string | null,
): string | null {
  const name = named ?? idNames.find((candidate) => names.has(candidate) && !partitions.has(candidate)) ?? null
  if (name === null) return null
  if (!names.has(name) || partitions.has(name))
    throw unsupported('id', `there is no column ${JSON.stringify(name)} in the files; there are ${quoteNames(names)}`)
  const kinds = new Map<string, string>()
  for (const { file, type } of typesOf(files, name)) {
    const kind = idKind(type)
    if (kind === null)
      throw unsupported(
        'id',
        `column ${JSON.stringify(name)} of ${file.name} is ${type}, which cannot be an id; expected integers up to 64 bits, ` +
          'text, UUID or binary. Name another column with the option "id"',
      )
    kinds.set(kind, file.name)
  }
  if (kinds.size > 1)
    throw unsupported(
      'id',
      `column ${JSON.stringify(name)} holds integers in some files and text in others (${[...kinds.values()].join(', ')})`,
    )
  return name
}

/** Whether ids of this type are integers or text; null when they can be neither. */
function idKind(type: DuckDBType): 'int' | 'text' | null {
  const name = type.toString()
  if (/^U?(TINYINT|SMALLINT|INTEGER|BIGINT)$/.test(name)) return 'int'
  return /^(VARCHAR|UUID|BLOB|ENUM\(.*)$/.test(name) ? 'text' : null
}

/** SQL that reads an id column as BIGINT, UBIGINT or VARCHAR. */
export function selectId(reference: string, type: DuckDBType): string {
  if (type.toString() === 'BLOB') return `lower(hex(${reference}))`
  if (type.toString() === 'UBIGINT') return reference
  return idKind(type) === 'int' ? `${reference}::BIGINT` : `${reference}::VARCHAR`
}
