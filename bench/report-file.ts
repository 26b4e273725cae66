/** Files of reports: read whole or refused, and refused before measuring where they could not be written after it. */
import { accessSync, constants, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseJson } from '#lakegate/core/json.js'
import { refusal } from './refusal.js'

/** Refuses a file that cannot be read, or that is no report of this suite: one that holds `member`. */
export function readReportFile<T>(path: string, suite: string, member: 'rows' | 'runs'): T {
  const found = parseJson(readText(path), path) as Partial<Record<'suite' | 'rows' | 'runs', unknown>> | null
  if (found?.suite !== suite || found[member] === undefined)
    throw refusal(`${path}: expected a report of bench ${suite}, found suite ${JSON.stringify(found?.suite)}`)
  return found as T
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw refusal(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** Refuses a path in a directory that is not there or not writable. */
export function checkWritable(path: string): void {
  try {
    accessSync(dirname(path), constants.W_OK)
  } catch (error) {
    throw refusal(`${path}: cannot be written (${(error as NodeJS.ErrnoException).code})`)
  }
}
