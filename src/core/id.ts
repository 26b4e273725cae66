/** A row's name: a 64-bit integer (signed or unsigned) or a string. `5n` and `"5"` are different ids. */
export type RowId = bigint | string

const encoder = new TextEncoder()

/** UTF-8 byte order, which differs from JavaScript's UTF-16 order only when surrogates are involved. */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) {
      if (x < 0xd800 || y < 0xd800) return x - y
      // A pair is one character: its second half alone would be encoded as U+FFFD, whatever it is.
      const from = isHighSurrogate(a.charCodeAt(i - 1)) ? i - 1 : i
      return Buffer.compare(encoder.encode(a.slice(from)), encoder.encode(b.slice(from))) || x - y
    }
  }
  return a.length - b.length
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00

/** Total order of law 3: integers before strings, integers by value, strings by UTF-8 bytes. */
export function compareIds(a: RowId, b: RowId): number {
  if (typeof a === 'bigint') {
    if (typeof b !== 'bigint') return -1
    return a < b ? -1 : a > b ? 1 : 0
  }
  if (typeof b === 'bigint') return 1
  return compareUtf8(a, b)
}
