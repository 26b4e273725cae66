/** Says that something long is still going on: a rewritten line on a terminal, plain lines when piped. */
export interface Progress {
  done(): void
}

const firstMs = { terminal: 300, piped: 2000 } as const
const nextMs = { terminal: 250, piped: 10_000 } as const

/** Writes to stderr, and only when the work outlasts a moment. */
export function startProgress(label: string): Progress {
  const mode = process.stderr.isTTY ? 'terminal' : 'piped'
  const startedMs = performance.now()
  let shown = false
  const show = (): void => {
    const text = `${label} … ${Math.round((performance.now() - startedMs) / 1000)} s`
    process.stderr.write(mode === 'terminal' ? `\r${text}` : `${text}\n`)
    shown = true
    timer = setTimeout(show, nextMs[mode]).unref()
  }
  let timer = setTimeout(show, firstMs[mode]).unref()
  return {
    done() {
      clearTimeout(timer)
      if (shown && mode === 'terminal') process.stderr.write('\r\u001b[2K')
    },
  }
}
