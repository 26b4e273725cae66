import type { BackendAdapter, OpenAdapter } from '../../src/adapters/adapter.js'
import { adapters, detectKind, isAdapterKind } from '../../src/adapters/registry.js'
import { ArenaPool } from '../../src/cache/arena.js'
import { createVectorCache } from '../../src/cache/create-vector-cache.js'
import { seededRandom, systemClock, systemTimer } from '../../src/core/clock.js'
import { GatewayError } from '../../src/core/errors.js'
import { createGateway, localDefault, localSource } from '../../src/federation/create-gateway.js'
import type { Gateway, SourceConfig } from '../../src/federation/gateway.js'
import { openPool } from '../../src/federation/pool.js'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/**
 * The gateway as it is served, with everything in memory and no worker threads.
 * @param special adapters of the test's own, by kind
 */
export async function realGateway(
  special: Readonly<Record<string, (config: SourceConfig) => Promise<BackendAdapter>>> = {},
): Promise<{ readonly gateway: Gateway; close(): Promise<void> }> {
  const executor = openPool({ workers: 0 })
  const cache = await createVectorCache({
    directory: null,
    pool: new ArenaPool({ bytesMax: 2 ** 28, scratchSlots: 1 }),
    diskBytesMax: 0,
    executor,
    clock: systemClock,
    random: seededRandom(7),
    log: silent,
  })
  const gateway = createGateway({
    cache,
    openAdapter: async (config) => {
      const own = special[config.kind]
      if (own !== undefined) return own(config)
      if (!isAdapterKind(config.kind))
        throw new GatewayError('LG_INVALID_REQUEST', `kind: unknown kind ${config.kind}`, { field: 'kind' })
      const open: OpenAdapter = adapters[config.kind]
      return open(config, { clock: systemClock })
    },
    detectKind,
    clock: systemClock,
    timer: systemTimer,
    log: silent,
    consistency: null,
    local: localSource,
    writable: localDefault,
  })
  return {
    gateway,
    async close() {
      await gateway.close()
      await cache.close()
      await executor.close()
    },
  }
}
