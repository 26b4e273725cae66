import { createHash } from 'node:crypto'

/** An alarm is raised when the claim, if it held, would have let it come to this with at most this probability. */
const falseAlarmProbability = 1e-4
/** Vectors that are remembered as judged. */
const rememberedMax = 4096
/** After so many answers the account begins anew: what went well for long must not hide what goes wrong now. */
const judgedMax = 65_536

/**
 * Powers of the claimed probability p that misses may come at instead. Whatever p is, some are a little above it and some
 * far, so that both slow and gross violations are found.
 */
const exponents = [0.9, 0.75, 0.5, 0.25]

/**
 * Evidence against "an answer misses a neighbour with probability at most p". One miss proves nothing; many, or one where
 * none was to be expected in a lifetime, do.
 *
 * A test martingale (Shafer, Vovk: "Game-Theoretic Foundations for Probability and Finance", 2019, chapter 2): a gambler
 * who bets against the claim, at its own odds, on misses coming at rate q = p^e. Under the claim his wealth does not
 * grow on average, so it ever reaches 1 / a with probability at most a (Ville's inequality), however long and often one looks.
 *
 * Answers to one vector share what decides a miss, the rotation, so each vector is judged once; those that are nearly equal
 * count as different. So an alarm is a reason to look, not a proof.
 */
export class MissEvidence {
  readonly #wealth = exponents.map(() => 1)
  /** Hashes of vectors, oldest first. */
  readonly #remembered = new Set<string>()
  #judged = 0

  /** Judges one answer; answers whether the evidence is complete, and then begins anew. */
  judge(vector: Float32Array, missProbability: number, missed: boolean): boolean {
    const name = createHash('sha256').update(vector).digest('base64')
    if (this.#remembered.has(name)) return false
    if (this.#remembered.size === rememberedMax) this.#remembered.delete(this.#remembered.values().next().value!)
    this.#remembered.add(name)
    if (this.#judged++ === judgedMax) this.#beginAnew()
    for (const [i, exponent] of exponents.entries()) {
      const rate = missProbability ** exponent
      this.#wealth[i]! *= missed ? rate / missProbability : (1 - rate) / (1 - missProbability)
    }
    const mean = this.#wealth.reduce((sum, wealth) => sum + wealth, 0) / exponents.length
    if (mean < 1 / falseAlarmProbability) return false
    this.#beginAnew()
    return true
  }

  #beginAnew(): void {
    this.#wealth.fill(1)
    this.#judged = 0
  }
}
