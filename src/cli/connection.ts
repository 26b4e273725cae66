/** One way to ask, two places to ask it: a running server (--url), or the same server inside this process. */
import { GatewayError } from '../core/errors.js'
import { type JsonValue, parseJson, stringifyJson } from '../core/json.js'
import { type Flags, type FlagValues, misuse } from './command.js'
import { loadConfig, sourceFlags } from './load-config.js'
import { startProgress } from './progress.js'

export const connectionFlags = {
  url: { type: 'string', value: 'http://…', about: 'Ask this running server instead of opening the sources here.' },
  ...sourceFlags,
} as const satisfies Flags

export type ConnectionFlags = FlagValues<typeof connectionFlags>

export interface Reply {
  readonly status: number
  readonly body: JsonValue
}

export interface Connection {
  /** The reply whatever its status; `text` is the body as it came. */
  ask(method: 'GET' | 'POST', path: string, body?: JsonValue): Promise<Reply>
  close(): Promise<void>
}

function remote(url: string): Connection {
  const base = url.replace(/\/+$/, '')
  if (!/^https?:\/\/[^/]/.test(base))
    throw misuse(`--url: expected http://HOST:PORT, found ${JSON.stringify(url)}`, 'url')
  return {
    async ask(method, path, body) {
      const { request } = await import('undici')
      try {
        const reply = await request(`${base}${path}`, {
          method,
          ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: stringifyJson(body) }),
        })
        return { status: reply.statusCode, body: parseJson(new Uint8Array(await reply.body.arrayBuffer()), 'reply') }
      } catch (error) {
        if (error instanceof GatewayError) throw error
        const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
        throw new GatewayError('LG_SOURCE_UNAVAILABLE', `${base}: no answer (${reason})`, { cause: error })
      }
    },
    close: () => Promise.resolve(),
  }
}

async function inProcess(flags: ConnectionFlags, paths: readonly string[]): Promise<Connection> {
  const config = await loadConfig(flags, paths)
  const { composeOnce } = await import('./compose.js')
  const { composed, heldCache } = await composeOnce(config, { logLevel: 'error' })
  if (heldCache !== null)
    process.stderr.write(
      `lakegate: ${config.cache.dir}: another process uses this cache directory; reading the sources again, into memory ` +
        '(ask a running server with --url)\n',
    )
  return {
    async ask(method, path, body) {
      const reply = await composed.server.inject({
        method,
        url: path,
        ...(body === undefined
          ? {}
          : { headers: { 'content-type': 'application/json' }, payload: stringifyJson(body) }),
      })
      return { status: reply.statusCode, body: parseJson(reply.body, 'reply') }
    },
    close: () => composed.close(),
  }
}

/** Opens, asks, closes; progress is shown while it takes long. */
export async function withConnection<T>(
  flags: ConnectionFlags,
  paths: readonly string[],
  label: string,
  use: (connection: Connection) => Promise<T>,
): Promise<T> {
  const progress = startProgress(label)
  try {
    const connection = flags.url === undefined ? await inProcess(flags, paths) : remote(flags.url)
    try {
      return await use(connection)
    } finally {
      await connection.close()
    }
  } finally {
    progress.done()
  }
}

/** The body of a reply that succeeded; otherwise its error, as the server put it. */
export function expectOk(reply: Reply): JsonValue {
  if (reply.status < 300) return reply.body
  const body = reply.body as { readonly error?: string } | null
  const code = reply.status < 500 ? 'LG_INVALID_REQUEST' : 'LG_SOURCE_UNAVAILABLE'
  throw new GatewayError(code, body?.error ?? `the server answered ${reply.status}`)
}
