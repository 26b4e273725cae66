import { GatewayError } from '../core/errors.js'
import type { Metric } from '../core/metric.js'
import type { Query } from './query.js'

/** Where a collection's distances live: only equal spaces may be merged by distance (law 9). */
export interface Space {
  /** `backend/collection` */
  readonly name: string
  readonly metric: Metric
  readonly model: string | null
  /** Null while unknown. */
  readonly dimension: number | null
}

/** Equal texts mean comparable distances. */
export const spaceKey = ({ metric, model }: Pick<Space, 'metric' | 'model'>): string =>
  model === null ? metric : `${metric} ${model}`

/**
 * Law 9. Throws LG_MIXED_SPACES, or LG_DIMENSION_MISMATCH when the collections agree and only the query differs, or when
 * the caller named a collection of another dimension.
 * @param spaces in law 3's order, empty collections left out
 * @param dimension the query vector's
 */
export function checkSpaces(spaces: readonly Space[], query: Query, dimension: number): void {
  const dimensions = new Set(spaces.flatMap((space) => space.dimension ?? []))
  if (query.collections === null && dimensions.size > 1) throw mixed(spaces, 'name the ones to search in "collections"')
  const other = spaces.find((space) => space.dimension !== null && space.dimension !== dimension)
  if (other !== undefined) throw mismatch(other, query, dimension)
  if (query.fusion === null && new Set(spaces.map(spaceKey)).size > 1)
    throw mixed(spaces, 'name collections that agree in "collections", or ask for "fusion": "rrf"')
}

function mismatch(space: Space, query: Query, dimension: number): GatewayError {
  const field = query.target.kind
  const found = field === 'row' ? `the row's vector has ${dimension}` : `got ${dimension}`
  return new GatewayError(
    'LG_DIMENSION_MISMATCH',
    `${field}: expected ${space.dimension} numbers for ${space.name}, ${found}`,
    { field },
  )
}

/** Names written out; the rest is counted. */
const namesMax = 10

function mixed(spaces: readonly Space[], advice: string): GatewayError {
  const names = spaces.slice(0, namesMax).map(describe)
  const more = spaces.length > namesMax ? ` and ${spaces.length - namesMax} more` : ''
  return new GatewayError(
    'LG_MIXED_SPACES',
    `collections: expected one dimension, metric and model, found ${names.join(', ')}${more}; ${advice}`,
    { field: 'collections' },
  )
}

const describe = ({ name, metric, model, dimension }: Space): string =>
  `${name} (${dimension === null ? '' : `${dimension}-d `}${metric}${model === null ? '' : `, model ${model}`})`
