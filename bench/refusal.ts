import { GatewayError } from '#lakegate/core/errors.js'

/** A flag whose value cannot be used; the command line prints it as one line. */
export const refusal = (message: string): GatewayError => new GatewayError('LG_INVALID_REQUEST', message)
