/** How recall is promised. `certified`: probability that any true top-k row is missing. `target`: expected recall. */
export type RecallContract =
  | { readonly kind: 'exact' }
  | { readonly kind: 'certified'; readonly missProbability: number }
  | { readonly kind: 'target'; readonly recall: number }

/** How old the generation that answers may be. `ttl`: checked within the last ttlMs. `frozen`: whatever is held. */
export type Consistency =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'ttl'; readonly ttlMs: number }
  | { readonly kind: 'frozen' }

/** Which version answers: the current one under a policy, a generation by name, or what was current at a time. */
export type VersionWanted =
  | { readonly kind: 'current'; readonly consistency: Consistency }
  | { readonly kind: 'generation'; readonly generation: string }
  | { readonly kind: 'time'; readonly atMs: number }
