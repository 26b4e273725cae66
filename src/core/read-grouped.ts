/**
 * Reads what belongs together in one go, and all groups at once.
 * @param read answers one result an item, in their order
 * @returns results in the order of `items`; rejects as the first group that does
 */
export async function readGrouped<T, K, R>(
  items: readonly T[],
  keyOf: (item: T, index: number) => K,
  read: (key: K, items: readonly T[]) => Promise<readonly R[]>,
): Promise<R[]> {
  const groups = new Map<K, number[]>()
  for (const [i, item] of items.entries()) {
    const key = keyOf(item, i)
    const indices = groups.get(key)
    if (indices === undefined) groups.set(key, [i])
    else indices.push(i)
  }
  const results = new Array<R>(items.length)
  await Promise.all(
    Array.from(groups, async ([key, indices]) => {
      const found = await read(
        key,
        indices.map((i) => items[i]!),
      )
      for (const [at, i] of indices.entries()) results[i] = found[at]!
    }),
  )
  return results
}
