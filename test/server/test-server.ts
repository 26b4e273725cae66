import type { FastifyInstance } from 'fastify'
import pino from 'pino'
import { systemClock } from '../../src/core/clock.js'
import type { Gateway } from '../../src/federation/gateway.js'
import { createServer, type ServerConfig } from '../../src/server/app.js'
import { createBodyBudget } from '../../src/server/body-budget.js'

export const testConfig: ServerConfig = {
  bodyBytesMax: 16 * 1024 * 1024,
  connectionsMax: 1024,
  kMax: 10_000,
  deadlineMs: 10_000,
  graceMs: 1000,
  version: '0.0.0',
}

export const testServer = (
  gateway: Gateway,
  config: Partial<ServerConfig> = {},
  bodies = createBodyBudget(2 ** 28),
): FastifyInstance =>
  createServer({
    gateway,
    bodies,
    config: { ...testConfig, ...config },
    clock: systemClock,
    log: pino({ level: 'silent' }),
  })
