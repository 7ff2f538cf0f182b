import { readFile, stat } from 'node:fs/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { completeLogin, type RobotOptions } from '../../examples/server/robot.ts'
import type { Profile } from '../../src/broker/onboard.ts'
import { apiKeyFlow } from '../../src/grant/api-key.ts'
import type { GrantFlow } from '../../src/grant/flow.ts'
import { loopbackFlow } from '../../src/grant/loopback.ts'
import { type Stage, setStage } from './stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await setStage()
  await stage.login()
})
afterEach(() => stage.stop())

const browser = (robot: RobotOptions = {}): GrantFlow =>
  loopbackFlow({ openBrowser: (url) => void completeLogin(url, robot).catch(() => undefined) })
const profile = (account: string, flow: GrantFlow): Profile => ({ target: { provider: 'demo', account }, flow })

async function everything(): Promise<unknown> {
  const { ino, mtimeNs } = await stat(stage.path, { bigint: true })
  return { ino, mtimeNs, text: await readFile(stage.path, 'utf8') }
}

it('stores every login in one commit', async () => {
  const events: string[][] = []
  stage.store.watch((event) => {
    if (event.type === 'changed') events.push([...event.keys])
  })
  const infos = await stage.broker.onboard([profile('a', browser()), profile('b', browser({ login: 'bob' }))])
  expect(infos.map(({ account, subject }) => [account, subject])).toEqual([
    ['a', 'alice'],
    ['b', 'bob'],
  ])
  expect(events).toEqual([['demo:a', 'demo:b']])
})

it.each<[string, GrantFlow, string]>([
  ['a denial', browser({ deny: true }), 'authorization_required'],
  ['less than was asked for', browser({ scopesToReject: ['mail:read'] }), 'scope_missing'],
  ['a flow that breaks', { name: 'broken', run: () => Promise.reject(new Error('broken')) }, 'broken'],
])('%s leaves the file untouched, byte by byte, and revokes what nobody has', async (_, flow, what) => {
  const before = await everything()
  const work = stage.broker.onboard([profile('a', browser({ login: 'bob' })), profile('b', flow)])
  await expect(work).rejects.toEqual(
    what === 'broken' ? expect.objectContaining({ message: what }) : expect.objectContaining({ code: what }),
  )
  expect(await everything()).toEqual(before)
  expect(stage.server.counts().revoked).toBeGreaterThanOrEqual(1)
})

it('a cancelled one leaves the file untouched', async () => {
  const before = await everything()
  const cancel = new AbortController()
  const never = loopbackFlow({ openBrowser: () => cancel.abort(new Error('cancelled')) })
  const work = stage.broker.onboard([profile('a', browser()), profile('b', never)], { signal: cancel.signal })
  await expect(work).rejects.toThrow('cancelled')
  expect(await everything()).toEqual(before)
})

it('somebody else in one place is nobody new in the others', async () => {
  const work = stage.broker.onboard([profile('a', browser()), profile('default', browser({ login: 'bob' }))])
  await expect(work).rejects.toEqual(expect.objectContaining({ code: 'account_ambiguous' }))
  expect(await stage.store.list()).toHaveLength(1)
})

it('keeps the old credential until the new one is stored', async () => {
  let during: unknown
  const flow = loopbackFlow({
    openBrowser: async (url) => {
      during = await stage.broker.getToken(stage.urls.files)
      await completeLogin(url).catch(() => undefined)
    },
  })
  await stage.broker.onboard([profile('default', flow), profile('k', apiKeyFlow({ key: 'sk' }))])
  expect(during).toBeDefined()
  expect((await stage.credential()).grant.generation).toBe(2)
})

it('two profiles of one entry are a mistake', async () => {
  const work = stage.broker.onboard([profile('a', browser()), profile('a', browser())])
  await expect(work).rejects.toThrow(TypeError)
})
