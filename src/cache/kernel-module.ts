/** The kernel's code, compiled once a thread; with relaxed SIMD where the engine has it (docs/adr/0016). */
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'

const relaxed = read('kernel-relaxed.wasm')

// V8 has it by default from Node 21 on; Node 20's, the last before, has the same behind a flag. Flags are of the process.
if (!WebAssembly.validate(relaxed)) setFlagsFromString('--experimental-wasm-relaxed-simd')

/** Whether table look-ups of the kernel are one instruction; answers are the same without. */
export const hasRelaxedSimd: boolean = WebAssembly.validate(relaxed)

export const kernelModule = new WebAssembly.Module(hasRelaxedSimd ? relaxed : read('kernel.wasm'))

function read(name: string): Buffer {
  return readFileSync(new URL(name, import.meta.url))
}
