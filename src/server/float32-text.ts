/** Powers of ten that float64 holds exactly. */
export const exactPowers = Array.from({ length: 23 }, (_, n) => 10 ** n)

/** What `findDecimal` found: `scaled` / 10^`decimals`, 0 < scaled < 2^31, 0 < decimals < 15, without zeros at the end. */
export const found = { scaled: 0, decimals: 0 }

/**
 * Finds the shortest decimal that reads back as this float32, where it is written without exponent and is no integer; else
 * answers false.
 */
export function findDecimal(magnitude: number): boolean {
  if (!(magnitude >= 1e-6 && magnitude < 1e7)) return false
  // Six digits or more: only the fewest may end in zeros, and nine always suffice.
  let decimals = 0
  while (magnitude * exactPowers[decimals]! < 1e5) decimals++
  let scaled = scaledWhole(magnitude, decimals)
  const isFirst = scaled >= 0
  while (scaled < 0) scaled = scaledWhole(magnitude, ++decimals)
  if (isFirst) for (; decimals > 0 && scaled % 10 === 0; decimals--) scaled = (scaled / 10) | 0
  found.scaled = scaled
  found.decimals = decimals
  return decimals > 0
}

/** An integer of 32 bits that reads back as `magnitude` when it is divided by 10^decimals; -1 when there is none. */
function scaledWhole(magnitude: number, decimals: number): number {
  const power = exactPowers[decimals]!
  const scaled = Math.round(magnitude * power)
  // The quotient is the float64 nearest to that decimal.
  return Math.fround(scaled / power) === magnitude ? scaled | 0 : -1
}

/**
 * The shortest decimal text that reads back as the float32 nearest to `value`, a valid JSON number.
 * Nine digits always suffice for float32; a distance rarely needs more than eight. Beyond float32's range (squared
 * distances of long vectors) the float64 is written, since JSON has no Infinity.
 * @param value finite
 */
export function float32Text(value: number): string {
  const f = Math.fround(value)
  if (!Number.isFinite(f)) return String(value)
  const magnitude = Math.abs(f)
  if (findDecimal(magnitude)) return `${f < 0 ? '-' : ''}${decimalText(found.scaled, found.decimals)}`
  if (Number.isInteger(f) && magnitude < 1e7) return String(f === 0 ? 0 : f)
  // Below the normal range a float32 has fewer significant digits.
  for (let digits = magnitude < 1e-37 ? 1 : 6; digits <= 9; digits++) {
    const candidate = Number(magnitude.toPrecision(digits))
    if (Math.fround(candidate) === magnitude) return String(f < 0 ? -candidate : candidate)
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
