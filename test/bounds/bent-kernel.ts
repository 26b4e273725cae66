/**
 * The kernel with every bound multiplied by a factor that a test sets: built from a copy of its source, it takes the place of
 * the real one in whatever is imported after this module. A bound that moved in the source stops the build by name.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Where a bound is computed: `from`, which occurs once in `file`, with the factor in as `B` becomes `to`. */
interface Place {
  readonly file: string
  readonly from: string
  readonly to: string
}

const place = (file: string, from: string, to: string): Place => ({ file, from, to })

/** What a row is ruled out by (docs/rounding.md); below 1, each factor rules out more than is proven. */
export const bounds = {
  'residual of 8-bit codes': [place('encode.ts', 'roundUp(residual)', 'roundUp(residual * B)')],
  'limit of 8-bit codes': [place('limits.ts', 'roundUp(reach + integerError)', 'roundUp(reach * B + integerError)')],
  'ceiling of 8-bit codes': [place('scan-bytes.ts', 'limitTo(ceiling())', 'limitTo(ceiling() * B)')],
  'error of 1-bit codes': [place('limits.ts', 'share * bitTail * distance', 'B * share * bitTail * distance')],
  'limit of 1-bit codes': [place('limits.ts', 'bitLimit = roundUp(square)', 'bitLimit = roundUp(square * B)')],
  'error of prefixes': [place('prefix.ts', 'roundUp(errors)', 'roundUp(errors * B)')],
  'limit of prefixes': [place('limits.ts', 'roundUp(reach + prefixError)', 'roundUp(reach * B + prefixError)')],
  'rests of prefixes': [
    place(
      'scan-prefixes.ts',
      'f32x4.sub(queryRest, v128.load(record, prefixRestsAt))',
      'f32x4.mul(f32x4.splat(<f32>(1 / B)), f32x4.sub(queryRest, v128.load(record, prefixRestsAt)))',
    ),
  ],
  'rests of prefix products': [
    place(
      'scan-prefixes.ts',
      'f32x4.mul(queryRest, v128.load(record, prefixRestsAt))',
      'f32x4.mul(f32x4.splat(<f32>B), f32x4.mul(queryRest, v128.load(record, prefixRestsAt)))',
    ),
  ],
  'errors of prefix products': [
    place('scan-prefixes.ts', 'f32x4.mul(weight, errors)', 'f32x4.mul(f32x4.splat(<f32>B), f32x4.mul(weight, errors))'),
  ],
  'limit of cells': [place('cells.ts', 'reach + pointError + rowError', 'reach * B + pointError + rowError')],
  'distances of cells': [
    place(
      'cells.ts',
      'f32x4.max(f32x4.splat(0), f32x4.max(below, above))',
      'f32x4.mul(f32x4.splat(<f32>(1 / B)), f32x4.max(f32x4.splat(0), f32x4.max(below, above)))',
    ),
  ],
  'reach of clusters': [place('arrange.ts', 'roundUp(radius + slack)', 'roundUp((radius + slack) * B)')],
  'limit of clusters': [
    place('limits.ts', '(square)\n  reachLimit = roundUp(reach)', '(square)\n  reachLimit = roundUp(reach * B)'),
  ],
  'windows of clusters': [
    place('clusters.ts', 'nearest - reach - slack', 'nearest - B * reach - slack'),
    place('clusters.ts', 'farthest + reach + slack', 'farthest + B * reach + slack'),
    place('clusters.ts', '(nearest - reach) / framedNormHigh', '(nearest - reach) / (framedNormHigh * B)'),
  ],
  'distance of centroids': [
    place('clusters.ts', '<f32>(1 - relative - 8 * unit)', '<f32>((1 - relative - 8 * unit) / B)'),
    place('clusters.ts', 'nearestCode - integerError', 'nearestCode / B - integerError'),
  ],
  'limit of float32 distances': [
    place('limits.ts', '(square + directSlack) * directScale', '(square + directSlack) * directScale * B'),
    place('limits.ts', 'threshold + rounding64 + directSlack', '(threshold + rounding64 + directSlack) * B'),
  ],
} as const satisfies Readonly<Record<string, readonly Place[]>>

export type BoundName = keyof typeof bounds

const names = Object.keys(bounds) as BoundName[]
const factorOf = (name: BoundName): string => `factor${names.indexOf(name)}`

function build(): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bent-'))
  try {
    const kernel = join(directory, 'kernel')
    cpSync(join(root, 'src/cache/kernel'), kernel, { recursive: true })
    const change = (file: string, edit: (text: string) => string): void =>
      writeFileSync(join(kernel, file), edit(readFileSync(join(kernel, file), 'utf8')))
    for (const name of names)
      for (const { file, from, to } of bounds[name])
        change(file, (text) => {
          if (text.split(from).length !== 2)
            throw new Error(`${file}: expected "${from}" (${name}) once: say where the bound is now`)
          const factor = factorOf(name)
          const loaded = text.includes(`import { ${factor} }`) ? '' : `import { ${factor} } from './factors'\n`
          return loaded + text.replace(from, to.replace(/\bB\b/, factor))
        })
    writeFileSync(join(kernel, 'factors.ts'), names.map((name) => `export let ${factorOf(name)}: f64 = 1\n`).join(''))
    change('index.ts', (text) => `${text}export { ${names.map(factorOf).join(', ')} } from './factors'\n`)
    const out = join(directory, 'kernel.wasm')
    execFileSync(
      process.execPath,
      [
        join(root, 'node_modules/assemblyscript/bin/asc.js'),
        join(kernel, 'index.ts'),
        '--config',
        join(root, 'asconfig.json'),
        '--outFile',
        out,
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    )
    return readFileSync(out)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const factors = new Map<BoundName, number>()
const bent = new WebAssembly.Module(build())
const { Instance } = WebAssembly

// The kernel is the only WebAssembly here: compiled once, instantiated once an arena.
Object.assign(WebAssembly, {
  Module: function instead() {
    return bent
  },
  Instance: function withFactors(...[, imports]: ConstructorParameters<typeof Instance>) {
    const instance = new Instance(bent, imports)
    const globals = instance.exports as Readonly<Record<string, { value: number }>>
    for (const [name, factor] of factors) globals[factorOf(name)]!.value = factor
    return instance
  },
})

/** Kernels of arenas made from now on have this bound, and only this one, multiplied by `factor`. Null: none. */
export function bend(name: BoundName | null, factor = 0.9): void {
  factors.clear()
  if (name !== null) factors.set(name, factor)
}
