/**
 * A browser on this machine reaches the loopback address for every page it shows. These checks keep pages of other sites
 * from acting through it: by a plain cross-site request, a WebSocket, or a name that they made point here (DNS rebinding).
 */
import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { GatewayError } from '../core/errors.js'

/**
 * Throws LG_FORBIDDEN for a request that a page of another origin made, or that came by a name this server does not go by;
 * LG_INVALID_REQUEST for one of HTTP/1.1 that names none.
 */
export function refuseForeignPage(request: FastifyRequest, options: { readonly anyHost: boolean }): void {
  const { host, origin } = request.headers
  if (host === undefined && request.raw.httpVersion !== '1.0')
    throw new GatewayError('LG_INVALID_REQUEST', 'host: expected the header Host, found none', { field: 'host' })
  if (!options.anyHost && !isOwnName(hostName(host ?? '')))
    throw new GatewayError(
      'LG_FORBIDDEN',
      `host: expected localhost, an IP address or a name without a dot, found ${shown(host)}; a proxy that passes other names on needs --allow-unauthenticated`,
      { field: 'host' },
    )
  if (origin !== undefined && request.headers['sec-fetch-site'] !== 'same-origin' && hostOf(origin) !== host)
    throw new GatewayError('LG_FORBIDDEN', `origin: expected a page of ${shown(host)}, found ${shown(origin)}`, {
      field: 'origin',
    })
}

/** Names that no foreign DNS server decides: addresses, localhost, and names of the local network, which have no dot. */
const isOwnName = (name: string): boolean =>
  !name.includes('.') || name.endsWith('.localhost') || isIP(name.replace(/^\[|\]$/g, '')) !== 0

/** Without the port. */
const hostName = (host: string): string => host.replace(/:\d*$/, '').toLowerCase()

/** Host and port; null for an opaque origin. */
function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null
}

const shown = (text: string | undefined): string => JSON.stringify(text?.slice(0, 100) ?? '')
