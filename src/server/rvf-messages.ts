/** Payloads of RVF's TCP messages. All numbers are little-endian. */
import { GatewayError } from '../core/errors.js'
import type { RowId } from '../core/id.js'
import { limits } from '../core/limits.js'
import type { Result } from '../federation/answer.js'
import type { WritableStatus } from '../federation/gateway.js'
import { readVectorBytes, refusal } from './request-fields.js'
import type { IngestRows } from './rvf-write.js'

/** An error with the code and words of an RVF server. */
export class RvfMessageError extends Error {
  override readonly name = 'RvfMessageError'
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

const tooShort = (code: number, what: string): RvfMessageError =>
  new RvfMessageError(code, `payload too short for ${what}`)

/** k u32, dimension u32, f32 * dimension */
export function decodeQuery(payload: Buffer): { readonly k: number; readonly vector: Float32Array } {
  if (payload.length < 8) throw tooShort(0x0200, 'query')
  const dimension = payload.readUInt32LE(4)
  if (payload.length < 8 + dimension * 4) throw tooShort(0x0200, 'vector data')
  return { k: payload.readUInt32LE(0), vector: readVectorBytes(payload.subarray(8, 8 + dimension * 4), 'vector') }
}

/** count u32, dimension u16, (id u64, f32 * dimension) * count */
export function decodeIngest(payload: Buffer): IngestRows {
  if (payload.length < 6) throw tooShort(0x0300, 'ingest header')
  const count = payload.readUInt32LE(0)
  const dimension = payload.readUInt16LE(4)
  const rowBytes = 8 + dimension * 4
  if (payload.length < 6 + count * rowBytes) throw tooShort(0x0300, 'ingest data')
  if (dimension > limits.dimensionMax)
    throw refusal(
      'LG_TOO_LARGE',
      'dimension',
      `expected at most ${limits.dimensionMax} (the limit dimensionMax), found ${dimension}`,
    )
  const ids: RowId[] = []
  const vectors: Float32Array[] = []
  for (let i = 0; i < count; i++) {
    const at = 6 + i * rowBytes
    ids.push(payload.readBigUInt64LE(at))
    vectors.push(readVectorBytes(payload.subarray(at + 8, at + rowBytes), `vectors[${i}]`))
  }
  return { ids, vectors, metadata: null }
}

/** count u32, id u64 * count */
export function decodeDelete(payload: Buffer): readonly RowId[] {
  if (payload.length < 4) throw tooShort(0x0300, 'delete')
  const count = payload.readUInt32LE(0)
  if (payload.length < 4 + count * 8) throw tooShort(0x0300, 'delete ids')
  return Array.from({ length: count }, (_, i) => payload.readBigUInt64LE(4 + i * 8))
}

/** count u32, (id u64, distance f32) * count */
export function encodeResults(results: readonly Result[]): Buffer {
  const payload = Buffer.allocUnsafe(4 + results.length * 12)
  payload.writeUInt32LE(results.length, 0)
  for (const [i, { id, distance }] of results.entries()) {
    if (typeof id !== 'bigint' || id < 0n)
      throw new GatewayError(
        'LG_UNSUPPORTED',
        `id ${typeof id === 'bigint' ? id : JSON.stringify(id)}: RVF messages hold only unsigned 64-bit ids; ask over HTTP`,
        { field: 'id' },
      )
    payload.writeBigUInt64LE(id, 4 + i * 12)
    payload.writeFloatLE(distance, 12 + i * 12)
  }
  return payload
}

/** accepted u64, rejected u64, epoch u32 */
export function encodeIngested(reply: { accepted: number; rejected: number; epoch: number }): Buffer {
  const payload = Buffer.allocUnsafe(20)
  payload.writeBigUInt64LE(BigInt(reply.accepted), 0)
  payload.writeBigUInt64LE(BigInt(reply.rejected), 8)
  payload.writeUInt32LE(reply.epoch >>> 0, 16)
  return payload
}

/** deleted u64, epoch u32 */
export function encodeDeleted(reply: { deleted: number; epoch: number }): Buffer {
  const payload = Buffer.allocUnsafe(12)
  payload.writeBigUInt64LE(BigInt(reply.deleted), 0)
  payload.writeUInt32LE(reply.epoch >>> 0, 8)
  return payload
}

/** epoch u32, vectors u64, segments u32, file size u64, profile u8, read-only u8 */
export function encodeStatus(status: WritableStatus): Buffer {
  const payload = Buffer.alloc(26)
  payload.writeUInt32LE(status.currentEpoch >>> 0, 0)
  payload.writeBigUInt64LE(BigInt(status.totalVectors), 4)
  payload.writeUInt32LE(status.totalSegments >>> 0, 12)
  payload.writeBigUInt64LE(BigInt(status.fileSize), 16)
  payload[25] = status.readOnly ? 1 : 0
  return payload
}
