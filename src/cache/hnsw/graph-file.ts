/**
 * A graph file: what usearch saved, a JSON description, and 32 bytes that close it (magic, format version, length and
 * checksum of both). usearch writes and reads by path and does not check what it reads: a file that is cut short or has a
 * wrong edge ends the process. So nothing is loaded that does not carry the checksum given to it when it was whole.
 * Synchronous: for the graph's own thread.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { GatewayError } from '../../core/errors.js'

/** Other layouts, parameters or releases of usearch make other files: an older one is built again, not migrated. */
const graphFormatVersion = 1
const magic = Buffer.from('LGGRAPH\n', 'latin1')
const closingBytes = 32
const descriptionBytesMax = 256 * 1024 * 1024
const readBytesMax = 4 * 1024 * 1024

const corrupt = (what: string): GatewayError => new GatewayError('LG_CORRUPT', `graph file ${what}`)

/**
 * Adds description and checksums to what usearch just saved, and flushes it to disk. Answers the bytes of the whole file.
 * Throws LG_CORRUPT when usearch saved less than it should have, as on a full disk.
 */
export function sealGraphFile(path: string, description: string): number {
  const file = openSync(path, 'r+')
  try {
    const { size } = fstatSync(file)
    if (size !== savedBytes(file, size)) throw corrupt(`was saved with ${size} bytes, which is not all of it`)
    const json = Buffer.from(description, 'utf8')
    const closing = Buffer.alloc(closingBytes)
    magic.copy(closing)
    closing.writeUInt32LE(graphFormatVersion, 8)
    closing.writeUInt32LE(json.length, 12)
    closing.writeUInt32LE(checksum(file, size), 16)
    closing.writeUInt32LE(crc32(json), 20)
    closing.writeBigUInt64LE(BigInt(size), 24)
    writeFully(file, Buffer.concat([json, closing]), size)
    fsyncSync(file)
    return size + json.length + closingBytes
  } finally {
    closeSync(file)
  }
}

/** Verifies every byte; answers the description. Throws LG_CORRUPT, or what the file system says. */
export function verifyGraphFile(path: string): string {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    if (size < closingBytes) throw corrupt(`has ${size} bytes`)
    const closing = readFully(file, size - closingBytes, closingBytes)
    if (!closing.subarray(0, magic.length).equals(magic)) throw corrupt('does not end as one')
    const version = closing.readUInt32LE(8)
    if (version !== graphFormatVersion)
      throw corrupt(`has format version ${version}, this lakegate reads ${graphFormatVersion}`)
    const jsonBytes = closing.readUInt32LE(12)
    const graphBytes = Number(closing.readBigUInt64LE(24))
    if (jsonBytes > descriptionBytesMax || graphBytes + jsonBytes + closingBytes !== size)
      throw corrupt(`has ${size} bytes instead of ${graphBytes + jsonBytes + closingBytes}`)
    const json = readFully(file, graphBytes, jsonBytes)
    if (crc32(json) !== closing.readUInt32LE(20)) throw corrupt('fails the checksum of its description')
    if (checksum(file, graphBytes) !== closing.readUInt32LE(16)) throw corrupt('fails its checksum')
    return json.toString('utf8')
  } finally {
    closeSync(file)
  }
}

/**
 * Bytes that a graph saved by usearch 2 has, going by its own header: vectors, 64 bytes of head, five counts, a level a
 * node, then every node's key, level and edges (include/usearch/index_dense.hpp and index.hpp, save_to_stream).
 */
function savedBytes(file: number, size: number): number {
  const head = readUpTo(file, 0, 8)
  if (head.length < 8) return Number.NaN
  const levelsAt = 8 + head.readUInt32LE(0) * head.readUInt32LE(4) + 64 + 5 * 8
  if (levelsAt > size) return Number.NaN
  const counts = readFully(file, levelsAt - 5 * 8, 5 * 8)
  const [nodes, edges, baseEdges] = [0, 8, 16].map((at) => Number(counts.readBigUInt64LE(at))) as [
    number,
    number,
    number,
  ]
  if (levelsAt + nodes * 2 > size) return Number.NaN
  let levels = 0
  const all = readFully(file, levelsAt, nodes * 2)
  for (let node = 0; node < nodes; node++) levels += all.readInt16LE(node * 2)
  return levelsAt + nodes * (2 + 10 + 4 + 4 * baseEdges) + levels * (4 + 4 * edges)
}

/** Of the first `bytes` of a file. */
function checksum(file: number, bytes: number): number {
  let crc = 0
  for (let at = 0; at < bytes; at += readBytesMax)
    crc = crc32(readFully(file, at, Math.min(readBytesMax, bytes - at)), crc)
  return crc
}

function readFully(file: number, position: number, bytes: number): Buffer {
  const read = readUpTo(file, position, bytes)
  if (read.length < bytes) throw corrupt('ends too early')
  return read
}

function readUpTo(file: number, position: number, bytes: number): Buffer {
  const into = Buffer.allocUnsafe(bytes)
  let done = 0
  while (done < bytes) {
    const count = readSync(file, into, done, bytes - done, position + done)
    if (count === 0) break
    done += count
  }
  return into.subarray(0, done)
}

function writeFully(file: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, position + done)
}
