/** Powers of ten that float64 holds exactly. */
const exactPowers = Array.from({ length: 23 }, (_, n) => 10 ** n)

/**
 * The shortest decimal text that reads back as the float32 nearest to `value`, a valid JSON number.
 * Nine digits always suffice for float32; a distance rarely needs more than eight. Beyond float32's range (squared
 * distances of long vectors) the float64 is written, since JSON has no Infinity.
 * @param value finite
 */
export function float32Text(value: number): string {
  const f = Math.fround(value)
  if (!Number.isFinite(f)) return String(value)
  if (Number.isInteger(f) && Math.abs(f) < 1e7) return String(f === 0 ? 0 : f)
  const exponent = Math.floor(Math.log10(Math.abs(f)))
  // Below the normal range a float32 has fewer significant digits.
  for (let digits = exponent < -37 ? 1 : 6; digits <= 9; digits++) {
    const candidate = roundTo(f, digits, exponent)
    if (Math.fround(candidate) === f) return String(candidate)
  }
  throw new Error(`float32Text: nine digits must read back as ${f}`)
}

/** `f` rounded to some significant digits: the float64 nearest to that decimal, so that String() writes just these digits. */
function roundTo(f: number, digits: number, exponent: number): number {
  const decimals = digits - 1 - exponent
  const power = exactPowers[decimals]
  return power === undefined ? Number(f.toPrecision(digits)) : Math.round(f * power) / power
}
