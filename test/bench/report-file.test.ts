import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { checkWritable, readReportFile } from '../../bench/report-file.js'

const directory = mkdtempSync(join(tmpdir(), 'lakegate-report-'))
afterAll(() => rmSync(directory, { recursive: true }))

const path = join(directory, 'report.json')

test.each([
  ['null', 'expected a report of bench search, found suite undefined'],
  ['{"suite": "search"}', 'expected a report of bench search'],
  ['{"suite": "table", "runs": {}}', 'found suite "table"'],
  ['{', 'expected JSON'],
])('an earlier report of %s is refused by its path', (text, message) => {
  writeFileSync(path, text)
  expect(() => readReportFile(path, 'search', 'rows')).toThrow(message)
  expect(() => readReportFile(path, 'search', 'rows')).toThrow(path)
})

test('so is one that is not there, and a place that nothing can be written to, before anything is measured', () => {
  const missing = join(directory, 'none', 'report.json')
  expect(() => readReportFile(missing, 'search', 'rows')).toThrow(`${missing}: cannot be read (ENOENT)`)
  expect(() => checkWritable(missing)).toThrow(`${missing}: cannot be written (ENOENT)`)
  checkWritable(path)
})

test('a report of the suite is read as it was written', () => {
  writeFileSync(path, '{"suite": "search", "rows": [1.5]}')
  expect(readReportFile(path, 'search', 'rows')).toEqual({ suite: 'search', rows: [1.5] })
})
