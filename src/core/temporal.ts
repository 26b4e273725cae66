/** Dates and times as ISO 8601 / RFC 3339 texts: integers in the units of Cell (days, nanoseconds) and back. */

/**
 * A point on a scale of whole numbers: exactly `at`, or strictly between `at` and `at + 1`. It lets a literal finer than
 * its column (2020.5 for an int, picoseconds for a timestamp) be compared without rounding.
 */
export interface Cut {
  readonly at: bigint
  readonly exact: boolean
}

const nsPerDay = 86_400_000_000_000n
const nsPerSecond = 1_000_000_000n

/** The cell of the timestamp `infinity`, later than every other; its negative is `-infinity`. The most seconds that 64 bits hold. */
export const infinityNs = (2n ** 63n - 1n) * nsPerSecond

const dateText = String.raw`(\d{4}|[+-]\d{6,12})-(\d\d)-(\d\d)`
const timeText = String.raw`(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?`
const offsetText = String.raw`([Zz]|[+-]\d\d:\d\d)`
const datePattern = new RegExp(`^${dateText}$`)
const timePattern = new RegExp(`^${timeText}$`)
const timestampPattern = new RegExp(`^${dateText}(?:[Tt ]${timeText}(?: ?${offsetText})?)?$`)

/** Days since 1970-01-01 of `YYYY-MM-DD` (or an expanded year, `+012345-01-01`); null when it is no day. */
export function parseDate(text: string): bigint | null {
  const match = datePattern.exec(text)
  return match === null ? null : dayNumber(match[1]!, match[2]!, match[3]!)
}

/** Nanoseconds since midnight of `hh:mm[:ss[.fff]]`; null when it is no time of day. */
export function parseTime(text: string): Cut | null {
  const match = timePattern.exec(text)
  return match === null ? null : timeOfDay(match[1]!, match[2]!, match[3], match[4])
}

/**
 * Nanoseconds since 1970-01-01 00:00 of an RFC 3339 timestamp or `YYYY-MM-DD[ hh:mm[:ss[.fff]]]`. `zoned`: it had an
 * offset, which was applied. `infinity` and `-infinity` are timestamps too. Null when it is none; a leap second is none.
 */
export function parseTimestamp(text: string): (Cut & { readonly zoned: boolean }) | null {
  if (text === 'infinity') return { at: infinityNs, exact: true, zoned: false }
  if (text === '-infinity') return { at: -infinityNs, exact: true, zoned: false }
  const match = timestampPattern.exec(text)
  if (match === null) return null
  const day = dayNumber(match[1]!, match[2]!, match[3]!)
  const time = match[4] === undefined ? { at: 0n, exact: true } : timeOfDay(match[4], match[5]!, match[6], match[7])
  const offset = match[8] === undefined ? 0n : offsetNs(match[8])
  if (day === null || time === null || offset === null) return null
  return { at: day * nsPerDay + time.at - offset, exact: time.exact, zoned: match[8] !== undefined }
}

export function formatDate(days: bigint): string {
  // Hinnant's civil_from_days (howardhinnant.github.io/date_algorithms.html), proleptic Gregorian; for any day of a 64-bit count of seconds.
  const z = Number(days) + 719_468
  const era = Math.floor(z / 146_097)
  const dayOfEra = z - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return `${formatYear(year)}-${pad(month)}-${pad(day)}`
}

/** `hh:mm:ss`, with as many fraction digits as needed. */
export function formatTime(ns: bigint): string {
  const seconds = Number(ns / nsPerSecond)
  const fraction = (ns % nsPerSecond).toString().padStart(9, '0').replace(/0+$/, '')
  const clock = `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`
  return fraction === '' ? clock : `${clock}.${fraction}`
}

/**
 * RFC 3339; `utc` adds the Z, a wall-clock reading has no zone. Years that RFC 3339 does not have (before 0000, after 9999)
 * are ISO 8601's expanded ones, sign and at least six digits.
 */
export function formatTimestamp(ns: bigint, utc: boolean): string {
  if (ns >= infinityNs) return 'infinity'
  if (ns <= -infinityNs) return '-infinity'
  const time = ((ns % nsPerDay) + nsPerDay) % nsPerDay
  return `${formatDate((ns - time) / nsPerDay)}T${formatTime(time)}${utc ? 'Z' : ''}`
}

function dayNumber(yearText: string, monthText: string, dayText: string): bigint | null {
  const [year, month, day] = [Number(yearText), Number(monthText), Number(dayText)]
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return null
  // Hinnant's days_from_civil.
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return BigInt(era * 146_097 + dayOfEra - 719_468)
}

function daysInMonth(year: number, month: number): number {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
  return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
}

function timeOfDay(hours: string, minutes: string, seconds = '00', fraction = ''): Cut | null {
  const [h, m, s] = [Number(hours), Number(minutes), Number(seconds)]
  if (h > 23 || m > 59 || s > 59) return null
  const ns = BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return { at: BigInt((h * 60 + m) * 60 + s) * nsPerSecond + ns, exact: !/[1-9]/.test(fraction.slice(9)) }
}

function offsetNs(text: string): bigint | null {
  if (text === 'Z' || text === 'z') return 0n
  const [hours, minutes] = [Number(text.slice(1, 3)), Number(text.slice(4, 6))]
  if (hours > 23 || minutes > 59) return null
  return BigInt((text.startsWith('-') ? -1 : 1) * (hours * 60 + minutes)) * 60n * nsPerSecond
}

const pad = (value: number): string => String(value).padStart(2, '0')

function formatYear(year: number): string {
  if (year >= 0 && year <= 9999) return String(year).padStart(4, '0')
  return `${year < 0 ? '-' : '+'}${String(Math.abs(year)).padStart(6, '0')}`
}
