/** Law 13: every limit has a name, a unit and a clear error. Configurable ones are defaults here. */
export const limits = {
  dimensionMax: 8192,
  kMax: 10_000,
  bodyBytesMax: 16 * 1024 * 1024,
  /** Of all request bodies and RVF frames under way, those below 64 KiB left out; at least one of the largest fits. */
  bodiesBytesMax: 256 * 1024 * 1024,
  /** Of HTTP (WebSockets included), and as many of RVF over TCP. One with a query under way takes 10 to 15 KB of heap. */
  connectionsMax: 1024,
  /** WebSockets that get events: of each, up to 1 MiB may wait to be read. */
  liveClientsMax: 512,
  batchQueriesMax: 1024,
  jsonDepthMax: 64,
  filterNodesMax: 1024,
  filterListMax: 10_000,
  /** UTF-16 units of one LIKE pattern: matching costs at most pattern times text. */
  filterPatternMax: 1024,
  collectionNameBytesMax: 255,
  idBytesMax: 4096,
  deadlineMsMax: 600_000,
  deadlineMsDefault: 10_000,
  remoteTtlMsDefault: 5000,
  /** A source that does not name its generation within this time is unavailable. */
  sourceCheckMsMax: 30_000,
  /** A manifest, or the next batch of a pull, that takes longer is given up. */
  sourceSilenceMsMax: 600_000,
  refreshMsMax: 7 * 24 * 3_600_000,
  bundleBytesMax: 64 * 1024,
  bundleStringBytesMax: 4 * 1024,
  rvfFrameBytesMax: 16 * 1024 * 1024,
} as const
