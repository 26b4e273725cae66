import { GatewayError } from './errors.js'
import { limits } from './limits.js'

/** JSON with 64-bit integers kept: an integer is a number when it is safe (below 2^53) and a bigint otherwise. */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined }

/*
 * JSON.parse rounds integers beyond 2^53, and Node 20 does not show a reviver the source text. So a text that may hold one
 * is read by the small parser below, every other by JSON.parse; both give the same value where nothing is rounded.
 */

/** Sixteen digits are where integers stop being safe; digits after a point or in an exponent are no integer. */
const longInteger = /(?:^|[\s,:[])-?\d{16,}(?![\d.eE])/

/** Integers of more digits are beyond every double too and are read as Infinity, as JSON.parse does. */
const integerDigitsMax = 309

/**
 * Reads JSON text or its UTF-8 bytes. Of repeated keys the last counts; `__proto__` is a key like any other.
 * @param field  named in errors
 * Throws LG_INVALID_REQUEST: not JSON, not UTF-8, nested deeper than depthMax.
 */
export function parseJson(
  source: string | Uint8Array,
  field = 'body',
  depthMax: number = limits.jsonDepthMax,
): JsonValue {
  const text = typeof source === 'string' ? source : decodeUtf8(source, field)
  checkDepth(text, field, depthMax)
  try {
    return longInteger.test(text) ? new JsonReader(text).read() : (JSON.parse(text) as JsonValue)
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
    throw new GatewayError('LG_INVALID_REQUEST', `${field}: expected JSON: ${cause.message}`, { field, cause })
  }
}

/** JSON text with bigints in full, keys in their order. NaN and Infinity are defects of the caller (RangeError). */
export function stringifyJson(value: JsonValue): string {
  return writeJson(value, asTheyAre)
}

const asTheyAre = (keys: string[]): string[] => keys

/** Writes a value with the keys of each object in the order given. Properties that are undefined are left out. */
export function writeJson(value: JsonValue, order: (keys: string[]) => string[]): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new RangeError(`JSON has no ${value}`)
    return JSON.stringify(value)
  }
  if (value === null || typeof value !== 'object') return String(value)
  if (isArray(value)) return `[${value.map((element) => writeJson(element, order)).join(',')}]`
  const members: string[] = []
  for (const key of order(Object.keys(value))) {
    const member = value[key]
    if (member !== undefined) members.push(`${JSON.stringify(key)}:${writeJson(member, order)}`)
  }
  return `{${members.join(',')}}`
}

/** Array.isArray does not narrow readonly arrays. */
const isArray = (value: object): value is readonly JsonValue[] => Array.isArray(value)

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decodeUtf8(bytes: Uint8Array, field: string): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new GatewayError('LG_INVALID_REQUEST', `${field}: expected UTF-8 text`, { field, cause })
  }
}

function checkDepth(text: string, field: string, depthMax: number): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 0x22) inString = !inString
    else if (inString) {
      if (unit === 0x5c) i += 1
    } else if (unit === 0x5b || unit === 0x7b) {
      depth += 1
      if (depth > depthMax)
        throw new GatewayError('LG_INVALID_REQUEST', `${field}: nested deeper than ${depthMax} levels; flatten it`, {
          field,
        })
    } else if (unit === 0x5d || unit === 0x7d) depth -= 1
  }
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const space = /[ \t\n\r]*/y
const word = /true|false|null/y

/** Recursive descent over a text whose depth was checked. Throws SyntaxError. */
class JsonReader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  read(): JsonValue {
    const value = this.#value()
    this.#skipSpace()
    if (this.#at < this.#text.length) throw this.#unexpected('the end')
    return value
  }

  #value(): JsonValue {
    this.#skipSpace()
    switch (this.#text[this.#at]) {
      case '{':
        return this.#object()
      case '[':
        return this.#array()
      case '"':
        return this.#string()
      default:
        return this.#scalar()
    }
  }

  #object(): JsonValue {
    const members: Record<string, JsonValue> = {}
    this.#at += 1
    if (this.#take('}')) return members
    do {
      this.#skipSpace()
      if (this.#text[this.#at] !== '"') throw this.#unexpected('a key in double quotes')
      const key = this.#string()
      if (!this.#take(':')) throw this.#unexpected('":"')
      const value = this.#value()
      // Assigning `__proto__` would set the prototype; JSON.parse defines a property too.
      Object.defineProperty(members, key, { value, enumerable: true, configurable: true, writable: true })
    } while (this.#take(','))
    if (!this.#take('}')) throw this.#unexpected('"," or "}"')
    return members
  }

  #array(): JsonValue {
    const elements: JsonValue[] = []
    this.#at += 1
    if (this.#take(']')) return elements
    do elements.push(this.#value())
    while (this.#take(','))
    if (!this.#take(']')) throw this.#unexpected('"," or "]"')
    return elements
  }

  #string(): string {
    const start = this.#at
    for (let i = start + 1; i < this.#text.length; i++) {
      const unit = this.#text.charCodeAt(i)
      if (unit === 0x5c) i += 1
      else if (unit === 0x22) {
        this.#at = i + 1
        return JSON.parse(this.#text.slice(start, i + 1)) as string
      }
    }
    throw this.#unexpected('a string that ends')
  }

  #scalar(): JsonValue {
    const digits = this.#match(number)
    if (digits !== null) return readNumber(digits)
    switch (this.#match(word)) {
      case 'true':
        return true
      case 'false':
        return false
      case 'null':
        return null
      default:
        throw this.#unexpected('a value')
    }
  }

  #match(token: RegExp): string | null {
    token.lastIndex = this.#at
    const found = token.exec(this.#text)?.[0] ?? null
    if (found !== null) this.#at += found.length
    return found
  }

  #take(mark: string): boolean {
    this.#skipSpace()
    if (this.#text[this.#at] !== mark) return false
    this.#at += 1
    return true
  }

  #skipSpace(): void {
    this.#match(space)
  }

  #unexpected(expected: string): SyntaxError {
    const found = this.#at < this.#text.length ? JSON.stringify(this.#text[this.#at]) : 'the end'
    return new SyntaxError(`expected ${expected} at character ${this.#at}, found ${found}`)
  }
}

/** The value of a number token: exact for integers. */
export function readNumber(token: string): number | bigint {
  const value = Number(token)
  const exact = Number.isSafeInteger(value) || /[.eE]/.test(token) || token.length > integerDigitsMax
  return exact ? value : BigInt(token)
}
