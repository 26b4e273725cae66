/** Law 6 in operation: answers drawn, compared in the background, and what is made of those that are wrong. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { openLocal } from '../../src/adapters/local.js'
import type { KernelExecutor, ScanReply } from '../../src/cache/executor.js'
import type {
  AnswerCheck,
  CheckedAnswer,
  PinnedVersion,
  ShardAnswer,
  ShardQuery,
} from '../../src/cache/vector-cache.js'
import { seededRandom, systemTimer } from '../../src/core/clock.js'
import type { RecallContract } from '../../src/core/contract.js'
import { GatewayError } from '../../src/core/errors.js'
import { generation } from '../../src/core/generation.js'
import { type AuditSettings, createAudit } from '../../src/federation/audit.js'
import { createGateway, localDefault, localSource } from '../../src/federation/create-gateway.js'
import type { GatewayEvent } from '../../src/federation/gateway.js'
import { openPool } from '../../src/federation/pool.js'
import { reproducersIn } from '../../src/federation/reproducer.js'
import { openCache } from '../cache/open-cache.js'
import { scratchDirectory } from '../cache/scratch-directory.js'
import { deferred } from '../server/deferred.js'
import { clock, foundRight, query as gatewayQuery, idle, parseName } from './scripted-cache.js'

const everyAnswer: AuditSettings = { every: 1, random: () => 0, share: 1, reproducers: null }
const exact: RecallContract = { kind: 'exact' }

const query: ShardQuery = {
  vector: Float32Array.of(1, 2),
  k: 10,
  contract: exact,
  filter: null,
  distanceMax: Number.POSITIVE_INFINITY,
}
const answerOf = (contract: RecallContract): ShardAnswer => ({
  hits: [],
  contract,
  recallExpected: null,
  rowsScanned: 0,
  bytesScanned: 0,
  searchMs: 0,
  waitMs: 0,
})

/** An audit of which a test decides what the checks find. */
function openAudit(settings: Partial<AuditSettings> = {}) {
  const lines: { readonly fields: Readonly<Record<string, unknown>>; readonly message: string }[] = []
  const note = (fields: Readonly<Record<string, unknown>>, message: string): void =>
    void lines.push({ fields, message })
  const faults: string[] = []
  const audit = createAudit(
    { ...everyAnswer, ...settings },
    {
      clock,
      log: { info: note, warn: note, error: note },
      onViolation: (_, contract, fault) => faults.push(`${contract.kind}: ${fault}`),
    },
  )
  onTestFinished(() => audit.close())
  let vectors = 0
  const observe = (
    run: AnswerCheck['run'],
    contract: RecallContract = exact,
    fields: Partial<ShardQuery> = {},
  ): void => {
    const version = {
      ref: parseName('a/rows'),
      generation: generation('g1'),
      metric: 'l2',
      dimension: 2,
      check: () => ({ run }),
    } as const
    const asked = { ...query, vector: Float32Array.of(vectors++, 1), contract, ...fields }
    audit.observe(version as unknown as PinnedVersion, asked, answerOf(contract))
  }
  return { audit, observe, lines, faults }
}

const finds = (found: Partial<CheckedAnswer>) => async (): Promise<CheckedAnswer> => ({ ...foundRight, ...found })
const hit = (id: bigint) => ({ id, distance: 1, part: 'p', row: 1, location: { segment: 0, position: 1 } })

test('one answer in so many is drawn, in no rhythm', async () => {
  const { audit, observe } = openAudit({ every: 10, random: seededRandom(1) })
  const drawn: number[] = []
  for (let i = 0; i < 10_000; i++) {
    observe(async () => {
      drawn.push(i)
      return foundRight
    })
    await audit.settled()
  }
  expect(drawn.length).toBeGreaterThan(900)
  expect(drawn.length).toBeLessThan(1100)
  const gaps = new Set(drawn.slice(1).map((at, i) => at - drawn[i]!))
  expect(Math.min(...gaps)).toBe(1)
  expect(Math.max(...gaps)).toBe(19)
})

