/** A violation that an audit has kept, asked again. */
import type { JsonValue } from '../core/json.js'
import { limits } from '../core/limits.js'
import { misuse } from './command.js'
import { type Connection, expectOk } from './connection.js'

/** What is needed of src/federation/reproducer.ts's file. */
interface Reproducer {
  readonly request: { readonly [key: string]: JsonValue }
  readonly segments: readonly { readonly codebook: string | null }[]
}

interface AuditedCollection {
  readonly claimed: JsonValue
  readonly rows_read: number
  readonly missed: number
  readonly wrong: readonly { readonly hit: number; readonly reason: string }[]
  readonly expected: readonly JsonValue[]
  readonly codebooks: readonly string[]
}

export interface Replayed {
  readonly reply: JsonValue
  readonly text: string
  readonly broken: boolean
}

/** @param value the file's content; `path` is for messages */
export async function replay(value: JsonValue, path: string, connection: Connection): Promise<Replayed> {
  const { request, segments } = readReproducer(value, path)
  const reply = expectOk(await connection.ask('POST', '/v1/audit', { ...request, deadline_ms: limits.deadlineMsMax }))
  const { broken, collections } = reply as unknown as {
    readonly broken: boolean
    readonly collections: readonly AuditedCollection[]
  }
  const before = new Set(segments.flatMap(({ codebook }) => codebook ?? []))
  const isOther = collections.some(({ codebooks }) => codebooks.some((codebook) => !before.has(codebook)))
  const text = [
    ...collections.map(describe),
    ...(isOther ? ['the index has other codes than then: not seeing it again does not mean that it was none'] : []),
    broken ? 'the answer breaks its certificate' : 'the answer does not break its certificate',
  ].join('\n')
  return { reply, text, broken }
}

function readReproducer(value: JsonValue, path: string): Reproducer {
  const { request, segments } = (value ?? {}) as unknown as Partial<Reproducer>
  if (request === undefined || !isObject(request) || !Array.isArray(segments) || !segments.every(isObject))
    throw misuse(`${path}: expected a reproducer as an audit writes it, with request and segments`)
  return { request, segments }
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)

function describe({ claimed, rows_read, missed, wrong, expected }: AuditedCollection): string {
  const claim = typeof claimed === 'string' ? claimed : JSON.stringify(claimed)
  return [
    `claimed ${claim}; compared with ${rows_read} rows: ${missed} of the ${expected.length} nearest are missing`,
    ...wrong.map(({ hit, reason }) => `hit ${hit}: ${reason}`),
  ].join('\n')
}
