/** Reading a source's options: each is checked, and one that nobody knows is refused by name. */
import { GatewayError } from '../core/errors.js'
import { type Metric, metrics } from '../core/metric.js'

type Options = Readonly<Record<string, unknown>>

/** Options that the gateway reads itself, for every kind; they do not get here, and are named for who mistyped one. */
const gatewayOptions = ['refresh_ms', 'prime', 'pii_policy', 'index']

/** @param known  options of this kind */
export function refuseUnknown(source: string, options: Options, known: readonly string[]): void {
  const unknown = Object.keys(options).filter((name) => !known.includes(name))
  if (unknown.length > 0)
    throw new GatewayError(
      'LG_UNKNOWN_FIELD',
      `source "${source}": unknown ${unknown.length === 1 ? 'option' : 'options'} ${unknown.join(', ')}; known: ${[...known, ...gatewayOptions].join(', ')}`,
      { field: unknown[0]! },
    )
}

function invalid(source: string, field: string, expected: string, found: unknown): GatewayError {
  return new GatewayError(
    'LG_INVALID_REQUEST',
    `source "${source}": ${field}: expected ${expected}, got ${JSON.stringify(found)}`,
    { field },
  )
}

export function textOption(source: string, options: Options, field: string): string | null {
  const value = options[field]
  if (value === undefined || value === null) return null
  if (typeof value !== 'string' || value === '') throw invalid(source, field, 'a text that is not empty', value)
  return value
}

export function listOption(source: string, options: Options, field: string): readonly string[] | null {
  const value = options[field]
  if (value === undefined || value === null) return null
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string' && item !== ''))
    throw invalid(source, field, 'a list of column names', value)
  return value
}

export function choiceOption<T extends string>(
  source: string,
  options: Options,
  field: string,
  choices: readonly T[],
  otherwise: T,
): T {
  const value = options[field] ?? otherwise
  const choice = choices.find((candidate) => candidate === value)
  if (choice === undefined) throw invalid(source, field, choices.map((c) => `"${c}"`).join(' or '), value)
  return choice
}

export const metricOption = (source: string, options: Options): Metric =>
  choiceOption(source, options, 'metric', metrics, 'l2')
