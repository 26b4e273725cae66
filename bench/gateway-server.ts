/** lakegate's HTTP server over a gateway being measured: silent, with limits that no query meets. */
import { pino } from 'pino'
import { systemClock } from '#lakegate/core/clock.js'
import { createServer } from '#lakegate/server/app.js'
import { createBodyBudget } from '#lakegate/server/body-budget.js'
import type { OpenGateway } from './lakegate.js'

export const createGatewayServer = ({ gateway }: OpenGateway): ReturnType<typeof createServer> =>
  createServer({
    gateway,
    bodies: createBodyBudget(2 ** 28),
    clock: systemClock,
    log: pino({ level: 'silent' }),
    config: {
      bodyBytesMax: 2 ** 24,
      connectionsMax: 1024,
      kMax: 10_000,
      deadlineMs: 60_000,
      graceMs: 1000,
      version: 'bench',
    },
  })
