/** What a subcommand is, and how its flags are read: every mistake is one LG_INVALID_REQUEST line. */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { GatewayError } from '../core/errors.js'
import { suggestion } from '../core/suggestion.js'

export interface Flag {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  /** What stands for the value in help. */
  readonly value?: string
  readonly about: string
}

export type Flags = Readonly<Record<string, Flag>>

export type FlagValues<F extends Flags> = {
  readonly [K in keyof F]: F[K]['type'] extends 'boolean' ? boolean : string | undefined
}

export interface Invocation<F extends Flags> {
  readonly flags: FlagValues<F>
  readonly positionals: readonly string[]
}

export interface Command {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  help(): string
  /** Resolves with the exit code. */
  run(args: readonly string[]): Promise<number>
}

/** A flag or argument that is not allowed. */
export const misuse = (message: string, field?: string): GatewayError =>
  new GatewayError('LG_INVALID_REQUEST', message, field === undefined ? {} : { field })

const helpFlag = { help: { type: 'boolean', short: 'h', about: 'Show this help.' } } as const satisfies Flags

interface CommandSpec<F extends Flags> {
  readonly name: string
  readonly summary: string
  /** After the command's name. */
  readonly usage: string
  readonly about: string
  readonly flags: F
  /** How many positional arguments are taken. */
  readonly positionals: { readonly min: number; readonly max: number; readonly expected: string }
  run(invocation: Invocation<F>): Promise<number>
}

export function defineCommand<F extends Flags>(spec: CommandSpec<F>): Command {
  const help = (): string =>
    `${spec.about.trim()}\n\nUsage: lakegate ${spec.name} ${spec.usage}\n\n${describeFlags({ ...spec.flags, ...helpFlag })}`
  return {
    name: spec.name,
    summary: spec.summary,
    help,
    async run(args) {
      const { flags, positionals } = readFlags(spec.name, { ...spec.flags, ...helpFlag }, args)
      if (flags.help) {
        process.stdout.write(`${help()}\n`)
        return 0
      }
      const { min, max, expected } = spec.positionals
      if (positionals.length < min) throw misuse(`${spec.name}: expected ${expected}; see lakegate ${spec.name} --help`)
      if (positionals.length > max)
        throw misuse(`${spec.name}: expected ${expected}, found also ${JSON.stringify(positionals[max])}`)
      return spec.run({ flags: flags as unknown as FlagValues<F>, positionals })
    },
  }
}

function describeFlags(flags: Flags): string {
  const names = Object.entries(flags).map(([name, flag]) => {
    const short = flag.short === undefined ? '    ' : `-${flag.short}, `
    return `  ${short}--${name}${flag.type === 'string' ? ` ${flag.value ?? name.toUpperCase()}` : ''}`
  })
  const width = Math.max(...names.map((name) => name.length)) + 2
  return Object.values(flags)
    .map((flag, i) => `${names[i]!.padEnd(width)}${flag.about}`)
    .join('\n')
}

function readFlags<F extends Flags>(command: string, flags: F, args: readonly string[]): Invocation<F> {
  const options: NonNullable<ParseArgsConfig['options']> = {}
  for (const [name, flag] of Object.entries(flags))
    options[name] = flag.short === undefined ? { type: flag.type } : { type: flag.type, short: flag.short }
  try {
    const parsed = parseArgs({ args: [...args], options, allowPositionals: true })
    const values = Object.keys(flags).map((name) => [
      name,
      parsed.values[name] ?? (flags[name]!.type === 'boolean' ? false : undefined),
    ])
    return { flags: Object.fromEntries(values) as FlagValues<F>, positionals: parsed.positionals }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw misuse(`${command}: ${flagMistake(error, Object.keys(flags))}; see lakegate ${command} --help`)
  }
}

function flagMistake(error: TypeError & { code?: string }, known: readonly string[]): string {
  const flag = /'(-{1,2}[^' ,]+)/.exec(error.message)?.[1] ?? ''
  if (error.code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION')
    return `unknown flag ${flag}${suggestion(flag.replace(/^-+/, ''), known)}`
  return error.message.split('\n')[0]!.replace(/\.$/, '')
}

/** A whole number flag, or undefined when it was not given. */
export function readWhole(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max))
    throw misuse(`--${name}: expected a whole number from ${min} to ${max}, found ${JSON.stringify(text)}`, name)
  return value
}
