/**
 * Where keys stand in a TOML text. smol-toml gives lines for syntax errors only; a problem with a value must name its
 * line too. Reads a text that is known to be valid TOML.
 */

const header = /^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$/
const assignment = /^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=\s*(.*)$/

const plain = (key: string): string =>
  key
    .split('.')
    .map((part) => part.trim().replace(/^(["'])(.*)\1$/, '$2'))
    .join('.')

/** Line numbers (from 1) by path: `server`, `server.port`, `source[0]`, `source[0].uri`. */
export function locateKeys(toml: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>()
  const counts = new Map<string, number>()
  const note = (path: string, line: number): void => {
    if (!lines.has(path)) lines.set(path, line)
  }
  let section = ''
  let openQuote: string | null = null
  let depth = 0
  for (const [index, line] of toml.split(/\r?\n/).entries()) {
    if (openQuote !== null) {
      if (line.includes(openQuote)) openQuote = null
      continue
    }
    const table = depth === 0 ? header.exec(line) : null
    if (table !== null) {
      section = plain(table[2]!)
      note(section, index + 1)
      if (table[1] === '[[') {
        const count = counts.get(section) ?? 0
        counts.set(section, count + 1)
        section = `${section}[${count}]`
        note(section, index + 1)
      }
      continue
    }
    const key = depth === 0 ? assignment.exec(line) : null
    if (key !== null) {
      const path = section === '' ? plain(key[1]!) : `${section}.${plain(key[1]!)}`
      for (let dot = path.indexOf('.'); dot !== -1; dot = path.indexOf('.', dot + 1))
        note(path.slice(0, dot), index + 1)
      note(path, index + 1)
    }
    const value = key?.[2] ?? line
    for (const quote of ['"""', "'''"]) if (value.split(quote).length % 2 === 0) openQuote = quote
    const bare = value.replace(/"(?:[^"\\]|\\.)*"|'[^']*'/g, '').replace(/#.*$/, '')
    depth += bare.split('[').length - bare.split(']').length
  }
  return lines
}
