/** Which of several ways to do the same is the fastest, also while other things run on the machine. */

/** Rounds that are enough. */
const roundsMax = 6

/**
 * The mean over the subjects of the least that each way took, in the unit of `run`. In every round each way does all subjects before the
 * next way begins, as when it alone were used: then code is compiled, and caches hold what it reads. What comes between
 * makes a time longer, never shorter, and what lasts hits all ways.
 * @param run does it, and answers how long it took
 * @param msMax how long rounds after the first may begin
 */
export async function timeWays<Way, Subject>(
  ways: readonly Way[],
  subjects: readonly Subject[],
  run: (way: Way, subject: Subject) => Promise<number>,
  msMax: number,
): Promise<number[]> {
  const least = ways.map(() => subjects.map(() => Number.POSITIVE_INFINITY))
  const until = performance.now() + msMax
  for (let round = 0; round < roundsMax && (round === 0 || performance.now() < until); round++)
    for (const [i, way] of ways.entries())
      for (const [j, subject] of subjects.entries()) least[i]![j] = Math.min(least[i]![j]!, await run(way, subject))
  return least.map((times) => times.reduce((sum, time) => sum + time, 0) / times.length)
}
