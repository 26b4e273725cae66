/** Configuration: TOML text and environment in, a whole `Config` or every problem out. */
import { parse, TomlError } from 'smol-toml'
import { GatewayError } from '../core/errors.js'
import { isBackendName } from '../core/generation.js'
import { suggestion } from '../core/suggestion.js'
import type { SourceConfig } from '../federation/gateway.js'
import { locateKeys } from './config-lines.js'
import {
  laterKeys,
  laterSections,
  laterValues,
  type Setting,
  settings,
  sourceSettings,
  type ValueType,
} from './config-table.js'

type SectionValues<S> = { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never }

export type Config = { readonly [S in keyof typeof settings]: SectionValues<(typeof settings)[S]> } & {
  readonly sources: readonly SourceConfig[]
}

export interface ConfigText {
  /** For messages. */
  readonly path: string
  readonly toml: string
}

type Table = Readonly<Record<string, unknown>>
type Environment = Readonly<Record<string, string | undefined>>

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

const shown = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value))

/** Collects what is wrong, in the order of the lines it is wrong in. */
class Problems {
  readonly #path: string
  readonly #lines: ReadonlyMap<string, number>
  readonly #found: { readonly line: number; readonly text: string }[] = []

  constructor(path: string, lines: ReadonlyMap<string, number>) {
    this.#path = path
    this.#lines = lines
  }

