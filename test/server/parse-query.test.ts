import { describe, expect, test } from 'vitest'
import { canonicalJson } from '../../src/core/canonical-json.js'
import { parseJson } from '../../src/core/json.js'
import { parseQuery, parseRawQuery } from '../../src/server/parse-query.js'

const rules = { kMax: 100, deadlineMs: 1234 }
const parse = (text: string) => parseQuery(parseJson(text), rules)

describe('parseQuery', () => {
  test('every field', () => {
    const query = parse(`{
      "row": {"collection": "a/b/c", "id": 18446744073709551615}, "k": 100,
      "collections": ["a/*", "b/c d"], "fusion": "rrf", "filter": {"n": {"lt": 3}}, "select": ["x"], "include_vectors": true,
      "recall": {"certified": 1e-6}, "max_distance": -2.5, "consistency": {"ttl_ms": 5000},
      "as_of": {"a/*": 9223372036854775807, "b/c": "2026-01-02T03:04:05.6+01:00", "b/d": "g 1"},
      "deadline_ms": 7, "require_complete": true, "max_cost": {"bytes": 9}, "receipt": "full"}`)
    expect(query).toMatchObject({
      target: { kind: 'row', collection: { backend: 'a', collection: 'b/c' }, id: 18446744073709551615n },
      k: 100,
      collections: [
        { backend: 'a', collection: '*' },
        { backend: 'b', collection: 'c d' },
      ],
      fusion: 'rrf',
      filter: { op: 'lt', column: 'n', value: 3 },
      select: ['x'],
      includeVectors: true,
      recall: { kind: 'certified', missProbability: 1e-6 },
      distanceMax: -2.5,
      consistency: { kind: 'ttl', ttlMs: 5000 },
      asOf: [
        { pattern: { backend: 'a', collection: '*' }, at: { kind: 'generation', generation: '9223372036854775807' } },
        { pattern: { backend: 'b', collection: 'c' }, at: { kind: 'time', atMs: Date.UTC(2026, 0, 2, 2, 4, 5, 600) } },
        { pattern: { backend: 'b', collection: 'd' }, at: { kind: 'generation', generation: 'g 1' } },
      ],
      deadlineMs: 7,
      requireComplete: true,
      receipt: 'full',
    })
  })

  test('ids 5 and "5" stay apart', () => {
    const id = (text: string) => {
      const { target } = parse(`{"row":{"collection":"a/b","id":${text}},"k":1}`)
      return target.kind === 'row' ? target.id : null
    }
    expect(id('5')).toBe(5n)
    expect(id('"5"')).toBe('5')
    expect(id('-9223372036854775808')).toBe(-(2n ** 63n))
  })

  test('recall', () => {
    const recall = (text: string) => parse(`{"vector":[1],"k":1,"recall":${text}}`).recall
    expect(recall('0.95')).toEqual({ kind: 'target', recall: 0.95 })
    expect(recall('1')).toEqual({ kind: 'exact' })
    expect(recall('"exact"')).toEqual({ kind: 'exact' })
  })

  test('receipt', () => {
    const receipt = (text: string) => parse(`{"vector":[1],"k":1,"receipt":${text}}`).receipt
    expect([receipt('true'), receipt('false'), receipt('"full"')]).toEqual(['summary', 'none', 'full'])
  })

  test('the canonical request parses to itself, with one spelling of vector and filter', () => {
    const query = parse('{"k": 2, "vector": [0.1, 9007199254740993], "filter": "n < 3", "receipt": "full"}')
    expect(canonicalJson(query.canonical() as never)).toBe(
      '{"filter":{"n":{"lt":3}},"k":2,"receipt":"full","vector":[0.10000000149011612,9007199254740992]}',
    )
    const again = parse(canonicalJson(query.canonical() as never))
    expect(again.canonical()).toEqual(query.canonical())
    expect(again.target).toEqual(query.target)
  })
})

describe('parseRawQuery', () => {
  const bytes = new Uint8Array(Float32Array.of(0.5, -1).buffer)

  test('means what the same JSON means', () => {
    const raw = parseRawQuery(
      bytes,
      {
        k: '3',
        collections: 'a/b,c/*',
        recall: '{"certified":0.5}',
        filter: 'n = 9007199254740993',
        select: '',
        include_vectors: 'true',
        as_of: '2026-01-02T03:04:05Z',
        receipt: 'full',
        max_distance: '1e2',
      },
      rules,
    )
    const json =
      parse(`{"vector":[0.5,-1],"k":3,"collections":["a/b","c/*"],"recall":{"certified":0.5},"filter":"n = 9007199254740993",
      "select":[],"include_vectors":true,"as_of":"2026-01-02T03:04:05Z","receipt":"full","max_distance":100}`)
    expect({ ...raw, canonical: raw.canonical() }).toEqual({ ...json, canonical: json.canonical() })
  })

  test.each([
    [new Uint8Array(0), { k: '1' }, 'vector'],
    [new Uint8Array(7), { k: '1' }, 'vector'],
    [new Uint8Array(Float32Array.of(1, Number.NaN).buffer), { k: '1' }, 'vector[1]'],
    [new Uint8Array(Float32Array.of(Infinity).buffer), { k: '1' }, 'vector[0]'],
    [bytes, {}, 'k'],
    [bytes, { k: 'x' }, 'k'],
    [bytes, { k: ['1', '2'] }, 'k'],
    [bytes, { k: '1', vector: '1' }, 'vector'],
    [bytes, { k: '1', filter: '{' }, 'filter'],
  ])('refuses %#, naming %s', (vector, parameters, field) => {
    expect(() => parseRawQuery(vector, parameters, rules)).toThrow(expect.objectContaining({ field }))
  })
})
