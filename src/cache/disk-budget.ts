import type { FileSystem } from './file-system.js'

/** A file that counts against the disk budget. One that took its path's place later is another. */
export interface BudgetedFile {
  readonly path: string
  /** Name of its collection's folder. */
  readonly folder: string
  readonly bytes: number
}

interface Entry extends BudgetedFile {
  /** Who cannot do without it. */
  holders: number
  /** Goes with the last holder. */
  unwanted: boolean
}

/** One holder of a file. */
interface Hold {
  /** To be called once. Deletes an unwanted file when no holder is left; rejects when that fails. */
  letGo(): Promise<void>
}

/** Room for a file that is being written, until it is given back. */
interface DiskReservation {
  release(): void
}

/**
 * Law 11 on disk: segment and graph files and what is reserved take at most `bytesMax`. Room is made by deleting the least
 * recently used files that nobody holds.
 */
export class DiskBudget {
  readonly bytesMax: number
  readonly #fileSystem: FileSystem
  /** By path, least recently used first. */
  readonly #entries = new Map<string, Entry>()
  readonly #folderBytes = new Map<string, number>()
  #bytes = 0
  #bytesReserved = 0
  /** The last change of each path that is being changed. */
  readonly #changes = new Map<string, Promise<unknown>>()

  constructor(fileSystem: FileSystem, bytesMax: number) {
    this.#fileSystem = fileSystem
    this.bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  bytesOf(folder: string): number {
    return this.#folderBytes.get(folder) ?? 0
  }

  find(path: string): BudgetedFile | null {
    return this.#entries.get(path) ?? null
  }

  filesOf(folder: string): readonly BudgetedFile[] {
    return [...this.#entries.values()].filter((entry) => entry.folder === folder)
  }

  /** Says that a file is in place now, as the most recently used. */
  enter(file: BudgetedFile): void {
    const before = this.#entries.get(file.path)
    if (before !== undefined) this.#forget(before)
    this.#entries.set(file.path, { ...file, holders: 0, unwanted: false })
    this.#folderBytes.set(file.folder, this.bytesOf(file.folder) + file.bytes)
    this.#bytes += file.bytes
  }

  /** Marks the file at a path, if there is one, as used just now. */
  touch(path: string): void {
    const entry = this.#entries.get(path)
    if (entry === undefined) return
    this.#entries.delete(path)
    this.#entries.set(path, entry)
  }

  /** Keeps a file from being deleted to make room; null when it is gone already, or another is in its place. */
  hold(file: BudgetedFile): Hold | null {
    const entry = this.#entries.get(file.path)
    if (entry === undefined || entry !== file) return null
    entry.holders++
    return {
      letGo: async () => {
        entry.holders--
        if (entry.holders === 0 && entry.unwanted) await this.discardUnheld(entry)
      },
    }
  }

  /** Puts something in place at a path, or removes it, after whoever is at it. */
  async change<T>(path: string, run: () => Promise<T>): Promise<T> {
    const before = this.#changes.get(path)
    const changed = before === undefined ? run() : before.then(run, run)
    this.#changes.set(path, changed)
    try {
      return await changed
    } finally {
      if (this.#changes.get(path) === changed) this.#changes.delete(path)
    }
  }

  /** Deletes the file, whoever holds it, unless another is in its place by then. */
  discard(file: BudgetedFile): Promise<void> {
    return this.#delete(file, () => false)
  }

  /** The same, unless somebody holds it. */
  discardUnheld(file: BudgetedFile): Promise<void> {
    return this.#delete(file, (entry) => entry.holders > 0)
  }

  /** Deletes the file, when somebody holds it with its last holder. */
  async remove(file: BudgetedFile): Promise<void> {
    const entry = this.#entries.get(file.path)
    if (entry === undefined || entry !== file) return
    entry.unwanted = true
    await this.discardUnheld(file)
  }

  /** Deletes what nobody holds until so many bytes fit; null when they do not. */
  async reserve(bytes: number): Promise<DiskReservation | null> {
    const fits = (): boolean => this.#bytes + this.#bytesReserved + bytes <= this.bytesMax
    if (bytes > this.bytesMax) return null
    for (const oldest of [...this.#entries.values()]) {
      if (fits()) break
      await this.discardUnheld(oldest)
    }
    if (!fits()) return null
    this.#bytesReserved += bytes
    return {
      release: () => {
        this.#bytesReserved -= bytes
      },
    }
  }

  #delete(file: BudgetedFile, isWanted: (entry: Entry) => boolean): Promise<void> {
    return this.change(file.path, async () => {
      const entry = this.#entries.get(file.path)
      if (entry === undefined || entry !== file || isWanted(entry)) return
      this.#forget(entry)
      await this.#fileSystem.rm(entry.path, { force: true })
    })
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.path)
    this.#folderBytes.set(entry.folder, this.bytesOf(entry.folder) - entry.bytes)
    this.#bytes -= entry.bytes
  }
}
