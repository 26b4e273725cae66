import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

/** A real `lakegate serve` process. Always `stop()` it. */
export interface LakegateProcess {
  readonly url: string
  readonly child: ChildProcess
  /** Everything logged so far. */
  stderr(): string
  stop(): Promise<number | null>
}

/** Starts `lakegate serve … --port 0` and resolves at its ready line; rejects with its stderr when it exits first. */
export async function startLakegate(
  args: readonly string[],
  options: {
    readonly cwd?: string
    readonly env?: Readonly<Record<string, string>>
    readonly nodeArgs?: readonly string[]
  } = {},
): Promise<LakegateProcess> {
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), main, 'serve', ...args, '--port', '0'], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const lines = createInterface({ input: child.stdout })
  const ready = once(lines, 'line').then(([line]) => String(line))
  const died = once(child, 'exit').then(([code]) => {
    throw new Error(`lakegate exited with ${code} before it was ready: ${errors}`)
  })
  const line = await Promise.race([ready, died])
  died.catch(() => undefined) // a later exit is expected, and seen by stop()
  const url = line.match(/^lakegate listening on (http:\/\/\S+)$/)?.[1]
  if (url === undefined) throw new Error(`not a ready line: ${line}`)
  return {
    url,
    child,
    stderr: () => errors,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      await exit
      return child.exitCode
    },
  }
}

/** POSTs JSON and returns status and parsed body. */
export async function post(url: string, body: unknown): Promise<{ readonly status: number; readonly body: never }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: (await response.json()) as never }
}
