/** Whether bytes[start, end) pass. */
export type BytesTest = (bytes: Uint8Array, start: number, end: number) => boolean

/** Node's searching and decoding over the same bytes. */
export function bufferOver(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const any = -1
const one = -2

/**
 * SQL LIKE over UTF-8: `%` any characters, `_` one (a code point), `\` makes the next stand for itself. Only the last `%`
 * is ever returned to, so a match costs at most text times pattern; no regular expression, whose worst case has no bound.
 */
export function likeTest(pattern: string): BytesTest {
  const tokens = likeTokens(pattern)
  const finders = Array.from(tokens, (token, i) => (token === any ? finder(literalFrom(tokens, i + 1)) : null))
  return (bytes, start, end) => matches(tokens, finders, bytes, start, end)
}

/** Where text from `at` on may go on after a `%`: at or before the next occurrence of what follows it. */
type Finder = (bytes: Uint8Array, at: number) => number

/** The bytes up to the next `%` or `_`. */
function literalFrom(tokens: Int16Array, from: number): Buffer {
  let end = from
  while (end < tokens.length && tokens[end]! >= 0) end++
  return Buffer.from(tokens.subarray(from, end))
}

/**
 * Searches the whole column at once and remembers what it found: the rows up to there need no search of their own, and
 * rows asked in order cost one pass over the column together.
 */
function finder(literal: Buffer): Finder | null {
  if (literal.length === 0) return null
  let column: Buffer | null = null
  let from = 0
  let found = -1
  return (bytes, at) => {
    const known = column?.buffer === bytes.buffer && column.byteOffset === bytes.byteOffset
    if (known && from <= at && at <= found) return found
    if (!known) column = bufferOver(bytes)
    from = at
    const index = column!.indexOf(literal, at)
    found = index < 0 ? Number.POSITIVE_INFINITY : index
    return found
  }
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

function matches(
  tokens: Int16Array,
  finders: readonly (Finder | null)[],
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  let at = start
  let token = 0
  let lastAny = -1
  let resumeAt = start
  while (at < end) {
    const wanted = tokens[token]
    if (wanted === any) {
      lastAny = token++
      if (token === tokens.length) return true
      resumeAt = skipTo(finders[lastAny]!, bytes, at)
      at = resumeAt
    } else if (wanted === one) {
      token++
      at = nextCharacter(bytes, at, end)
    } else if (wanted === bytes[at]) {
      token++
      at++
    } else if (lastAny >= 0) {
      token = lastAny + 1
      resumeAt = skipTo(finders[lastAny]!, bytes, nextCharacter(bytes, resumeAt, end))
      at = resumeAt
    } else return false
  }
  while (tokens[token] === any) token++
  return token === tokens.length
}

const skipTo = (find: Finder | null, bytes: Uint8Array, at: number): number => (find === null ? at : find(bytes, at))

/** Past the code point at `at`: continuation bytes are 10xxxxxx. */
function nextCharacter(bytes: Uint8Array, at: number, end: number): number {
  let next = at + 1
  while (next < end && (bytes[next]! & 0xc0) === 0x80) next++
  return next
}
