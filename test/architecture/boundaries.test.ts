/** Who may import whom (design: core <- adapters, cache <- federation <- server <- cli), types included, and no cycles. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Import {
  readonly from: string
  /** Path below the root for our own modules, package name for others. */
  readonly to: string
  readonly own: boolean
  readonly typeOnly: boolean
}

/** What each folder of src/ may import besides itself: folders, or single files. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  core: [],
  adapters: ['core'],
  cache: ['core'],
  lake: ['core'],
  federation: ['core', 'cache', 'adapters/adapter.ts'],
  server: ['federation', 'core'],
  cli: ['core', 'adapters', 'cache', 'lake', 'federation', 'server'],
}
/** Allowed as types only. */
const allowedTypes: Readonly<Record<string, readonly string[]>> = { cache: ['adapters/adapter.ts'] }

const clause = /(?:[\w$*\s,]*?)(?:\{[^}]*\})?\s*/.source
const statement = new RegExp(
  `(?:^|\\n)\\s*(?:import|export)\\b(\\s+type\\b)?${clause}\\bfrom\\s*'([^']+)'` +
    `|(?:^|\\n)\\s*import\\s*'([^']+)'|\\bimport\\(\\s*'([^']+)'\\s*\\)`,
  'g',
)

function importsOf(file: string, text: string): Import[] {
  return [...text.matchAll(statement)].map((match) => {
    const target = match[2] ?? match[3] ?? match[4]!
    const own = target.startsWith('.')
    const to = own
      ? normalize(join(dirname(file), target))
          .split(sep)
          .join('/')
          .replace(/(?:\.js)?$/, '.ts') // the kernel's compiler wants no extension
      : target
    return { from: file, to, own, typeOnly: match[1] !== undefined }
  })
}

function modulesBelow(directory: string): string[] {
  return readdirSync(join(root, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
}

/** The edges that the table forbids, as `from -> to`. */
function forbidden(imports: readonly Import[]): string[] {
  return imports.flatMap((edge) => {
    const folder = edge.from.split('/')[1]!
    const text = `${edge.from} -> ${edge.to}`
    if (!edge.own) return folder === 'core' && !edge.typeOnly ? [text] : []
    if (!edge.to.startsWith('src/')) return [text]
    const target = edge.to.slice('src/'.length)
    if (target.startsWith(`${folder}/`)) return []
    const grants = [...(allowed[folder] ?? []), ...(edge.typeOnly ? (allowedTypes[folder] ?? []) : [])]
    return grants.some((grant) => target === grant || target.startsWith(`${grant}/`)) ? [] : [text]
  })
}

/** The first import cycle found, as the modules on it, or null. */
function findCycle(imports: readonly Import[]): string[] | null {
  const edges = new Map<string, string[]>()
  for (const edge of imports) if (edge.own) edges.set(edge.from, [...(edges.get(edge.from) ?? []), edge.to])
  const done = new Set<string>()
  const path: string[] = []
  const visit = (module: string): string[] | null => {
    if (done.has(module)) return null
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module]
    path.push(module)
    for (const next of edges.get(module) ?? []) {
      const cycle = visit(next)
      if (cycle !== null) return cycle
    }
    path.pop()
    done.add(module)
    return null
  }
  for (const module of edges.keys()) {
    const cycle = visit(module)
    if (cycle !== null) return cycle
  }
  return null
}

describe('folders and directions', () => {
  const modules = modulesBelow('src')
  const imports = modules.flatMap((file) => importsOf(file, readFileSync(join(root, file), 'utf8')))

  test('the scan saw modules and imports', () => {
    expect(modules.length).toBeGreaterThan(10)
    expect(imports.filter((edge) => edge.own).length).toBeGreaterThan(20)
    for (const file of modules) expect(Object.keys(allowed), file).toContain(file.split('/')[1])
  })

  test('every own import names a module that exists', () => {
    const known = new Set(modules)
    expect(imports.filter((edge) => edge.own && edge.to.endsWith('.ts') && !known.has(edge.to))).toEqual([])
  })

  test('no folder imports what its place forbids', () => {
    expect(forbidden(imports)).toEqual([])
  })

  test('no cycles', () => {
    expect(findCycle(imports)).toBeNull()
  })

  test('a forbidden edge of every form is seen', () => {
    const forms = [
      "import { a } from '../server/app.js'",
      "import type { A } from '../server/app.js'",
      "import {\n  a,\n  b,\n} from '../server/app.js'",
      "export { a } from '../server/app.js'",
      "export * from '../server/app.js'",
      "import '../server/app.js'",
      "const a = await import('../server/app.js')",
      "import a from 'some-package'",
    ]
    for (const form of forms) expect(forbidden(importsOf('src/core/a.ts', form)), form).toHaveLength(1)
    expect(forbidden(importsOf('src/core/a.ts', "import type { B } from 'some-package'"))).toEqual([])
    const value = "import { a } from '../adapters/adapter.js'"
    expect(forbidden(importsOf('src/cache/a.ts', value))).toHaveLength(1)
    expect(forbidden(importsOf('src/cache/a.ts', value.replace('import', 'import type')))).toEqual([])
  })

  test('a cycle is seen', () => {
    const cycle = [
      ...importsOf('src/core/a.ts', "import { b } from './b.js'"),
      ...importsOf('src/core/b.ts', "import type { A } from './a.js'"),
    ]
    expect(findCycle(cycle)).toEqual(['src/core/a.ts', 'src/core/b.ts', 'src/core/a.ts'])
  })
})
