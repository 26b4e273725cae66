import { createHash } from 'node:crypto'

export interface WitnessFields {
  readonly dataRef: string
  readonly dimension: number
  readonly rotationSeed: bigint
  readonly rerankFactor: bigint
  /** A number and its decimal text are different generations to ruLake. */
  readonly generation: bigint | string
}

/**
 * The rotation seed and rerank factor that lakegate's witnesses state: constants. ruLake means by them what its index
 * was built with; ours reranks by bounds instead of a factor, and publishing the real seed of a rotation would end the
 * secrecy that a certificate's probability rests on (law 6).
 */
export const statedRotationSeed = 42n
export const statedRerankFactor = 20n

const u64le = (value: bigint | number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/**
 * ruLake's name for a cached table, hex: SHAKE-256 over its bundle's fields. It covers neither columns nor reader, so it
 * names things for people and is never a cache key. Format: docs/guides/cache.md.
 */
export function witness(fields: WitnessFields): string {
  const dataRef = Buffer.from(fields.dataRef, 'utf8')
  const generation =
    typeof fields.generation === 'bigint'
      ? Buffer.concat([Buffer.of(0), u64le(fields.generation)])
      : Buffer.concat([Buffer.of(1), Buffer.from(fields.generation, 'utf8')])
  return createHash('shake256', { outputLength: 32 })
    .update('rulake-bundle-witness-v1|')
    .update(u64le(dataRef.length))
    .update(dataRef)
    .update('|')
    .update(u64le(fields.dimension))
    .update(u64le(fields.rotationSeed))
    .update(u64le(fields.rerankFactor))
    .update('|')
    .update(u64le(generation.length))
    .update(generation)
    .digest('hex')
}
