/** Rows in the frame that centroids and bases live in. */
import { codebookCenterAt, codebookMetricAt, codebookPaddedAt } from './layout'
import { center } from './encode'
import { product64 } from './lanes'

/** Writes `count` rows, of unit length for cosine, minus the codebook's centre. May be in place. */
export function frameRows(scratch: usize, codebook: usize, target: usize, source: usize, count: u32): void {
  const bytes = <usize>load<u32>(codebook, codebookPaddedAt) << 2
  const metric = load<u32>(codebook, codebookMetricAt)
  for (let row: usize = 0; row < <usize>count; row++) {
    const from = source + row * bytes
    const to = target + row * bytes
    center(to, from, sqrt<f64>(product64(from, from, bytes)), metric, codebook + codebookCenterAt, bytes)
  }
}
