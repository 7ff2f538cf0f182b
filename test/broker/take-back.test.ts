import { afterEach, beforeEach, expect, test } from 'vitest'
import { completeLogin } from '../../examples/server/robot.ts'
import { AuthkeepError } from '../../src/errors.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { memoryBackend } from '../../src/store/backend.ts'
import { openStore } from '../../src/store/store.ts'
import { type Stage, setStage } from './stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
  stage.server.reset()
})
afterEach(() => stage.stop())

const loginOf = (login: string, account: string): Promise<unknown> =>
  stage.broker.authorize(
    { provider: 'demo', account },
    loopbackFlow({ openBrowser: (url) => void completeLogin(url, { login }).catch(() => undefined) }),
  )

test('a login of somebody else that finds no place is revoked; the first one goes on', async () => {
  await expect(loginOf('bob', 'default')).rejects.toMatchObject({ code: 'account_ambiguous' })
  expect(stage.server.counts().revoked).toBeGreaterThan(0)
  await stage.expire()
  expect((await stage.broker.getToken(stage.urls.files)).scopes).toEqual(['files:read'])
})

test('it is not revoked where the same person is logged in: some servers would end that login with it', async () => {
  await loginOf('bob', 'bob')
  await expect(loginOf('bob', 'default')).rejects.toMatchObject({ code: 'account_ambiguous' })
  expect(stage.server.counts().revoked).toBe(0)
})

test('a login that cannot be stored is revoked; one that may have been is not', async () => {
  for (const [error, isRevoked] of [
    [new AuthkeepError('store_failed', { path: 'p', operation: 'write', errno: 'ENOSPC', unspent: true }), true],
    [new AuthkeepError('store_busy', { path: 'p' }), false],
  ] as const) {
    const backend = { ...memoryBackend(), commit: async () => Promise.reject(error) }
    const broker = stage.newBroker({ store: await openStore({ backend }) })
    const flow = loopbackFlow({ openBrowser: (url) => void completeLogin(url).catch(() => undefined) })
    stage.server.reset()
    await expect(broker.authorize({ provider: 'demo' }, flow)).rejects.toBe(error)
    expect(stage.server.counts().revoked > 0).toBe(isRevoked)
  }
})
