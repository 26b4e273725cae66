/** Answers as JSON text. Written by hand because every query passes here. */
import { cellToJson } from '../core/cell.js'
import type { RowId } from '../core/id.js'
import { type JsonValue, stringifyJson } from '../core/json.js'
import type { Answer, Certificate, Receipt, Result, SourceReceipt } from '../federation/answer.js'
import { decimalText, float32Text } from './float32-text.js'

/** { results, receipt? } */
export function answerJson({ results, receipt }: Answer): string {
  let text = '{"results":['
  let before: Result | null = null
  let place = ''
  for (const result of results) {
    // Neighbours mostly are of one collection.
    if (before?.collection !== result.collection || before.backend !== result.backend)
      place = `,"backend":${nameJson(result.backend)},"collection":${nameJson(result.collection)}`
    text += before === null ? resultJson(result, place) : `,${resultJson(result, place)}`
    before = result
  }
  return receipt === null ? `${text}]}` : `${text}],"receipt":${receiptJson(receipt)}}`
}

/** Integers in full digits, strings as strings. */
export const idJson = (id: RowId): string => (typeof id === 'bigint' ? id.toString() : JSON.stringify(id))

/** @param place backend and collection as further members */
function resultJson(result: Result, place: string): string {
  let text = `{"id":${idJson(result.id)},"distance":${float32Text(result.distance)}${place}`
  if (result.metadata !== null) text += `,"metadata":${metadataJson(result.metadata)}`
  if (result.vector !== null) text += `,"vector":${vectorJson(result.vector)}`
  return `${text}}`
}

export function metadataJson(fields: NonNullable<Result['metadata']>): string {
  let text = '{'
  for (let i = 0; i < fields.length; i++) {
    const { name, value, type } = fields[i]!
    text += `${i === 0 ? '' : ','}${nameJson(name)}:${cellToJson(value, type)}`
  }
  return `${text}}`
}

/** Of collections, columns, generations and policies: the same few come with every answer. */
const nameTexts = new Map<string, string>()
const nameTextsMax = 1000

function nameJson(name: string): string {
  let text = nameTexts.get(name)
  if (text === undefined) {
    text = JSON.stringify(name)
    if (nameTexts.size >= nameTextsMax) nameTexts.clear()
    nameTexts.set(name, text)
  }
  return text
}

export const vectorJson = (vector: Float32Array): string => `[${Array.from(vector, float32Text).join(',')}]`

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
