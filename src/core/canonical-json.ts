import { type JsonValue, writeJson } from './json.js'

/**
 * Canonical JSON, RFC 8785: keys by their UTF-16 units, numbers as ECMAScript writes them, no white space. Integers beyond
 * 2^53, which the RFC leaves out, are written in full. Equal texts mean equal values.
 */
export function canonicalJson(value: JsonValue): string {
  return writeJson(value, (keys) => keys.sort())
}
