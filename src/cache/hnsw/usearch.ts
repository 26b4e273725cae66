/** The optional package with the HNSW graph. Only the threads of graphs load it: it is native code, and takes a while to load. */
import { GatewayError } from '../../core/errors.js'
import { GraphThread } from './graph-thread.js'

/** Throws LG_UNSUPPORTED, naming the platform, where the package is not installed or has no build. */
export async function requireUsearch(): Promise<void> {
  const thread = new GraphThread({ metric: 'l2', dimension: 1 }, () => {})
  try {
    await thread.run({ kind: 'probe' })
  } catch (cause) {
    throw new GatewayError(
      'LG_UNSUPPORTED',
      `index: "hnsw" needs the optional package usearch, which is not installed or has no build for ${process.platform}-${process.arch}; ` +
        'install it, or use "auto", which needs no package and answers every contract',
      { field: 'index', cause },
    )
  } finally {
    await thread.close()
  }
}
