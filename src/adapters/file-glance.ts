/** Whether one file is what it was, found out between two lines of code. */
import { type BigIntStats, statSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { Generation } from '../core/generation.js'
import type { FileListing } from './parquet-files.js'

/**
 * Linux's numbers of file systems that answer from this machine: ext, xfs, btrfs, f2fs, zfs, tmpfs, ramfs, overlay,
 * squashfs. A synchronous stat there took 4 us, where one through the thread pool took 60 us of a query of 160 us; on any
 * other (NFS, SMB, FUSE) it could hold up every query for as long as the server behind it is away.
 */
const localFileSystems: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x2fc12fc1, 0x01021994, 0x858458f6, 0x794c7630, 0x73717368,
])

/** Remembers the last listing of a source; answers only where the source is one file on a local file system. */
export class FileGlance {
  #seen: { readonly path: string; readonly stats: BigIntStats; readonly generation: Generation } | null = null
  /** By device. */
  readonly #local = new Map<bigint, boolean>()

  async remember({ single, generation }: FileListing): Promise<void> {
    if (single === null || !(await this.#isLocal(single.path, single.stats.dev))) this.#seen = null
    else this.#seen = { ...single, generation }
  }

  /** True only when the file certainly still is what it was at that generation. */
  isStill(generation: Generation): boolean {
    const seen = this.#seen
    if (seen === null || seen.generation !== generation) return false
    const now = statNow(seen.path)
    const { stats } = seen
    return (
      now !== null &&
      now.mtimeNs === stats.mtimeNs &&
      now.ctimeNs === stats.ctimeNs &&
      now.size === stats.size &&
      now.ino === stats.ino &&
      now.dev === stats.dev
    )
  }

  async #isLocal(path: string, device: bigint): Promise<boolean> {
    let local = this.#local.get(device)
    if (local === undefined) {
      // Elsewhere than on Linux the numbers mean something else. What cannot be asked counts as remote.
      local =
        process.platform === 'linux' &&
        (await statfs(path).then(
          ({ type }) => localFileSystems.has(type),
          () => false,
        ))
      this.#local.set(device, local)
    }
    return local
  }
}

/** Null when it cannot be told; the listing that follows says why. */
function statNow(path: string): BigIntStats | null {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false }) ?? null
  } catch {
    return null
  }
}
