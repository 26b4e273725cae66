import { exactPowers, findDecimal, float32Text, found } from './float32-text.js'

/** A constant of a JSON text, in UTF-8. */
export const utf8 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text))

/** Longer pieces are copied sooner by a call than by a loop. */
const loopBytesMax = 32
/** Longer texts, which mostly are of several pieces, are encoded sooner by a call. */
const loopCharsMax = 64
/** Memory that texts share, one behind the other. */
const slabBytes = 65_536

const point = 0x2e
const minus = 0x2d
const zero = 0x30

/** Writes JSON as UTF-8. A string of as many pieces is joined, measured and encoded once more on its way to the socket. */
export class JsonBytes {
  #slab = Buffer.allocUnsafeSlow(slabBytes)
  #start = 0
  #end = 0

  begin(): void {
    this.#end = this.#start
  }

  /** What was written since `begin`. */
  end(): Buffer {
    const text = this.#slab.subarray(this.#start, this.#end)
    this.#start = this.#end
    if (this.#slab.length > slabBytes) this.#startSlab(slabBytes)
    return text
  }

  piece(piece: Uint8Array): void {
    const bytes = this.#room(piece.length)
    const start = this.#end
    if (piece.length > loopBytesMax) bytes.set(piece, start)
    else for (let i = 0; i < piece.length; i++) bytes[start + i] = piece[i]!
    this.#end = start + piece.length
  }

  /** JSON as it is. */
  text(text: string): void {
    const bytes = this.#room(3 * text.length)
    const start = this.#end
    if (text.length <= loopCharsMax) {
      let i = 0
      for (; i < text.length; i++) {
        const code = text.charCodeAt(i)
        if (code > 0x7f) break
        bytes[start + i] = code
      }
      if (i === text.length) {
        this.#end = start + i
        return
      }
    }
    this.#end = start + bytes.write(text, start)
  }

  /** As `float32Text` writes it. */
  float32(value: number): void {
    const float = Math.fround(value)
    if (!findDecimal(Math.abs(float))) {
      this.text(float32Text(value))
      return
    }
    const { decimals } = found
    let { scaled } = found
    const bytes = this.#room(32)
    if (float < 0) bytes[this.#end++] = minus
    // Of a number below 1 the zero before the point, and those behind it, are written too.
    let digits = decimals + 1
    while (scaled >= exactPowers[digits]!) digits++
    const pointAt = this.#end + digits - decimals
    this.#end += digits + 1
    for (let at = this.#end - 1; digits > 0; at--) {
      if (at === pointAt) {
        bytes[at] = point
        continue
      }
      const rest = (scaled / 10) | 0
      bytes[at] = zero + scaled - rest * 10
      scaled = rest
      digits--
    }
  }

  /** The slab, with room for so many more bytes. */
  #room(bytes: number): Buffer {
    const length = this.#end - this.#start + bytes
    if (this.#start + length > this.#slab.length) this.#startSlab(length > slabBytes ? 2 * length : slabBytes)
    return this.#slab
  }

  #startSlab(bytes: number): void {
    const slab = Buffer.allocUnsafeSlow(bytes)
    slab.set(this.#slab.subarray(this.#start, this.#end))
    this.#slab = slab
    this.#end -= this.#start
    this.#start = 0
  }
}
