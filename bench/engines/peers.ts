/** The engines that lakegate is compared with. */

import { refusal } from '../refusal.js'
import { openDuckDb } from './duckdb.js'
import { openFaiss } from './faiss.js'
import { openHnswlib } from './hnswlib.js'
import { openLanceDb } from './lancedb.js'
import type { OpenPeer } from './peer.js'
import { openRabitq } from './rabitq.js'
import { openSqliteVec } from './sqlite-vec.js'
import { openUsearch, openUsearchExact } from './usearch.js'

const peers: Readonly<Record<string, OpenPeer>> = {
  duckdb: openDuckDb,
  usearch: openUsearch,
  'usearch-exact': openUsearchExact,
  hnswlib: openHnswlib,
  rabitq: openRabitq,
  lancedb: openLanceDb,
  'sqlite-vec': openSqliteVec,
  'faiss-hnsw': openFaiss('hnsw'),
  'faiss-ivf': openFaiss('ivf'),
  'faiss-rabitq': openFaiss('rabitq'),
  'faiss-ivf-rabitq': openFaiss('ivf-rabitq'),
}

/** Refuses a name that is not known. */
export function peerNamed(name: string): OpenPeer {
  const open = Object.hasOwn(peers, name) ? peers[name] : undefined
  if (open === undefined)
    throw refusal(`peers: expected ${Object.keys(peers).join(', ')}, found ${JSON.stringify(name)}`)
  return open
}
