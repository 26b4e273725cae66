/** Frames of RVF's TCP protocol: u32 big-endian payload length, u8 type, 3-byte message id, payload. */
import { limits } from '../core/limits.js'

export const requestTypes = { query: 0x01, ingest: 0x02, delete: 0x03, status: 0x04 } as const
export const replyTypes = { query: 0x81, ingest: 0x82, delete: 0x83, status: 0x84, error: 0xff } as const

const headerBytes = 8

export interface Frame {
  readonly type: number
  /** 3 bytes, echoed in the reply. */
  readonly messageId: Uint8Array
  readonly payload: Buffer
}

/** A header, before its payload is there. After one that announces more than rvfFrameBytesMax nothing can be read. */
export interface FrameHeader {
  readonly type: 'announced' | 'oversized'
  readonly messageId: Uint8Array
  readonly payloadBytes: number
}

/** Cuts a byte stream into frames. Holds at most one unfinished frame. */
export class FrameDecoder {
  #chunks: Buffer[] = []
  #bytes = 0
  /** The header of the unfinished frame has been shown. */
  #announced = false;

  /** Takes a chunk and yields the headers and frames that it completes; ends after an oversized one. */
  *push(chunk: Buffer): Generator<Frame | FrameHeader> {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes >= headerBytes) {
      const header = this.#peekHeader()
      const payloadBytes = header.readUInt32BE(0)
      const messageId = Uint8Array.from(header.subarray(5, 8))
      if (payloadBytes > limits.rvfFrameBytesMax) {
        yield { type: 'oversized', messageId, payloadBytes }
        return
      }
      if (!this.#announced) {
        this.#announced = true
        yield { type: 'announced', messageId, payloadBytes }
      }
      if (this.#bytes < headerBytes + payloadBytes) return
      this.#announced = false
      const all = this.#joined()
      const end = headerBytes + payloadBytes
      this.#chunks = all.length === end ? [] : [all.subarray(end)]
      this.#bytes = all.length - end
      yield { type: all[4]!, messageId, payload: all.subarray(headerBytes, end) }
    }
  }

  #peekHeader(): Buffer {
    return this.#chunks[0]!.length >= headerBytes ? this.#chunks[0]! : this.#joined()
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#bytes)]
    return this.#chunks[0]!
  }
}

/** @param messageId 3 bytes */
export function encodeFrame(type: number, messageId: Uint8Array, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + payload.length)
  frame.writeUInt32BE(payload.length, 0)
  frame[4] = type
  frame.set(messageId, 5)
  frame.set(payload, headerBytes)
  return frame
}

/** code u16le, length u16le, UTF-8 text. */
export function encodeError(code: number, message: string): Buffer {
  const text = Buffer.from(message).subarray(0, 0xffff)
  const payload = Buffer.allocUnsafe(4 + text.length)
  payload.writeUInt16LE(code, 0)
  payload.writeUInt16LE(text.length, 2)
  payload.set(text, 4)
  return payload
}
