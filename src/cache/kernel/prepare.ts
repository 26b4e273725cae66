import { measureCentroids } from './clusters'
import { codebookCentroidsAt } from './layout'
import { hasCodes, readQuery } from './query'

/**
 * Prepares the query at scratchQueryAt for scans. `codebook` is 0 when no block of them has codes; `stage`: what they read
 * first.
 */
export function prepare(scratch: usize, codebook: usize, metric: u32, padded: u32, stage: i32): void {
  readQuery(scratch, codebook, metric, padded, stage)
  if (hasCodes && load<u32>(codebook, codebookCentroidsAt) != 0) measureCentroids(scratch, codebook)
}