  /** `key`: dotted path as in locateKeys; the nearest enclosing path with a line is named. */
  add(key: string, message: string): void {
    let path = key
    while (path !== '' && !this.#lines.has(path)) path = path.slice(0, Math.max(0, path.lastIndexOf('.')))
    const line = this.#lines.get(path) ?? 1
    this.#found.push({ line, text: `${this.#path}:${line}: ${key}: ${message}` })
  }

  addVariable(name: string, message: string): void {
    this.#found.push({ line: Number.MAX_SAFE_INTEGER, text: `environment: ${name}: ${message}` })
  }

  /** Throws LG_INVALID_REQUEST with one line a problem, if there is any. */
  throwIfAny(): void {
    if (this.#found.length === 0) return
    const texts = this.#found.toSorted((a, b) => a.line - b.line).map((problem) => problem.text)
    throw new GatewayError('LG_INVALID_REQUEST', texts.join('\n'), { field: 'config' })
  }
}

/** `name`: section and key, as the table of later values spells it. */
function readValue<T>(
  name: string,
  type: ValueType<T>,
  value: unknown,
  complain: (message: string) => void,
): T | undefined {
  if (typeof value === 'string' && laterValues[name]?.includes(value)) {
    complain(`${shown(value)} is not supported yet; expected ${type.expected}`)
    return undefined
  }
  const parsed = type.parse(value)
  if (parsed === undefined) complain(`expected ${type.expected}, found ${shown(value)}`)
  return parsed
}

function readSection<S extends Readonly<Record<string, Setting<unknown>>>>(
  section: string,
  table: S,
  given: Table,
  environment: Environment,
  problems: Problems,
): SectionValues<S> {
  const known = Object.values(table).map((setting) => setting.key)
  for (const key of Object.keys(given)) {
    const path = `${section}.${key}`
    const later = laterKeys[path]
    if (later !== undefined) problems.add(path, `${later} is not supported yet; remove this key`)
    else if (!known.includes(key)) problems.add(path, `unknown key${suggestion(key, known)}`)
  }
  const prefix = `LAKEGATE_${section.toUpperCase()}_`
  for (const name of Object.keys(environment)) {
    const key = name.startsWith(prefix) ? name.slice(prefix.length).toLowerCase() : null
    if (key !== null && !known.includes(key)) problems.addVariable(name, `unknown key${suggestion(key, known)}`)
  }
  const values = Object.entries(table).map(([property, setting]) => {
    const name = `${prefix}${setting.key.toUpperCase()}`
    const variable = environment[name]
    if (variable !== undefined) {
      const parsed = setting.type.fromText(variable)
      if (parsed === undefined)
        problems.addVariable(name, `expected ${setting.type.expected}, found ${shown(variable)}`)
      return [property, parsed ?? setting.default]
    }
    const value = given[setting.key]
    if (value === undefined) return [property, setting.default]
    const path = `${section}.${setting.key}`
    const parsed = readValue(path, setting.type, value, (message) => problems.add(path, message))
    return [property, parsed ?? setting.default]
  })
  return Object.fromEntries(values) as SectionValues<S>
}

function readSource(path: string, given: Table, problems: Problems): SourceConfig {
  const known = sourceSettings.map((setting) => setting.key)
  for (const key of Object.keys(given)) {
    const later = laterKeys[`source.${key}`]
    if (later !== undefined) problems.add(`${path}.${key}`, `${later} is not supported yet; remove this key`)
    else if (!known.includes(key)) problems.add(`${path}.${key}`, `unknown key${suggestion(key, known)}`)
  }
  const values = new Map<string, unknown>()
  for (const setting of sourceSettings) {
    const value = given[setting.key]
    if (value === undefined) continue
    const complain = (message: string): void => problems.add(`${path}.${setting.key}`, message)
    values.set(setting.key, readValue(`source.${setting.key}`, setting.type, value, complain))
  }
  const { name, kind, uri, ...options } = Object.fromEntries(values)
  if (given.name === undefined) problems.add(path, 'name: missing')
  if (given.kind === undefined) problems.add(path, 'kind: missing; expected "parquet" or "local"')
  if (given.uri === undefined && kind === 'parquet')
    problems.add(path, 'uri: missing; expected a file, directory or glob')
  if (typeof name === 'string' && !isBackendName(name))
    problems.add(`${path}.name`, `expected a name without "/", "*" or control characters, found ${shown(name)}`)
  return {
    name: typeof name === 'string' ? name : '',
    kind: typeof kind === 'string' ? kind : '',
    uri: typeof uri === 'string' ? uri : null,
    options,
  }
}

function readSources(given: unknown, problems: Problems): SourceConfig[] {
  if (given === undefined) return []
  if (!Array.isArray(given) || !given.every(isTable)) {
    problems.add('source', 'expected [[source]] tables')
    return []
  }
  const names = new Set<string>()
  return given.map((table, index) => {
    const path = `source[${index}]`
    const source = readSource(path, table, problems)
    if (source.name !== '' && names.has(source.name))
      problems.add(`${path}.name`, `another source is already named ${shown(source.name)}`)
    names.add(source.name)
    return source
  })
}

function parseToml(text: ConfigText): Table {
  try {
    return parse(text.toml)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '')
    throw new GatewayError('LG_INVALID_REQUEST', `${text.path}:${error.line}: ${reason}`, {
      field: 'config',
      cause: error,
    })
  }
}

/**
 * Reads a whole configuration; `text` null means defaults. Environment variables LAKEGATE_SECTION_KEY win over the file.
 * Throws LG_INVALID_REQUEST whose message has one line a problem, each naming its line in the file.
 */
export function readConfig(text: ConfigText | null, environment: Environment): Config {
  const given = text === null ? {} : parseToml(text)
  const problems = new Problems(text?.path ?? 'defaults', locateKeys(text?.toml ?? ''))
  const known = [...Object.keys(settings), 'source']
  for (const [section, value] of Object.entries(given)) {
    const later = laterSections[section]
    if (later !== undefined) problems.add(section, `${later} is not supported yet; remove this section`)
    else if (!known.includes(section)) problems.add(section, `unknown section${suggestion(section, known)}`)
    else if (section !== 'source' && !isTable(value)) problems.add(section, `expected a table [${section}]`)
  }
  for (const name of Object.keys(environment))
    for (const [later, about] of Object.entries(laterSections))
      if (name.startsWith(`LAKEGATE_${later.toUpperCase()}_`))
        problems.addVariable(name, `${about} is not supported yet`)
  const section = <K extends keyof typeof settings>(name: K): SectionValues<(typeof settings)[K]> => {
    const value = given[name]
    return readSection(name, settings[name], isTable(value) ? value : {}, environment, problems)
  }
  const config: Config = {
    server: section('server'),
    cache: section('cache'),
    query: section('query'),
    audit: section('audit'),
    auth: section('auth'),
    sources: readSources(given.source, problems),
  }
  problems.throwIfAny()
  return config
}