test('an audit begins after the answer; only so many wait, the others are dropped and counted', async () => {
  const { audit, observe } = openAudit()
  const opened = deferred<void>()
  let running = 0
  let runningMost = 0
  for (let i = 0; i < 30; i++)
    observe(async () => {
      runningMost = Math.max(runningMost, ++running)
      await opened.promise
      running--
      return foundRight
    })
  expect(running).toBe(0)
  opened.resolve()
  await audit.settled()
  expect(runningMost).toBe(1)
  expect(audit.statistics().outcomes).toEqual({ complete: 17, partial: 0, dropped: 13, gone: 0, failed: 0 })
  expect(audit.statistics(parseName('a/rows'))).toEqual(audit.statistics())
  expect(audit.statistics(parseName('a/other')).outcomes.complete).toBe(0)
})

test('audits keep to their share of the time', async () => {
  const { audit, observe } = openAudit({ share: 0.1 })
  const begun: number[] = []
  const slow = async () => {
    begun.push(performance.now())
    while (performance.now() < begun.at(-1)! + 5);
    return foundRight
  }
  observe(slow)
  observe(slow)
  await audit.settled()
  expect(begun[1]! - begun[0]!).toBeGreaterThan(45)
})

test('what became of audits is counted; a build that needs the memory is no failure', async () => {
  const { audit, observe, lines } = openAudit()
  observe(finds({ complete: false }))
  observe(async () => null)
  observe(() => Promise.reject(new GatewayError('LG_OVER_BUDGET', 'a build needs it')))
  observe(() => Promise.reject(new Error('a defect')))
  await audit.settled()
  expect(audit.statistics().outcomes).toEqual({ complete: 0, partial: 1, dropped: 0, gone: 2, failed: 1 })
  expect(lines.map(({ message }) => message)).toEqual(['an audit failed'])
})

test('a shutdown ends the audit under way and those that wait', async () => {
  const { audit, observe, lines } = openAudit()
  const reasons: unknown[] = []
  for (let i = 0; i < 3; i++)
    observe(
      ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            reject(signal.reason)
          }),
        ),
    )
  await setImmediate()
  await setImmediate()
  await audit.close()
  expect(reasons).toMatchObject([{ code: 'LG_OVERLOADED' }])
  expect(audit.statistics().outcomes.failed).toBe(0)
  expect(lines).toEqual([])
  observe(finds({}))
  await audit.settled()
  expect(audit.statistics().outcomes.complete).toBe(0)
})

test('observed recall is counted by contract, of complete audits only', async () => {
  const { audit, observe, faults } = openAudit()
  const expected = [hit(1n), hit(2n), hit(3n), hit(4n)]
  observe(finds({ expected }))
  observe(finds({ expected, missed: 1 }), { kind: 'target', recall: 0.9 })
  observe(finds({ expected, missed: 3, complete: false }), { kind: 'target', recall: 0.9 })
  observe(finds({ expected, missed: 2 }), { kind: 'certified', missProbability: 0.3 })
  await audit.settled()
  expect(audit.statistics().contracts).toEqual({
    exact: { expected: 4, missed: 0, violations: 0 },
    certified: { expected: 4, missed: 2, violations: 0 },
    target: { expected: 4, missed: 1, violations: 0 },
  })
  expect(faults).toEqual([])
})

