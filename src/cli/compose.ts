/** The composition root: the only place where the parts of lakegate are made and handed to each other. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pino } from 'pino'
import type { BackendAdapter, OpenAdapter } from '../adapters/adapter.js'
import { adapters, detectKind, isAdapterKind } from '../adapters/registry.js'
import { ArenaPool } from '../cache/arena.js'
import { createVectorCache } from '../cache/create-vector-cache.js'
import { type Random, systemClock, systemTimer } from '../core/clock.js'
import { GatewayError } from '../core/errors.js'
import { limits } from '../core/limits.js'
import { suggestion } from '../core/suggestion.js'
import { createGateway, localDefault, localSource } from '../federation/create-gateway.js'
import type { Gateway, SourceConfig } from '../federation/gateway.js'
import { openPool } from '../federation/pool.js'
import { reproducersIn } from '../federation/reproducer.js'
import { createServer } from '../server/app.js'
import { createBodyBudget } from '../server/body-budget.js'
import { type RvfTcpServer, startRvfTcp } from '../server/rvf-tcp.js'
import type { Config } from './config.js'
import { type ClosingStep, closeInOrder } from './shutdown.js'

export interface Composed {
  readonly gateway: Gateway
  /** Not listening until `listen`; `inject` works without. */
  readonly server: ReturnType<typeof createServer>
  /** Resolves with the URL once connections are accepted. */
  listen(): Promise<string>
  /** Stops accepting, finishes requests and then writes to disk that are under way, within one grace period; frees everything. */
  close(): Promise<void>
}

/** Uniform in [0, 1), from the operating system: rotations must not be guessable (law 6). */
const secretRandom: Random = () => randomBytes(6).readUIntBE(0, 6) / 2 ** 48

async function openAdapter(config: SourceConfig): Promise<BackendAdapter> {
  if (isAdapterKind(config.kind)) {
    const open: OpenAdapter = adapters[config.kind]
    return open(config, { clock: systemClock })
  }
  const kinds = Object.keys(adapters)
  throw new GatewayError(
    'LG_INVALID_REQUEST',
    `source ${JSON.stringify(config.name)}: kind: expected one of ${kinds.join(', ')}, found ${JSON.stringify(config.kind)}${suggestion(config.kind, kinds)}`,
    { field: 'kind' },
  )
}

/** Of the time that audits may run; on one thread. */
const auditShare = 0.1

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return String((manifest as { version: string }).version)
}

/**
 * Opens cache, sources and server. `graceMs`: how long requests under way may go on after `close`. `cache`: "memory" leaves
 * the cache directory alone.
 * Throws LG_LOCK_HELD when another process uses the cache directory, and what the sources' options are refused with.
 */
