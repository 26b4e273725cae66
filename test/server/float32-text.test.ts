import fc from 'fast-check'
import { expect, test } from 'vitest'
import { float32Text } from '../../src/server/float32-text.js'
import { JsonBytes } from '../../src/server/json-bytes.js'

const out = new JsonBytes()

function float32Bytes(value: number): string {
  out.begin()
  out.float32(value)
  return out.end().toString()
}

test.each([
  [0, '0'],
  [-0, '0'],
  [0.010000004, '0.010000004'],
  [0.80999994, '0.80999994'],
  [3.01, '3.01'],
  [0.1, '0.1'],
  [16777216, '16777216'],
  [3.4028234663852886e38, '3.4028235e+38'],
  [1e-45, '1e-45'],
  [1.1754943508222875e-38, '1.1754944e-38'],
  [-1 / 3, '-0.33333334'],
  [123456.789, '123456.79'],
  [9e76, '9e+76'],
  [-3.5e38, '-3.5e+38'],
])('%d', (value, text) => {
  expect(float32Text(value)).toBe(text)
  expect(float32Bytes(value)).toBe(text)
})

test('reads back as the same float32, in no more digits than toPrecision needs', () => {
  const bits = new Uint32Array(1)
  const float = new Float32Array(bits.buffer)
  fc.assert(
    fc.property(fc.nat({ max: 0xffffffff }), (pattern) => {
      bits[0] = pattern
      const value = float[0]!
      fc.pre(Number.isFinite(value))
      const text = float32Text(value)
      expect(float32Bytes(value)).toBe(text)
      expect(Math.fround(Number(text))).toBe(value + 0)
      expect(JSON.parse(text)).toBe(Number(text))
      const needed = [1, 2, 3, 4, 5, 6, 7, 8, 9].find(
        (digits) => Math.fround(Number(value.toPrecision(digits))) === value,
      )!
      if (Math.abs(value) < 1e7 && Number.isInteger(value)) return
      expect(text.replace(/e.*|[-.]/g, '').replace(/^0+|0+$/g, '').length).toBeLessThanOrEqual(needed)
    }),
    { numRuns: 20_000 },
  )
})