test('law 6: an exact answer that misses, even in a partial audit, is a violation; so is a hit that is not what it says', async () => {
  const { audit, observe, faults, lines } = openAudit()
  observe(finds({ missed: 2, complete: false }))
  observe(finds({ wrong: [{ hit: 0, reason: 'its distance is 5, not 4' }] }), { kind: 'target', recall: 0.9 })
  await audit.settled()
  expect(faults).toEqual(['exact: 2 of the 10 nearest rows are missing', 'target: hits are not what they say'])
  expect(audit.statistics().contracts).toMatchObject({ exact: { violations: 1 }, target: { violations: 1 } })
  expect(lines.map(({ fields }) => fields)).toMatchObject([
    {
      code: 'LG_CERTIFICATE_VIOLATED',
      collection: 'a/rows',
      contract: exact,
      reproducer_not_kept: 'there is no cache directory',
    },
    { code: 'LG_CERTIFICATE_VIOLATED', collection: 'a/rows' },
  ])
  // Logs and events have more readers than answers (law 8).
  expect(JSON.stringify([lines, faults])).not.toMatch(/distance is/)
})

test('certified answers that miss more often than they say are a violation', async () => {
  const { audit, observe, faults } = openAudit()
  for (let i = 0; i < 16; i++) observe(finds({ missed: 1 }), { kind: 'certified', missProbability: 0.01 })
  await audit.settled()
  expect(faults[0]).toBe('certified: neighbours are missing more often than with probability 0.01')
  expect(audit.statistics().contracts.certified.violations).toBe(faults.length)
  expect(faults.length).toBeLessThan(8)
})

