import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorTable, GatewayError, toGatewayError } from '../../src/core/errors.js'

/** Rows of the table in docs/errors.md: code, status, RVF code, retry, meaning. */
function documented(): string[][] {
  const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')
  const rows = page.split('\n').filter((line) => line.includes('`LG_') && line.startsWith('| '))
  return rows.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

test('docs/errors.md says what the table of codes says, in both directions', () => {
  const table = Object.entries(errorTable).map(([code, { status, rvf, retry, title }]) => [
    `<a id="${code.toLowerCase()}"></a>\`${code}\``,
    String(status),
    rvf === status ? String(rvf) : `0x${rvf.toString(16).padStart(4, '0')}`,
    retry,
    title,
  ])
  expect(documented().toSorted()).toEqual(table.toSorted())
  expect(table.length).toBeGreaterThan(20)
})

test('an error carries what the table says of its code, and its cause', () => {
  const cause = new Error('socket closed')
  const error = new GatewayError('LG_SOURCE_UNAVAILABLE', 'packages: cannot be read', { cause, retryAfterMs: 10 })
  expect([error.status, error.rvfCode, error.retry, error.retryAfterMs, error.cause]).toEqual([
    503,
    503,
    'later',
    10,
    cause,
  ])
})

test('aborts and deadlines keep their meaning; what is not ours is a defect; ours passes unchanged', () => {
  const ours = new GatewayError('LG_CONFLICT', 'x')
  expect(toGatewayError(ours)).toBe(ours)
  expect(toGatewayError(AbortSignal.abort().reason).code).toBe('LG_CANCELLED')
  expect(toGatewayError(new DOMException('late', 'TimeoutError')).code).toBe('LG_DEADLINE_EXCEEDED')
  expect(toGatewayError(new TypeError('x is undefined'))).toMatchObject({
    code: 'LG_INTERNAL',
    message: 'internal error',
  })
  expect(toGatewayError('text').code).toBe('LG_INTERNAL')
})
