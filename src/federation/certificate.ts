import type { ShardAnswer } from '../cache/vector-cache.js'
import type { Certificate } from './answer.js'

export function certificateOf({
  contract,
  recallExpected,
}: Pick<ShardAnswer, 'contract' | 'recallExpected'>): Certificate {
  switch (contract.kind) {
    case 'exact':
      return proven
    case 'certified':
      return { kind: 'certified', missProbability: contract.missProbability }
    case 'target':
      return { kind: 'target', recallTarget: contract.recall, recallExpected: recallExpected ?? contract.recall }
  }
}

const proven: Certificate = { kind: 'proven' }

/**
 * What a merge of shards may claim (law 6): the weakest of them, because every row of the merged top k is in the top k of
 * its own shard.
 *
 * certified: a search that promises p for its top k gives each true neighbour a tail of at most p / k (index.md, "1-bit
 * estimate"). Each of the k rows of the merged answer lives in one shard and can only be lost there, so the probability
 * that any is lost is at most k * (p / k) = p, whatever the number of shards; with different p, at most the largest.
 */
export function weakest(certificates: readonly Certificate[]): Certificate {
  return certificates.reduce((a, b) => (strength(b) < strength(a) ? b : a), proven)
}

/** Larger claims more: fused < target (by what is expected) < certified (by miss probability) < proven. */
function strength(certificate: Certificate): number {
  switch (certificate.kind) {
    case 'proven':
      return 3
    case 'certified':
      return 2 - certificate.missProbability
    case 'target':
      return certificate.recallExpected
    case 'fused':
      return -1
  }
}
