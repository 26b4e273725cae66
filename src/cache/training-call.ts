/** What training asks of the kernel (src/cache/kernel/), and how it is sent to a worker. */

/** Steps of training: each takes the scratch area of its slot first; the rest is described beside their definitions. */
export interface TrainingKernel {
  frameRows(scratch: number, codebook: number, target: number, source: number, count: number): void
  roundCentroids(scratch: number, table: number, codebook: number, integers: number, scales: number): void
  assign(
    scratch: number,
    table: number,
    codebook: number,
    source: number,
    count: number,
    found: number,
    squares: number,
  ): void
  seedCentroids(
    scratch: number,
    table: number,
    rows: number,
    stride: number,
    count: number,
    from: number,
    to: number,
    uniforms: number,
    squares: number,
    nearest: number,
    between: number,
  ): void
  accumulate(
    scratch: number,
    table: number,
    rows: number,
    from: number,
    to: number,
    owners: number,
    sums: number,
    counts: number,
  ): void
  moveToMeans(scratch: number, table: number, sums: number, counts: number): void
  measureTable(scratch: number, table: number): void
  separateGroups(scratch: number, table: number, from: number, to: number): void
  projectRows(
    scratch: number,
    basis: number,
    count: number,
    bytes: number,
    rows: number,
    stride: number,
    from: number,
    to: number,
    out: number,
  ): void
  combineRows(
    scratch: number,
    basis: number,
    count: number,
    bytes: number,
    rows: number,
    stride: number,
    rowCount: number,
    from: number,
    to: number,
    projections: number,
  ): void
  orthonormalize(scratch: number, basis: number, wide: number, bytes: number, from: number, to: number): void
  measureBasis(
    scratch: number,
    basis: number,
    count: number,
    bytes: number,
    from: number,
    to: number,
    out: number,
  ): void
  sumColumnSquares(scratch: number, rows: number, stride: number, count: number, columns: number, out: number): void
  groupCentroids(scratch: number, table: number, source: number, centres: number, owners: number): void
}

type WithoutScratch<Arguments> = Arguments extends [number, ...infer Rest] ? Rest : never

/** One step of training as a message: which, and its arguments after the scratch area. Byte offsets are in the job's arena. */
export type TrainingCall = {
  [Step in keyof TrainingKernel]: {
    readonly step: Step
    readonly arguments: Readonly<WithoutScratch<Parameters<TrainingKernel[Step]>>>
  }
}[keyof TrainingKernel]