export async function compose(
  config: Config,
  options: { readonly logLevel: string; readonly graceMs: number; readonly cache: 'directory' | 'memory' },
): Promise<Composed> {
  const log = pino({ level: options.logLevel, base: null }, pino.destination({ fd: 2, sync: true }))
  const workers = config.cache.workers === 0 ? Math.max(1, availableParallelism() - 1) : config.cache.workers
  const opened: ClosingStep[] = []
  const close = (): Promise<void> => closeInOrder(opened.splice(0).reverse(), options.graceMs, systemClock)
  try {
    const executor = openPool({ workers })
    opened.push(() => executor.close())
    const cache = await createVectorCache({
      directory: options.cache === 'directory' ? config.cache.dir : null,
      pool: new ArenaPool({
        bytesMax: config.cache.memoryBytesMax,
        scratchSlots: executor.scratchSlots,
        forget: (arenaId) => executor.forget(arenaId),
      }),
      diskBytesMax: config.cache.diskBytesMax,
      executor,
      clock: systemClock,
      random: secretRandom,
      log,
    })
    opened.push(async (graceMs) => {
      // Segments that reach the disk now need not be pulled after a restart.
      await Promise.race([cache.stored(), setTimeout(graceMs, undefined, { ref: false })])
      await cache.close()
    })
    const gateway = createGateway({
      cache,
      openAdapter,
      detectKind,
      clock: systemClock,
      timer: systemTimer,
      log,
      consistency: config.query.consistency,
      local: config.sources.find((source) => source.kind === 'local') ?? localSource,
      writable: localDefault,
      ...(config.audit.every > 0 && {
        audit: {
          every: config.audit.every,
          random: Math.random,
          share: auditShare,
          reproducers: options.cache === 'directory' ? reproducersIn(join(config.cache.dir, 'audit')) : null,
        },
      }),
    })
    opened.push(() => gateway.close())
    const { signal } = new AbortController()
    for (const source of config.sources) if (source.kind !== 'local') await gateway.addSource(source, { signal })
    const bodies = createBodyBudget(Math.max(limits.bodiesBytesMax, config.server.bodyBytesMax))
    const server = createServer({
      gateway,
      bodies,
      config: {
        bodyBytesMax: config.server.bodyBytesMax,
        connectionsMax: config.server.connectionsMax,
        kMax: config.query.kMax,
        deadlineMs: config.query.deadlineMs,
        graceMs: options.graceMs,
        version: packageVersion(),
        anyHost: config.auth.allowUnauthenticated,
      },
      clock: systemClock,
      log,
    })
    let rvf: RvfTcpServer | null = null
    // Together: both stop accepting now, and the same grace period is for the requests of both.
    opened.push(async (graceMs) => {
      await Promise.all([server.close(), rvf?.close(graceMs)])
    })
    const listen = async (): Promise<string> => {
      const { port, rvfPort, connectionsMax } = config.server
      // One address: the framework would open a second server for the other, with a limit on connections of its own.
      const host = config.server.host === 'localhost' ? '127.0.0.1' : config.server.host
      const url = await attemptListen(host, port, () => server.listen({ host, port }))
      if (rvfPort === null) return url
      const rules = { kMax: config.query.kMax, deadlineMs: config.query.deadlineMs }
      rvf = await attemptListen(host, rvfPort, () =>
        startRvfTcp({ gateway, bodies, host, port: rvfPort, rules, connectionsMax, log }),
      )
      log.info(`RVF over TCP on ${host}:${rvf.port}`)
      return url
    }
    return { gateway, server, listen, close }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * Opens everything for one command. A cache directory that another process holds is left to it: `heldCache` is then its
 * LG_LOCK_HELD, and the cache is in memory only.
 */
export async function composeOnce(
  config: Config,
  { logLevel }: { readonly logLevel: string },
): Promise<{ readonly composed: Composed; readonly heldCache: GatewayError | null }> {
  const options = { logLevel, graceMs: 0 }
  try {
    return { composed: await compose(config, { ...options, cache: 'directory' }), heldCache: null }
  } catch (error) {
    if (!(error instanceof GatewayError && error.code === 'LG_LOCK_HELD')) throw error
    return { composed: await compose(config, { ...options, cache: 'memory' }), heldCache: error }
  }
}

async function attemptListen<T>(host: string, port: number, start: () => Promise<T>): Promise<T> {
  try {
    return await start()
  } catch (error) {
    throw listenFailure(error, host, port)
  }
}

function listenFailure(error: unknown, host: string, port: number): unknown {
  const { code } = error as NodeJS.ErrnoException
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'is in use; choose another with --port, or 0 for a free one',
    EACCES: 'may not be opened by this user; choose one above 1023',
    EADDRNOTAVAIL: 'is not an address of this machine; choose another --host',
    ENOTFOUND: 'is not a known host name; choose another --host',
  }
  const reason = code === undefined ? undefined : reasons[code]
  if (reason === undefined) return error
  const subject = code === 'EADDRINUSE' || code === 'EACCES' ? `port ${port} of ${host}` : host
  return new GatewayError('LG_CONFLICT', `${subject} ${reason}`, { cause: error })
}
