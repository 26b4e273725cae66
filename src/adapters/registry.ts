/** Every kind of source this build can open. */
import type { OpenAdapter } from './adapter.js'
import { openParquet } from './parquet.js'

export const adapters = { parquet: openParquet } satisfies Record<string, OpenAdapter>
export type AdapterKind = keyof typeof adapters
