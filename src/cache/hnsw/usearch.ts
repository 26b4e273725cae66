/** The optional package with the HNSW graph: loaded when the first collection asks for a graph, never before. */
import { GatewayError } from '../../core/errors.js'
import type { Metric } from '../../core/metric.js'

export type Usearch = typeof import('usearch')

/** What usearch calls our metrics; its distances choose candidates only, and never reach an answer. */
export const usearchMetric = { l2: 'l2sq', cosine: 'cos', dot: 'ip' } as const satisfies Record<Metric, string>

/** Edges of a node above the lowest level (twice as many there), and candidates looked at while adding: usearch's defaults. */
export const connectivity = 16
export const expansionAdd = 128

/** Throws LG_UNSUPPORTED, naming the platform, where the package is not installed or has no build. */
export async function loadUsearch(): Promise<Usearch> {
  try {
    return await import('usearch')
  } catch (cause) {
    throw new GatewayError(
      'LG_UNSUPPORTED',
      `index: "hnsw" needs the optional package usearch, which is not installed or has no build for ${process.platform}-${process.arch}; ` +
        'install it, or use "auto", which needs no package and answers every contract',
      { field: 'index', cause },
    )
  }
}
