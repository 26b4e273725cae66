/** ARCHITECTURE.md names a test for every law, and the test is there and says which law it checks. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const laws = [...read('ARCHITECTURE.md').matchAll(/^(\d+)\. ((?:.|\n(?!\d+\. |\n))*)/gm)].map((match) => ({
  number: Number(match[1]),
  tests: [...match[2]!.matchAll(/`(test\/[^`]+\.test\.ts)`/g)].map((named) => named[1]!),
  later: /Applies from the issue/.test(match[2]!),
}))

describe('the laws', () => {
  test('are thirteen, in order', () => {
    expect(laws.map((law) => law.number)).toEqual(Array.from({ length: 13 }, (_, i) => i + 1))
  })

  test.each(laws)('law $number names its tests', ({ number, tests, later }) => {
    if (!later) expect(tests.length).toBeGreaterThan(0)
    for (const path of tests) {
      expect(existsSync(join(root, path)), path).toBe(true)
      expect(read(path), path).toMatch(new RegExp(`law (?:\\d+ and )?${number}\\b`, 'i'))
    }
  })
})

test('law 13: every limit has a name that says its bound, and is used', () => {
  const names = [...read('src/core/limits.ts').matchAll(/^ {2}(\w+):/gm)].map((match) => match[1]!)
  expect(names.length).toBeGreaterThan(10)
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('limits.ts'))
    .map((path) => read(join('src', path)))
    .join('\n')
  for (const name of names) {
    expect(name).toMatch(/(?:Max|Default)$/)
    expect(sources, `limits.${name} is never used`).toContain(`limits.${name}`)
  }
})
