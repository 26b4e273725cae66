import { constants } from 'node:fs'
import { access, mkdir, statfs } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { resolve } from 'node:path'
import { toGatewayError } from '../core/errors.js'
import { defineCommand } from './command.js'
import type { Config } from './config.js'
import { loadConfig, sourceFlags } from './load-config.js'
import { formatBytes } from './table.js'

interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly detail: string
}

const nodeMin = [20, 19] as const

/** A module with one function that returns an i8x16: valid only where WebAssembly SIMD is. */
const simdProbe = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
])

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'Check this machine, the cache directory and every source.',
  usage: '[PATH…] [FLAG…]',
  about: 'One line a check; exit code 0 when all pass, 1 otherwise. Sources are listed, not read.',
  flags: { json: { type: 'boolean', about: 'Print the findings as JSON.' }, ...sourceFlags },
  positionals: { min: 0, max: Number.POSITIVE_INFINITY, expected: 'paths' },
  async run({ flags, positionals }) {
    const config = await loadConfig(flags, positionals)
    const findings = [
      checkNode(),
      checkSimd(),
      await checkKernel(),
      await checkDuckDb(),
      checkMemory(config),
      await checkCacheDirectory(config),
      ...(await checkSources(config)),
    ]
    const text = flags.json
      ? JSON.stringify({ ok: findings.every((finding) => finding.ok), findings })
      : findings.map((finding) => `${finding.ok ? 'ok  ' : 'FAIL'}  ${finding.check}: ${finding.detail}`).join('\n')
    process.stdout.write(`${text}\n`)
    return findings.every((finding) => finding.ok) ? 0 : 1
  },
})

async function attempt(check: string, run: () => Promise<string>): Promise<Finding> {
  try {
    return { check, ok: true, detail: await run() }
  } catch (error) {
    return { check, ok: false, detail: error instanceof Error ? error.message : String(error) }
  }
}

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const ok = major > nodeMin[0] || (major === nodeMin[0] && minor >= nodeMin[1])
  return { check: 'node', ok, detail: `${process.versions.node} (needs ${nodeMin.join('.')} or newer)` }
}

function checkSimd(): Finding {
  const ok = WebAssembly.validate(simdProbe)
  return {
    check: 'WebAssembly SIMD',
    ok,
    detail: ok ? 'available' : 'this Node or processor has none; the kernel needs it',
  }
}

const checkKernel = (): Promise<Finding> =>
  attempt('kernel', async () => {
    const { hasRelaxedSimd } = await import('../cache/kernel-module.js')
    return `compiles, ${hasRelaxedSimd ? 'with' : 'without'} relaxed SIMD`
  })

const checkDuckDb = (): Promise<Finding> =>
  attempt('DuckDB', async () => {
    const { version } = await import('@duckdb/node-api')
    return `${version()} loads`
  })

function checkMemory(config: Config): Finding {
  const budget = config.cache.memoryBytesMax
  const ok = budget <= totalmem()
  const advice = ok ? '' : '; lower [cache] memory'
  return { check: 'memory', ok, detail: `budget ${formatBytes(budget)} of ${formatBytes(totalmem())}${advice}` }
}

const checkCacheDirectory = (config: Config): Promise<Finding> =>
  attempt('cache directory', async () => {
    const path = resolve(config.cache.dir)
    await mkdir(path, { recursive: true })
    await access(path, constants.R_OK | constants.W_OK)
    const { bavail, bsize } = await statfs(path)
    return `${path} can be written, ${formatBytes(bavail * bsize)} free, budget ${formatBytes(config.cache.diskBytesMax)}`
  })

/** Opens everything as `serve` would. A server that uses the cache directory is no fault: it is mentioned. */
async function checkSources(config: Config): Promise<Finding[]> {
  const { composeOnce } = await import('./compose.js')
  try {
    const { composed, heldCache } = await composeOnce(config, { logLevel: 'fatal' })
    const lock = heldCache === null ? [] : [{ check: 'cache lock', ok: true, detail: heldCache.message }]
    try {
      const signal = AbortSignal.timeout(60_000)
      const collections = await composed.gateway.collections({ signal })
      const sources = composed.gateway.sources().map((source): Finding => {
        const count = collections.filter((collection) => collection.ref.backend === source.backend).length
        const detail =
          source.error?.message ?? `${source.kind}, ${count === 1 ? '1 collection' : `${count} collections`}`
        return { check: `source ${source.backend}`, ok: source.error === null, detail }
      })
      return [...lock, ...sources]
    } finally {
      await composed.close()
    }
  } catch (error) {
    return [{ check: 'sources', ok: false, detail: toGatewayError(error).message }]
  }
}
