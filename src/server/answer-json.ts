/** Answers as JSON. Written by hand because every query passes here. */
import { cellToJson } from '../core/cell.js'
import type { RowId } from '../core/id.js'
import { type JsonValue, stringifyJson } from '../core/json.js'
import type { Answer, Certificate, Receipt, Result, SourceReceipt } from '../federation/answer.js'
import { decimalText, float32Text } from './float32-text.js'
import { JsonBytes, utf8 } from './json-bytes.js'

const out = new JsonBytes()

const idMember = utf8('{"id":')
const distanceMember = utf8(',"distance":')
const metadataMember = utf8(',"metadata":{')
const comma = utf8(',')
const brace = utf8('}')

/** { results, receipt? } in UTF-8 */
export function answerJson({ results, receipt }: Answer): Buffer {
  out.begin()
  out.text('{"results":[')
  for (let i = 0; i < results.length; i++) {
    if (i > 0) out.piece(comma)
    writeResult(results[i]!, results[i]!.distance)
  }
  out.text(receipt === null ? ']}' : `],"receipt":${receiptJson(receipt)}}`)
  return out.end()
}

/** A result without its distance, in UTF-8: one row that was asked for by its id. */
export function rowJson(row: Result): Buffer {
  out.begin()
  writeResult(row, null)
  return out.end()
}

/** Integers in full digits, strings as strings. */
export const idJson = (id: RowId): string => (typeof id === 'bigint' ? id.toString() : JSON.stringify(id))

/** @param distance null: it is left out */
function writeResult(result: Result, distance: number | null): void {
  out.piece(idMember)
  out.text(idJson(result.id))
  if (distance !== null) {
    out.piece(distanceMember)
    out.float32(distance)
  }
  out.piece(backendMember(result.backend))
  out.piece(collectionMember(result.collection))
  if (result.metadata !== null) writeMetadata(result.metadata)
  if (result.vector !== null) out.text(`,"vector":${vectorJson(result.vector)}`)
  out.piece(brace)
}

function writeMetadata(fields: NonNullable<Result['metadata']>): void {
  out.piece(metadataMember)
  for (let i = 0; i < fields.length; i++) {
    const { name, value, type } = fields[i]!
    if (i > 0) out.piece(comma)
    out.piece(memberName(name))
    out.text(cellToJson(value, type))
  }
  out.piece(brace)
}

/** Of collections, columns, generations and policies: the same few come with every answer. */
const nameJson = keptOf((name: string) => JSON.stringify(name))
const memberName = keptOf((name: string) => utf8(`${JSON.stringify(name)}:`))
const backendMember = keptOf((name: string) => utf8(`,"backend":${JSON.stringify(name)}`))
const collectionMember = keptOf((name: string) => utf8(`,"collection":${JSON.stringify(name)}`))

const keptMax = 1000

function keptOf<T>(make: (name: string) => T): (name: string) => T {
  const kept = new Map<string, T>()
  // Neighbours mostly are of one collection.
  let lastName: string | null = null
  let last: T
  return (name) => {
    if (name === lastName) return last
    let made = kept.get(name)
    if (made === undefined) {
      made = make(name)
      if (kept.size >= keptMax) kept.clear()
      kept.set(name, made)
    }
    lastName = name
    last = made
    return made
  }
}

const vectorJson = (vector: Float32Array): string => `[${Array.from(vector, float32Text).join(',')}]`

export function receiptJson(receipt: Receipt): string {
  let text = `{"complete":${receipt.complete}`
  if (receipt.metric !== null) text += `,"metric":"${receipt.metric}"`
  text += `,"k":${receipt.k},"certificate":${certificateJson(receipt.certificate)},"sources":[${receipt.sources.map(sourceJson).join(',')}]`
  if (receipt.request !== null) text += `,"request":${stringifyJson(receipt.request as JsonValue)}`
  if (receipt.digest !== null) text += `,"digest":"${receipt.digest}"`
  return `${text}}`
}

function certificateJson(certificate: Certificate): string {
  switch (certificate.kind) {
    case 'proven':
      return '{"kind":"proven","miss_probability":0}'
    case 'certified':
      return `{"kind":"certified","miss_probability":${certificate.missProbability}}`
    case 'target':
      return `{"kind":"target","recall_target":${certificate.recallTarget},"recall_expected":${certificate.recallExpected}}`
    case 'fused':
      return '{"kind":"fused"}'
  }
}

function sourceJson(source: SourceReceipt): string {
  const name = `{"backend":${nameJson(source.backend)},"collection":${nameJson(source.collection)},"status":"${source.status}"`
  switch (source.status) {
    case 'ok':
      return (
        `${name},"generation":${nameJson(source.generation)},"witness":"${source.witness}","rows":${source.rows},"route":"${source.route}"` +
        `,"metric":"${source.metric}","certificate":${certificateJson(source.certificate)}` +
        `,"freshness":{"checked_at":"${timeText(source.freshness.checkedAtMs)}","age_ms":${milliseconds(source.freshness.ageMs)},"policy":${nameJson(source.freshness.policy)}}` +
        `,"search_ms":${milliseconds(source.searchMs)},"wait_ms":${milliseconds(source.waitMs)},"bytes_scanned":${source.bytesScanned}}`
      )
    case 'failed':
      return `${name},"code":${JSON.stringify(source.code)},"reason":${JSON.stringify(source.reason)}${retryJson(source.retryAfterMs)}}`
    case 'skipped':
      return `${name},"reason":${JSON.stringify(source.reason)}${retryJson(source.retryAfterMs)}}`
    case 'priming':
      return `${name},"reason":"the first pull is still running"${retryJson(source.retryAfterMs)}}`
  }
}

const retryJson = (ms: number | null): string => (ms === null ? '' : `,"retry_after_ms":${Math.ceil(ms)}`)

/** Whole microseconds: what the clock can tell. */
function milliseconds(ms: number): string {
  const us = Math.round(ms * 1000)
  return us % 10 === 0 || us < 0 ? String(us / 1000) : decimalText(us, 3)
}

/** The answers of a while are of one check of a source. */
let lastTime = { ms: Number.NaN, text: '' }

function timeText(ms: number): string {
  if (ms !== lastTime.ms) lastTime = { ms, text: new Date(ms).toISOString() }
  return lastTime.text
}
