/** What happened to a collection since the cache was opened. */
export interface CollectionCounts {
  hits: number
  misses: number
  primes: number
  refreshes: number
  invalidations: number
  evictions: number
  partsPulled: number
  segmentsRestored: number
  segmentsDiscarded: number
}

export const noCounts = (): CollectionCounts => ({
  hits: 0,
  misses: 0,
  primes: 0,
  refreshes: 0,
  invalidations: 0,
  evictions: 0,
  partsPulled: 0,
  segmentsRestored: 0,
  segmentsDiscarded: 0,
})
