import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { settings, sourceSettings } from '../../src/cli/config-table.js'

const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')

/** Rows of the table below a heading. */
const rowsBelow = (heading: string): string[] =>
  (page.split(`## ${heading}\n`)[1] ?? '')
    .split('\n\n')[0]!
    .split('\n')
    .slice(2)
    .filter((line) => line !== '')

const row = (setting: { readonly key: string; readonly shown: string; readonly about: string }): string =>
  `| \`${setting.key}\` | \`${setting.shown}\` | ${setting.about} |`

test.each(Object.entries(settings))('docs/configuration.md: [%s] is the table the parser follows', (section, table) => {
  expect(rowsBelow(`[${section}]`)).toEqual(Object.values(table).map(row))
})

test('docs/configuration.md: [[source]] is the table the parser follows', () => {
  expect(rowsBelow('[[source]]')).toEqual(sourceSettings.map(row))
})
