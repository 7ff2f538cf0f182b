import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RefreshEvent } from '../../src/broker/events.ts'
import { fingerprint, Secret } from '../../src/credential.ts'
import { key, type Stage, setStage } from './stage.ts'

let stage: Stage
let events: RefreshEvent[]
const listener = (event: unknown): void => void events.push(event as RefreshEvent)
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  await stage.expire()
  events = []
  subscribe('authkeep', listener)
})
afterEach(async () => {
  unsubscribe('authkeep', listener)
  await stage.stop()
})

const types = (): readonly string[] => events.map(({ type }) => type)

test('a refresh says when it is claimed, sent, stored and served, and names tokens by fingerprint only', async () => {
  const before = await stage.credential()
  const token = await stage.broker.getToken(stage.urls.files)
  const after = await stage.credential()
  const [spent, successor] = [before, after].map(({ grant }) => grant.refreshToken ?? new Secret(''))
  if (spent === undefined || successor === undefined) throw new Error('no refresh token')
  expect(types()).toEqual(['claimed', 'sent', 'stored', 'served'])
  const { generation } = before.grant
  for (const event of events) expect(event).toMatchObject({ ...key, generation, token: fingerprint(spent) })
  expect(events[2]).toMatchObject({ successor: fingerprint(successor) })
  const text = JSON.stringify(events)
  for (const secret of [spent, successor, token]) expect(text).not.toContain(secret.reveal())
})

test.each([
  ['ambiguous', { status: 500 } as const],
  ['unspent', { status: 429 } as const],
  ['refused', { status: 400, body: '{"error":"invalid_grant"}' } as const],
])('one that fails says how: %s', async (type, fault) => {
  stage.server.fault(fault)
  await expect(stage.broker.getToken(stage.urls.files)).rejects.toThrow()
  expect(types()).toEqual(['claimed', 'sent', type])
})

test('whoever waited for another one says that it took that one’s token', async () => {
  stage.server.setTokenDelay(100)
  await Promise.all([stage.broker, stage.newBroker()].map((broker) => broker.getToken(stage.urls.files)))
  const others = types().filter((type) => type !== 'overtaken')
  expect(others.sort()).toEqual(['adopted', 'claimed', 'sent', 'served', 'stored'])
})

test('a successor that finds no place, because somebody has logged out, is said to be revoked', async () => {
  const broker = stage.newBroker({
    async fetch(input, init) {
      const response = await fetch(input, init)
      if (new Request(input, init).url.endsWith('/token')) await stage.store.update(key, () => null)
      return response
    },
  })
  await expect(broker.getToken(stage.urls.files)).rejects.toMatchObject({ code: 'authorization_required' })
  expect(types().slice(0, 3)).toEqual(['claimed', 'sent', 'revoked'])
})
