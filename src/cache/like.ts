import type { BytesTest } from './value-test.js'

const any = -1
const one = -2

/**
 * SQL LIKE over UTF-8: `%` any characters, `_` one (a code point), `\` makes the next stand for itself. Only the last `%`
 * is ever returned to, so a match costs at most text times pattern; no regular expression, whose worst case has no bound.
 */
export function likeTest(pattern: string): BytesTest {
  const tokens = likeTokens(pattern)
  return (bytes, start, end) => matches(tokens, bytes, start, end)
}

/** Bytes, `any` or `one`. */
function likeTokens(pattern: string): Int16Array {
  const tokens: number[] = []
  const bytes = Buffer.from(pattern)
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!
    if (byte === 0x25) tokens.push(any)
    else if (byte === 0x5f) tokens.push(one)
    else if (byte === 0x5c && i + 1 < bytes.length) tokens.push(bytes[++i]!)
    else tokens.push(byte)
  }
  return Int16Array.from(tokens)
}

function matches(tokens: Int16Array, bytes: Uint8Array, start: number, end: number): boolean {
  let at = start
  let token = 0
  let lastAny = -1
  let resumeAt = start
  while (at < end) {
    const wanted = tokens[token]
    if (wanted === any) {
      lastAny = token++
      resumeAt = at
    } else if (wanted === one) {
      token++
      at = nextCharacter(bytes, at, end)
    } else if (wanted === bytes[at]) {
      token++
      at++
    } else if (lastAny >= 0) {
      token = lastAny + 1
      resumeAt = nextCharacter(bytes, resumeAt, end)
      at = resumeAt
    } else return false
  }
  while (tokens[token] === any) token++
  return token === tokens.length
}

/** Past the code point at `at`: continuation bytes are 10xxxxxx. */
function nextCharacter(bytes: Uint8Array, at: number, end: number): number {
  let next = at + 1
  while (next < end && (bytes[next]! & 0xc0) === 0x80) next++
  return next
}
