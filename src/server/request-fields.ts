/** Reading fields of an untrusted request. Messages say the field, what was expected and what was found. */
import { type ErrorCode, GatewayError } from '../core/errors.js'
import type { RowId } from '../core/id.js'
import { limits } from '../core/limits.js'
import { suggestion } from '../core/suggestion.js'

export type Fields = Readonly<Record<string, unknown>>

/** What a value is, short enough for an error message. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : `an array of ${value.length}`
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
    case 'object':
      return 'an object'
    default:
      return String(value)
  }
}

export const refusal = (code: ErrorCode, field: string, message: string): GatewayError =>
  new GatewayError(code, `${field}: ${message}`, { field })

/** A missing field or a wrong type. */
export const malformed = (field: string, expected: string, found: unknown): GatewayError =>
  refusal('LG_MALFORMED_REQUEST', field, `expected ${expected}, found ${describe(found)}`)

/** The right type, but a value that is not allowed. */
export const invalid = (field: string, expected: string, found: unknown): GatewayError =>
  refusal('LG_INVALID_REQUEST', field, `expected ${expected}, found ${describe(found)}`)

/** @param field name of the value in messages; `body` for the whole request */
export function readObject(value: unknown, field: string, expected = 'a JSON object'): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(field, expected, value)
  return value as Fields
}

/** Refuses fields that are not in `known`, suggesting the nearest one that is. `prefix`: e.g. `queries[3].` */
export function refuseUnknown(object: Fields, known: ReadonlySet<string>, prefix = ''): void {
  for (const name of Object.keys(object)) {
    if (known.has(name)) continue
    const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name
    throw refusal('LG_UNKNOWN_FIELD', `${prefix}${shown}`, `unknown field${suggestion(shown, [...known])}`)
  }
}

interface WholeRange {
  readonly min: number
  readonly max: number
  /** The limit that `max` is, as callers know it. */
  readonly limit: string
}

/** A whole number in a range; below it is malformed, above it passes a named limit. */
export function readWhole(value: unknown, field: string, range: WholeRange): number {
  const expected = `a whole number from ${range.min} to ${range.max}`
  if (typeof value === 'bigint') {
    if (value < 0n) throw malformed(field, expected, value)
  } else if (typeof value !== 'number' || !Number.isInteger(value) || value < range.min)
    throw malformed(field, expected, value)
  if (value > range.max)
    throw refusal('LG_TOO_LARGE', field, `expected at most ${range.max} (the limit ${range.limit}), found ${value}`)
  return Number(value)
}

export function readBoolean(value: unknown, field: string): boolean {
  if (typeof value !== 'boolean') throw malformed(field, 'true or false', value)
  return value
}

/** A string of 1 to `bytesMax` UTF-8 bytes. */
export function readText(value: unknown, field: string, bytesMax: number): string {
  if (typeof value !== 'string') throw malformed(field, 'a string', value)
  if (value === '') throw invalid(field, 'a string that is not empty', value)
  if (value.length > bytesMax || Buffer.byteLength(value) > bytesMax)
    throw refusal('LG_TOO_LARGE', field, `expected at most ${bytesMax} bytes of UTF-8`)
  return value
}

export function readArray(value: unknown, field: string, of: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(field, `an array of ${of}`, value)
  return value
}

const idMin = -(2n ** 63n)
const idMax = 2n ** 64n - 1n

/** An id: a 64-bit integer, signed or unsigned, or a string. */
export function readId(value: unknown, field: string): RowId {
  if (typeof value === 'string') {
    if (Buffer.byteLength(value) > limits.idBytesMax)
      throw refusal(
        'LG_TOO_LARGE',
        field,
        `expected at most ${limits.idBytesMax} bytes of UTF-8 (the limit idBytesMax)`,
      )
    return value
  }
  if (typeof value !== 'bigint' && !Number.isInteger(value))
    throw malformed(field, 'a 64-bit integer or a string', value)
  const id = BigInt(value as bigint | number)
  if (id < idMin || id > idMax) throw invalid(field, 'a 64-bit integer (-2^63 to 2^64 - 1)', value)
  return id
}

/**
 * A vector, rounded to float32.
 * @returns float32[1 … dimensionMax], finite; the caller's own
 */
export function readVector(value: unknown, field: string): Float32Array {
  if (value instanceof Float32Array) return checkedVector(value, field)
  const numbers = readArray(value, field, 'numbers')
  if (numbers.length === 0) throw invalid(field, `1 to ${limits.dimensionMax} numbers`, value)
  if (numbers.length > limits.dimensionMax)
    throw refusal(
      'LG_TOO_LARGE',
      field,
      `expected at most ${limits.dimensionMax} numbers (the limit dimensionMax), found ${numbers.length}`,
    )
  const vector = new Float32Array(numbers.length)
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i]
    if (typeof number === 'number') vector[i] = number
    else if (typeof number === 'bigint') vector[i] = Number(number)
    else throw malformed(`${field}[${i}]`, 'a number', number)
    if (!Number.isFinite(vector[i])) throw invalid(`${field}[${i}]`, 'a number that float32 can hold', number)
  }
  return vector
}

/** A vector from little-endian float32 bytes. */
export function readVectorBytes(bytes: Uint8Array, field: string): Float32Array {
  if (bytes.byteLength === 0 || bytes.byteLength % 4 !== 0)
    throw refusal(
      'LG_MALFORMED_REQUEST',
      field,
      `expected a little-endian float32 vector, 4 bytes a number, found ${bytes.byteLength} bytes`,
    )
  const vector = new Float32Array(bytes.byteLength / 4)
  new Uint8Array(vector.buffer).set(bytes)
  return checkedVector(vector, field)
}

function checkedVector(vector: Float32Array, field: string): Float32Array {
  if (vector.length === 0) throw invalid(field, `1 to ${limits.dimensionMax} numbers`, [])
  if (vector.length > limits.dimensionMax)
    throw refusal(
      'LG_TOO_LARGE',
      field,
      `expected at most ${limits.dimensionMax} numbers (the limit dimensionMax), found ${vector.length}`,
    )
  for (let i = 0; i < vector.length; i++) {
    if (!Number.isFinite(vector[i])) throw invalid(`${field}[${i}]`, 'a finite number', vector[i])
  }
  return vector
}