test('a reproducer names what was asked, expected and found, and only its owner reads it', async () => {
  const directory = join(await scratchDirectory(), 'audit')
  const { audit, observe, lines } = openAudit({ reproducers: reproducersIn(directory) })
  const segments = [{ key: 's1', codebook: 'c1', rows: 10, clusters: 4 }]
  observe(finds({ missed: 1, expected: [hit(18_446_744_073_709_551_615n)], segments }), exact, {
    filter: { op: 'eq', column: 'year', value: 2020 },
  })
  await audit.settled()
  const path = String(lines[0]!.fields.reproducer)
  const text = readFileSync(path, 'utf8')
  expect(text).toContain('18446744073709551615')
  expect(JSON.parse(text)).toMatchObject({
    format: 1,
    fault: '1 of the 10 nearest rows are missing',
    generation: 'g1',
    request: {
      vector: [0, 1],
      k: 10,
      collections: ['a/rows'],
      recall: 'exact',
      filter: { year: { eq: 2020 } },
      as_of: { 'a/rows': 'g1' },
    },
    missed: 1,
    expected: [{ distance: 1, part: 'p', row: 1 }],
    found: [],
    segments,
  })
  expect(text).not.toMatch(/seed/)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('reproducers are bounded in size and number; what is not kept is still an alarm', async () => {
  const directory = join(await scratchDirectory(), 'audit')
  const { audit, observe, lines } = openAudit({ reproducers: reproducersIn(directory) })
  const many = Array.from({ length: 10_000 }, (_, i) => hit(BigInt(i)))
  observe(finds({ missed: 1, expected: many }))
  await audit.settled()
  expect(statSync(String(lines[0]!.fields.reproducer)).size).toBeLessThan(20_000)
  observe(finds({ missed: 1 }), exact, { filter: { op: 'eq', column: 'c', value: 'x'.repeat(2 ** 20) } })
  await audit.settled()
  expect(lines[1]!.fields.reproducer_not_kept).toBe('it is larger than 1048576 bytes')
  for (let i = 0; i < 40; i++) {
    observe(finds({ missed: 1 }))
    await audit.settled()
  }
  expect(readdirSync(directory)).toHaveLength(32)
  expect(lines.at(-1)!.fields.reproducer_not_kept).toMatch(/has 32 files already/)
  expect(audit.statistics().contracts.exact.violations).toBe(42)
  const file = join(await scratchDirectory(), 'file')
  writeFileSync(file, '')
  const blocked = openAudit({ reproducers: reproducersIn(join(file, 'audit')) })
  blocked.observe(finds({ missed: 1 }))
  await blocked.audit.settled()
  expect(blocked.lines[0]!.fields.reproducer_not_kept).toBe('it cannot be written (ENOTDIR)')
})

/** A gateway over 3,000 rows, every answer audited, whose scans lose their nearest row when told to. */
async function openBroken() {
  const inner = openPool({ workers: 0 })
  const state = { broken: false }
  const losing = ({ distances, blocks, rows, ...rest }: ScanReply): ScanReply => ({
    ...rest,
    distances: distances.slice(1),
    blocks: blocks.slice(1),
    rows: rows.slice(1),
  })
  const executor: KernelExecutor = {
    workers: 0,
    scratchSlots: inner.scratchSlots,
    encode: (job, options) => inner.encode(job, options),
    train: (job, options) => inner.train(job, options),
    compare: (work, options) => inner.compare(work, options),
    forget: (arenaId) => inner.forget(arenaId),
    beginScan: () => null,
    scanAtOnce: (job) => {
      const reply = inner.scanAtOnce(job)
      return state.broken && reply !== null ? losing(reply) : reply
    },
    scan: async (job, options) => {
      const reply = await inner.scan(job, options)
      return state.broken ? losing(reply) : reply
    },
    close: () => inner.close(),
  }
  const { cache } = await openCache({ executor })
  const gateway = createGateway({
    cache,
    openAdapter: async (config) => openLocal(config),
    detectKind: async () => 'local',
    clock,
    timer: systemTimer,
    log: { info() {}, warn() {}, error() {} },
    consistency: null,
    local: localSource,
    writable: localDefault,
    audit: everyAnswer,
  })
  onTestFinished(() => gateway.close())
  const random = seededRandom(4)
  await gateway.ingest(
    {
      ids: Array.from({ length: 3000 }, (_, i) => BigInt(i)),
      vectors: Float32Array.from({ length: 3000 * 8 }, () => random()),
      dimension: 8,
      metadata: null,
    },
    { signal: idle },
  )
  const events: GatewayEvent[] = []
  gateway.subscribe((event) => events.push(event))
  const ask = () => gatewayQuery({ vector: Array.from({ length: 8 }, () => random()), k: 5 })
  const audited = async (count: number): Promise<void> => {
    while (gateway.auditStatistics()!.outcomes.complete < count) await setImmediate()
  }
  return { gateway, state, events, ask, audited }
}

test('law 6: a scan that loses a row is noticed through the whole gateway, in its statistics and as an event', async () => {
  const { gateway, state, events, ask, audited } = await openBroken()
  for (let i = 0; i < 5; i++) await gateway.search(ask(), { signal: idle })
  await audited(5)
  expect(gateway.auditStatistics()!.contracts.exact).toEqual({ expected: 25, missed: 0, violations: 0 })
  state.broken = true
  await gateway.search(ask(), { signal: idle })
  await audited(6)
  await setImmediate()
  expect((await gateway.collection(localDefault, { signal: idle })).audit!.contracts.exact).toEqual({
    expected: 30,
    missed: 1,
    violations: 1,
  })
  expect(events.filter(({ kind }) => kind === 'certificate-violated')).toEqual([
    {
      kind: 'certificate-violated',
      ref: localDefault,
      contract: 'exact',
      fault: '1 of the 5 nearest rows are missing',
    },
  ])
})

test('an audit that was asked for says what is wrong; two at a time are refused', async () => {
  const { gateway, state, ask } = await openBroken()
  const [fine] = await gateway.audit(ask(), { signal: idle })
  expect(fine).toMatchObject({ isBroken: false, contract: exact, checked: { rowsRead: 3000, missed: 0 } })
  state.broken = true
  const both = await Promise.allSettled([
    gateway.audit(ask(), { signal: idle }),
    gateway.audit(ask(), { signal: idle }),
  ])
  expect(both[0]).toMatchObject({ value: [{ isBroken: true, checked: { missed: 1 } }] })
  expect(both[1]).toMatchObject({ reason: { code: 'LG_OVERLOADED' } })
  await expect(gateway.audit({ ...ask(), deadlineMs: 0 }, { signal: idle })).rejects.toMatchObject({
    code: 'LG_DEADLINE_EXCEEDED',
  })
})
