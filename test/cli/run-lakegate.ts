import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Written when something takes long, which on a busy machine anything may. */
const progressLine = /^.* … \d+ s\n/gm

/**
 * Runs the built command line to its end. Variables LAKEGATE_… of this process are not passed on, and lines of progress not
 * handed back.
 */
export async function runLakegate(
  args: readonly string[],
  options: {
    readonly cwd?: string
    readonly stdin?: string
    readonly environment?: Readonly<Record<string, string>>
  } = {},
): Promise<Finished> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('LAKEGATE_'))
  const child = spawn(process.execPath, [main, ...args], {
    cwd: options.cwd,
    env: { ...Object.fromEntries(inherited), ...options.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined) // it may exit without reading
  child.stdin.end(options.stdin ?? '')
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await exited, stdout, stderr: stderr.replace(progressLine, '') }
}
