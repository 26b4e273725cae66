/** How many tasks may run at a time: a number of them, and a sum of what they weigh. */
interface Room {
  readonly count: number
  readonly weight: number
}

/**
 * Runs a task for every item, started in order, and resolves with the results in order. One that weighs more than the room
 * runs alone. After a failure nothing more is started; it is thrown once all that was started has ended.
 */
export async function sideBySide<T, R>(
  items: readonly T[],
  room: Room,
  weightOf: (item: T) => number,
  task: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length)
  const running = new Set<Promise<void>>()
  const failures: unknown[] = []
  let weight = 0
  const start = async (index: number, item: T, itemWeight: number): Promise<void> => {
    try {
      results[index] = await task(item)
    } catch (error) {
      failures.push(error)
    } finally {
      weight -= itemWeight
    }
  }
  for (const [index, item] of items.entries()) {
    const itemWeight = weightOf(item)
    while (running.size > 0 && (running.size >= room.count || weight + itemWeight > room.weight))
      await Promise.race(running)
    if (failures.length > 0) break
    weight += itemWeight
    const run: Promise<void> = start(index, item, itemWeight).finally(() => running.delete(run))
    running.add(run)
  }
  await Promise.all(running)
  if (failures.length > 0) throw failures[0]
  return results
}
