/** JSON bodies whose bulk is one vector: its numbers become float32 at once, without being float64 of a JavaScript array first. */
import { type JsonValue, parseJson } from './json.js'
import { limits } from './limits.js'

/** A body as parseJson reads it, except that `vector` may be a Float32Array. */
export type JsonWithVector = JsonValue | { readonly [key: string]: JsonValue | Float32Array | undefined }

/**
 * Reads JSON bytes as parseJson does, which takes over whatever is not the plain case: one member `vector` of the outermost
 * object that is an array of numbers within float32. They are rounded as by Math.fround of what JSON.parse reads.
 * Throws what parseJson throws.
 */
export function parseJsonWithVector(bytes: Buffer): JsonWithVector {
  const found = findVector(bytes)
  if (found === null) return parseJson(bytes)
  // Without the numbers, there is next to nothing left to read.
  const rest = Buffer.concat([bytes.subarray(0, found.from), nothing, bytes.subarray(found.to)])
  let fields: JsonValue
  try {
    fields = parseJson(rest)
  } catch {
    return parseJson(bytes) // so that the error speaks of what was sent
  }
  return { ...(fields as { readonly [key: string]: JsonValue }), vector: found.vector }
}

const nothing = Buffer.from('null')
const key = Buffer.from('"vector"')
const code = (character: string): number => character.charCodeAt(0)
const [backslash, openBrace, openBracket, closeBracket] = [code('\\'), code('{'), code('['), code(']')]
const [comma, colon, minus, plus, point, lowerE, upperE] = [',', ':', '-', '+', '.', 'e', 'E'].map(code)
const [zero, nine] = [code('0'), code('9')]

interface FoundVector {
  readonly vector: Float32Array
  /** Its bytes: the array with both brackets. */
  readonly from: number
  readonly to: number
}

function findVector(bytes: Buffer): FoundVector | null {
  if (bytes[0] !== openBrace) return null
  const at = bytes.indexOf(key)
  // In JSON only a key or a value can be between two quotes without a backslash; a second brace may be a nested object.
  if (at < 0 || bytes[at - 1] === backslash || bytes.subarray(1, at).includes(openBrace)) return null
  const colonAt = skipSpace(bytes, at + key.length)
  if (bytes[colonAt] !== colon) return null
  const from = skipSpace(bytes, colonAt + 1)
  if (bytes[from] !== openBracket) return null
  const to = readNumbers(bytes, from + 1)
  if (to === 0 || bytes.indexOf(key, to) >= 0) return null
  return { vector: numbers.slice(0, numbersCount), from, to }
}

function skipSpace(bytes: Uint8Array, at: number): number {
  let i = at
  while (bytes[i] === 0x20 || bytes[i] === 0x0a || bytes[i] === 0x0d || bytes[i] === 0x09) i++
  return i
}

/** What readNumbers read last. */
const numbers = new Float32Array(limits.dimensionMax)
let numbersCount = 0

/** @returns where the array's closing bracket ends; 0 when it is not the plain case */
function readNumbers(bytes: Uint8Array, from: number): number {
  numbersCount = 0
  for (let at = skipSpace(bytes, from); numbersCount < numbers.length; at = skipSpace(bytes, at + 1)) {
    at = skipSpace(bytes, readNumber(bytes, at))
    if (!Number.isFinite(numbers[numbersCount])) return 0
    numbersCount += 1
    if (bytes[at] === closeBracket) return at + 1
    if (bytes[at] !== comma) return 0
  }
  return 0
}

/** Digits of which every whole number is a float64. */
const digitsMax = 15
/** Powers of ten that float64 holds exactly. */
const powers = Float64Array.from({ length: 23 }, (_, n) => 10 ** n)

/**
 * Reads one number into numbers[numbersCount]; NaN when there is none.
 *
 * Its first 15 digits are a whole number w below 2^53, and with the power of ten p exact too, w * p (or w / p) is rounded
 * once, so it is what JSON.parse reads. Of a longer number the rest of the digits lies between w and w + 1: rounding never
 * changes order, so where both ends give one float32, so does the number. Where they do not, and for powers beyond 10^22,
 * Number() reads it.
 * @returns where it ends
 */
function readNumber(bytes: Uint8Array, from: number): number {
  let at = from
  const negative = bytes[at] === minus
  if (negative) at += 1
  const intAt = at
  let whole = 0
  let digits = 0
  let dropped = 0
  let scale = 0
  for (; isDigit(bytes[at]); at++) {
    if (digits < digitsMax) {
      whole = whole * 10 + (bytes[at]! - zero)
      if (whole > 0) digits += 1
    } else {
      dropped += 1
      scale += 1
    }
  }
  // JSON wants a digit, and no zero before others.
  if (at === intAt || (bytes[intAt] === zero && at > intAt + 1)) return nan(at)
  if (bytes[at] === point) {
    const fractionAt = ++at
    for (; isDigit(bytes[at]); at++) {
      if (digits < digitsMax) {
        whole = whole * 10 + (bytes[at]! - zero)
        if (whole > 0) digits += 1
        scale -= 1
      } else dropped += 1
    }
    if (at === fractionAt) return nan(at)
  }
  if (bytes[at] === lowerE || bytes[at] === upperE) {
    at += 1
    const down = bytes[at] === minus
    if (down || bytes[at] === plus) at += 1
    const exponentAt = at
    let exponent = 0
    for (; isDigit(bytes[at]); at++) exponent = Math.min(1e6, exponent * 10 + (bytes[at]! - zero))
    if (at === exponentAt) return nan(at)
    scale += down ? -exponent : exponent
  }
  let value = Math.fround(scaled(whole, scale))
  if (Math.abs(scale) >= powers.length || (dropped > 0 && value !== Math.fround(scaled(whole + 1, scale))))
    value = Math.fround(Math.abs(Number(textOf(bytes, from, at))))
  numbers[numbersCount] = negative ? -value : value
  return at
}

const isDigit = (byte: number | undefined): boolean => byte! >= zero && byte! <= nine

const scaled = (whole: number, scale: number): number => (scale < 0 ? whole / powers[-scale]! : whole * powers[scale]!)

function nan(at: number): number {
  numbers[numbersCount] = Number.NaN
  return at
}

const textOf = (bytes: Uint8Array, from: number, to: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1')
