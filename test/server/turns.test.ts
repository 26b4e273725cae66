import { expect, test } from 'vitest'
import { createTurns, requestsTogetherMax } from '../../src/server/turns.js'
import { fakeGateway, sampleAnswer } from './fake-gateway.js'
import { testServer } from './test-server.js'

test('queries that arrive together are all searched before the first reply is written, in order', async () => {
  const steps: string[] = []
  const gateway = fakeGateway({
    search: async ({ k }, { together }) => {
      steps.push(`begin ${k}`)
      await together?.()
      steps.push(`search ${k}`)
      if (k === 2) throw new Error('one of them fails')
      return sampleAnswer
    },
  })
  const app = testServer(gateway)
  app.addHook('onSend', async (request) => {
    steps.push(`reply ${(request.body as { k: number }).k}`)
  })
  await app.ready()
  const ask = (k: number) => app.inject({ method: 'POST', url: '/v1/query', payload: { vector: [1], k } })
  const replies = await Promise.all([1, 2, 3].map(ask))
  expect(replies.map(({ statusCode }) => statusCode)).toEqual([200, 500, 200])
  expect(steps.slice(0, 6)).toEqual(['begin 1', 'begin 2', 'begin 3', 'search 1', 'search 2', 'search 3'])
  expect(steps.slice(6).sort()).toEqual(['reply 1', 'reply 2', 'reply 3'])
})

test('no more wait for each other than may', async () => {
  const turns = createTurns()
  const begun: number[] = []
  const waiting = Array.from({ length: requestsTogetherMax + 1 }, async (_, i) => {
    await turns.next()
    begun.push(i)
  })
  const isBegun = (i: number): boolean => begun.includes(i)
  await waiting[0]
  expect([isBegun(requestsTogetherMax - 1), isBegun(requestsTogetherMax)]).toEqual([true, false])
  await Promise.all(waiting)
  expect(begun).toEqual(waiting.map((_, i) => i))
  await turns.next()
})

test('requests that are read while others of the turn arrive join it; one alone waits for none', async () => {
  const turns = createTurns()
  const begun: string[] = []
  const ask = async (name: string): Promise<void> => {
    await turns.next()
    begun.push(name)
  }
  const together = [ask('a'), ask('b')]
  await new Promise(setImmediate)
  expect(begun).toEqual([])
  await Promise.all([...together, ask('c')])
  expect(begun).toEqual(['a', 'b', 'c'])
  const alone = ask('d')
  await new Promise(setImmediate)
  expect(begun).toEqual(['a', 'b', 'c', 'd'])
  await alone
})
