import { expect, test } from 'vitest'
import { witness } from '../../src/cache/witness.js'

const known = { dataRef: 'gs://bucket/a.parquet', dimension: 128, rotationSeed: 42n, rerankFactor: 20n }

test("equals ruLake's known answer for a numbered generation", () => {
  expect(witness({ ...known, generation: 1n })).toBe('9e9219c766b941ffe3a191b4bc9e54edd846b28243a568ac66fe2d0915954418')
})

test("equals ruLake's known answer for a named generation", () => {
  expect(witness({ ...known, generation: 'snap-1' })).toBe(
    '8a70a54e193a4f2d6f11e45a1547352431434ab7930cb51af005899384c116f2',
  )
})

test.each([
  { dataRef: 'gs://bucket/b.parquet' },
  { dimension: 129 },
  { rotationSeed: 43n },
  { rerankFactor: 21n },
  { generation: '1' },
])('changes with %o', (change) => {
  expect(witness({ ...known, generation: 1n, ...change })).not.toBe(witness({ ...known, generation: 1n }))
})
