import type { Clock } from '../core/clock.js'

/** Closes something, within what is left of the grace period, milliseconds. */
export type ClosingStep = (graceMs: number) => Promise<void>

/** Runs the steps one after the other on one grace period; every one, even when one fails. Throws the first failure. */
export async function closeInOrder(steps: readonly ClosingStep[], graceMs: number, clock: Clock): Promise<void> {
  const endMs = clock.monotonicMs() + graceMs
  const failures: unknown[] = []
  for (const step of steps)
    await step(Math.max(0, endMs - clock.monotonicMs())).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}
