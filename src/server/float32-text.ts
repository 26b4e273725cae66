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
  const magnitude = Math.abs(f)
  const exponent = Math.floor(Math.log10(magnitude))
  // Below the normal range a float32 has fewer significant digits.
  const digitsMin = exponent < -37 ? 1 : 6
  for (let digits = digitsMin; digits <= 9; digits++) {
    const decimals = digits - 1 - exponent
    const power = exactPowers[decimals]
    const scaled = power === undefined ? null : Math.round(magnitude * power)
    // The float64 nearest to that decimal, so that String() writes just these digits.
    const candidate = scaled === null ? Number(magnitude.toPrecision(digits)) : scaled / power!
    if (Math.fround(candidate) !== magnitude) continue
    const hasZeros = digits === digitsMin // only the first one tried may end in zeros
    const text = scaled === null || hasZeros || decimals > 9 ? String(candidate) : decimalText(scaled, decimals)
    return f < 0 ? `-${text}` : text
  }
  throw new Error(`float32Text: nine digits must read back as ${f}`)
}

/** `scaled` / 10^decimals, with all of its decimals. Small integers are written several times faster than fractions. */
export function decimalText(scaled: number, decimals: number): string {
  const power = exactPowers[decimals]!
  const whole = Math.floor(scaled / power)
  // The leading 1 keeps zeros behind the point.
  return decimals === 0 ? String(whole) : `${whole}.${String(scaled - whole * power + power).slice(1)}`
}
