import { type Metric, metrics } from '../core/metric.js'

/** A metric's number in block and codebook headers. */
export const metricNumber = (metric: Metric): number => metrics.indexOf(metric)
