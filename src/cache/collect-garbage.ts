import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** V8 has the function in contexts made while the flag is set. It stays set: it is of the process, and other threads may be looking too. */
function findCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}

let collect: (() => void) | null = null

/**
 * Collects this thread's garbage now, which takes milliseconds: shared memories are no pressure that V8 would notice by
 * itself, however large they are.
 */
export function collectGarbage(): void {
  collect ??= findCollector()
  collect()
}
