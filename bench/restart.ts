/**
 * From the start of the process to the first right answer: building from a Parquet file, and from the cache directory that
 * this left behind.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clusteredRowsMin } from '#lakegate/cache/index-plan.js'
import { type Dataset, row } from './dataset.js'
import { writeParquet } from './parquet-file.js'
import { bruteForce, countHits, type GroundTruth } from './recall.js'
import { timingRow } from './report.js'
import { type ServeOptions, serve } from './served.js'
import type { DatasetSuite } from './suite.js'

export const restartSuite: DatasetSuite = async (dataset, { k, seconds }, say) => {
  const directory = mkdtempSync(join(tmpdir(), 'lakegate-bench-'))
  try {
    const path = join(directory, 'rows.parquet')
    say('writing the Parquet file')
    await writeParquet(path, dataset)
    const truth = bruteForce({ ...dataset, queryCount: 1 }, k)
    const builds: number[] = []
    const restarts: number[] = []
    const startedMs = performance.now()
    for (let round = 0; round === 0 || performance.now() - startedMs < seconds * 1000; round++) {
      const cacheDirectory = join(directory, `cache-${round}`)
      const memoryBytes = Math.max(2 ** 31, 4 * dataset.base.byteLength)
      const options = { path, cacheDirectory, metric: dataset.metric, memoryBytes }
      const settle = dataset.count >= clusteredRowsMin
      builds.push(await firstRightAnswerMs(options, dataset, truth, { settle }))
      restarts.push(await firstRightAnswerMs(options, dataset, truth, { settle: false }))
      say(`round ${round + 1}: ${builds.at(-1)!.toFixed(0)} ms, then ${restarts.at(-1)!.toFixed(0)} ms`)
      rmSync(cacheDirectory, { recursive: true, force: true })
    }
    const rowOf = (mode: string, samplesMs: readonly number[]) =>
      timingRow(
        mode,
        samplesMs.map((ms) => ms * 1000),
      )
    return {
      rows: [rowOf('start, building from Parquet', builds), rowOf('start, from the cache', restarts)],
      not_run: [],
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** `settle`: goes on until the index is what a restart should find. Throws when the answer is not the k nearest rows. */
async function firstRightAnswerMs(
  options: ServeOptions,
  dataset: Dataset,
  truth: GroundTruth,
  { settle }: { readonly settle: boolean },
): Promise<number> {
  const server = await serve(options)
  try {
    const ids = await server.ask(row(dataset.queries, dataset.dimension, 0), truth.k)
    const ms = performance.now() - server.startedMs
    const hits = countHits(dataset, truth, 0, ids)
    if (hits < Math.min(truth.k, dataset.count)) throw new Error(`restart: ${hits} of ${truth.k} rows are right`)
    if (settle) await server.settled()
    return ms
  } finally {
    await server.stop()
  }
}
