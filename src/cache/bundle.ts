import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.js'
import { parseJson } from '../core/json.js'
import { limits } from '../core/limits.js'
import { nodeFileSystem, wholeFile, writeDurably } from './file-system.js'
import { statedRerankFactor, statedRotationSeed, witness } from './witness.js'

/** What a witness covers of a table. */
interface NamedTable {
  readonly dataRef: string
  readonly dimension: number
  readonly generation: string
}

/** ruLake's description of a cached table, published beside the source. */
interface Bundle extends NamedTable {
  readonly piiPolicy: string | null
}

export const bundleName = 'table.rulake.json'
const formatVersion = 2

export const bundleWitness = ({ dataRef, dimension, generation }: NamedTable): string =>
  witness({ dataRef, dimension, generation, rotationSeed: statedRotationSeed, rerankFactor: statedRerankFactor })

/** Writes table.rulake.json into `directory`, whole or not at all. Throws LG_TOO_LARGE. */
export async function writeBundle(directory: string, bundle: Bundle, signal: AbortSignal): Promise<void> {
  for (const [name, text] of [
    ['data_ref', bundle.dataRef],
    ['generation', bundle.generation],
    ['pii_policy', bundle.piiPolicy ?? ''],
  ] as const) {
    const bytes = Buffer.byteLength(text, 'utf8')
    if (bytes > limits.bundleStringBytesMax)
      throw new GatewayError(
        'LG_TOO_LARGE',
        `${bundleName}: ${name} may have ${limits.bundleStringBytesMax} bytes, this one has ${bytes}`,
        { field: name },
      )
  }
  const json = {
    format_version: formatVersion,
    data_ref: bundle.dataRef,
    dim: bundle.dimension,
    rotation_seed: Number(statedRotationSeed),
    rerank_factor: Number(statedRerankFactor),
    generation: bundle.generation,
    rvf_witness: bundleWitness(bundle),
    ...(bundle.piiPolicy !== null && { pii_policy: bundle.piiPolicy }),
  }
  const bytes = Buffer.from(`${JSON.stringify(json, null, 2)}\n`, 'utf8')
  try {
    await writeDurably(nodeFileSystem, join(directory, bundleName), wholeFile(bytes), signal)
  } catch (cause) {
    if (signal.aborted) throw cause
    throw new GatewayError('LG_SOURCE_UNAVAILABLE', `${bundleName} could not be written into ${directory}`, { cause })
  }
}

/**
 * The witness a bundle file states, verified against its own fields; null when there is no file.
 * `path`: of the file or its directory. Throws LG_CORRUPT for a file that is not a bundle.
 */
export async function readBundleWitness(path: string): Promise<string | null> {
  const bytes = await readBounded(path.endsWith('.json') ? path : join(path, bundleName))
  if (bytes === null) return null
  const fields = parseObject(bytes)
  const version = fields.format_version
  if (version !== formatVersion) throw wrong('format_version', String(formatVersion), version)
  const stated = text(fields, 'rvf_witness')
  const computed = witness({
    dataRef: text(fields, 'data_ref'),
    dimension: Number(unsigned(fields, 'dim')),
    rotationSeed: unsigned(fields, 'rotation_seed'),
    rerankFactor: unsigned(fields, 'rerank_factor'),
    generation: typeof fields.generation === 'string' ? text(fields, 'generation') : unsigned(fields, 'generation'),
  })
  for (const name of ['pii_policy', 'lineage_id', 'memory_class'])
    if (fields[name] !== undefined && fields[name] !== null) text(fields, name)
  if (stated !== computed)
    throw new GatewayError('LG_CORRUPT', `${bundleName}: rvf_witness is ${stated}, its fields give ${computed}`, {
      field: 'rvf_witness',
    })
  return stated
}

/** Reads no more than a bundle may have, whatever the file's size says; null when there is no file. */
async function readBounded(path: string): Promise<Buffer | null> {
  const buffer = Buffer.alloc(limits.bundleBytesMax + 1)
  let length = 0
  try {
    const file = await open(path, 'r')
    try {
      while (length < buffer.length) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
        if (bytesRead === 0) return buffer.subarray(0, length)
        length += bytesRead
      }
    } finally {
      await file.close()
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new GatewayError('LG_SOURCE_UNAVAILABLE', `${bundleName} at ${path} could not be read`, { cause })
  }
  throw new GatewayError('LG_CORRUPT', `${bundleName}: expected at most ${limits.bundleBytesMax} bytes, found more`)
}

function parseObject(bytes: Buffer): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = parseJson(bytes, bundleName)
  } catch (cause) {
    throw new GatewayError('LG_CORRUPT', `${bundleName}: expected JSON in UTF-8`, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new GatewayError('LG_CORRUPT', `${bundleName}: expected a JSON object`)
  return value as Record<string, unknown>
}

function text(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = fields[name]
  const expected = `a string of at most ${limits.bundleStringBytesMax} bytes`
  if (typeof value !== 'string') throw wrong(name, expected, value)
  if (Buffer.byteLength(value, 'utf8') > limits.bundleStringBytesMax) throw wrong(name, expected, 'a longer one')
  return value
}

function unsigned(fields: Readonly<Record<string, unknown>>, name: string): bigint {
  const value = fields[name]
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value)
  if (typeof value === 'bigint' && value >= 0n && value < 2n ** 64n) return value
  throw wrong(name, 'an unsigned 64-bit integer', value)
}

const wrong = (name: string, expected: string, found: unknown): GatewayError =>
  new GatewayError('LG_CORRUPT', `${bundleName}: ${name}: expected ${expected}, found ${describe(found)}`, {
    field: name,
  })

const describe = (value: unknown): string =>
  (value === undefined ? 'nothing' : typeof value === 'object' ? 'an object or null' : String(value)).slice(0, 64)
